"""Packets of every size cross the tunnel, and small outer paths only cost fragments.

h1: subject 10.7.0.1, fd07::1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2, fd07::2 other: h2
"""

import hashlib
import socket
from contextlib import suppress

import pytest
from lab import Namespace, wait_until
from traffic import ECHO_PORT, Echo
from tunnel import tunnel
from wgpeer import Peer

HEADERS = {4: 28, 6: 48}
SO_RCVBUFFORCE = 33  # which Python's socket module has no name for


def payload(size: int) -> bytes:
    return hashlib.shake_128(size.to_bytes(4, "big")).digest(size)


def missing_sizes(host: Namespace, address: str, sizes: list[int]) -> list[int]:
    """Send a datagram of every size to the echo server; which did not come back unchanged."""
    waiting = {payload(size): size for size in sizes}
    with host.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 20)  # twenty of 9,000 bytes fill the usual one
        out.settimeout(1)
        for _ in range(3):  # UDP: a neighbour's load may cost one
            for batch in batched(sorted(waiting.values()), 20):
                for size in batch:
                    out.sendto(payload(size), (address, ECHO_PORT))
                with suppress(TimeoutError):
                    for _ in batch:
                        waiting.pop(out.recv(65535), None)
    return sorted(waiting.values())


def batched(sizes: list[int], length: int) -> list[list[int]]:
    return [sizes[start : start + length] for start in range(0, len(sizes), length)]


@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
def test_every_size_up_to_the_mtu_passes_both_ways(other: type[Peer], version: int) -> None:
    with tunnel(other, outside=version) as t:
        target = t.other.address4 if version == 4 else t.other.address6
        t.subject.ping(target)
        with Echo(t.h2, target):
            assert missing_sizes(t.h1, target, list(range(1420 - HEADERS[version] + 1))) == []


@pytest.mark.parametrize("mtu", [1280, 1421, 8920])
def test_edges_of_other_mtus_pass(other: type[Peer], mtu: int) -> None:
    with tunnel(other, mtu=mtu) as t:
        for host in (t.h1, t.h2):
            host.ip("link set dev eth0 mtu 9000")
        largest = ("ping", "-c", "1", "-W", "1", "-s", mtu - 28, t.other.address4)
        # boringtun looks at its MTU now and then, and cuts what is longer than it knew.
        wait_until(lambda: t.h1.result(*largest).returncode == 0, 10, "the largest packet to pass")
        edges = {
            1,
            15,
            16,
            17,
            *(n for around in (500, 1452, mtu - 28) for n in range(around - 33, around + 1)),
        }
        with Echo(t.h2, t.other.address4):
            assert missing_sizes(t.h1, t.other.address4, sorted(n for n in edges if n <= mtu - 28)) == []


def test_bigger_packets_than_the_mtu_are_fragmented_inside(other: type[Peer]) -> None:
    with tunnel(other) as t:
        t.subject.ping(t.other.address4)
        with Echo(t.h2, t.other.address4):
            assert missing_sizes(t.h1, t.other.address4, [1393, 3000, 9000]) == []


@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
def test_smaller_outer_path_is_fragmented_not_lost(other: type[Peer], version: int) -> None:
    """A stock peer leaves path MTU discovery on; what we send must arrive all the same."""
    with tunnel(other, outside=version) as t:
        t.subject.ping(t.other.address4)
        t.h1.ip("link set dev eth0 mtu 1300")
        with Echo(t.h2, t.other.address4) as echo:
            with t.h1.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                for size in (1200, 1260, 1392):
                    for _ in range(3):
                        out.sendto(payload(size), (t.other.address4, ECHO_PORT))
            wait_until(
                lambda: {payload(n) for n in (1200, 1260, 1392)} <= set(echo.heard), 5, "all sizes to arrive"
            )
