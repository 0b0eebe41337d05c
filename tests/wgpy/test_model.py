"""wgpy.model: the values print as the tools expect."""

import socket
from ipaddress import IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.model import SocketAddress, ip_text, prefix_text

LOW = st.integers(0, (1 << 49) - 1).map(IPv6Address)


@given(st.one_of(st.ip_addresses(v=6), LOW))
def test_an_address_prints_as_inet_ntop_prints_it(ip: IPv6Address) -> None:
    assert ip_text(ip) == socket.inet_ntop(socket.AF_INET6, ip.packed)


@pytest.mark.parametrize("text", ["::ffff:10.0.0.0/104", "10.0.0.0/8", "::/0", "::1/128", "fd00::/64"])
def test_a_prefix_prints_as_wg_prints_it(text: str) -> None:
    assert prefix_text(ip_network(text)) == text


def test_the_three_forms_of_a_socket_address() -> None:
    assert str(SocketAddress(ip_address("1.2.3.4"), 5)) == "1.2.3.4:5"
    assert str(SocketAddress(ip_address("fd00::1"), 5)) == "[fd00::1]:5"
    assert str(SocketAddress(ip_address("fe80::1"), 5, scope_id=3)) == "[fe80::1%3]:5"
