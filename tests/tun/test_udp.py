import errno
import os
import socket
from collections.abc import Iterator

import pytest

from tun.errors import TunError
from tun.udp import UdpSockets


def taken(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(("", 0))
    return made


def test_both_families_are_bound_to_the_same_port() -> None:
    sockets = UdpSockets.open(0, 0)
    assert sockets.v4 is not None
    assert sockets.v6 is not None
    assert sockets.v4.getsockname()[1] == sockets.v6.getsockname()[1] == sockets.port
    assert sockets.v6.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    sockets.close()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_port_taken_in_either_family_is_refused_and_nothing_stays_open(family: int) -> None:
    with taken(family) as other:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(TunError) as caught:
            UdpSockets.open(other.getsockname()[1], 0)
        assert caught.value.errno == errno.EADDRINUSE
        assert len(os.listdir("/proc/self/fd")) == before


def test_sockets_do_not_block_do_not_leak_to_children_and_fragment_as_the_kernel_does() -> None:
    sockets = UdpSockets.open(0, 0)
    assert sockets.v4 is not None
    assert sockets.v4.getblocking() is False
    assert sockets.v4.get_inheritable() is False
    assert sockets.v4.getsockopt(socket.IPPROTO_IP, 10) == 0  # IP_PMTUDISC_DONT
    assert sockets.v4.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
    assert sockets.v4.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > 200_000
    sockets.close()


def test_a_port_chosen_by_ipv4_that_ipv6_cannot_have_is_chosen_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from tun import udp

    real, refusals = udp._bound, []

    def refusing(family: int, port: int, mark: int) -> socket.socket | None:
        if family == socket.AF_INET6 and len(refusals) < 3:
            refusals.append(port)
            raise TunError(errno.EADDRINUSE, "taken")
        return real(family, port, mark)

    monkeypatch.setattr(udp, "_bound", refusing)
    sockets = UdpSockets.open(0, 0)
    assert len(refusals) == 3
    sockets.close()


@pytest.mark.parametrize("missing", [socket.AF_INET, socket.AF_INET6])
def test_one_family_may_be_missing(monkeypatch: pytest.MonkeyPatch, missing: int) -> None:
    real = socket.socket

    def without(
        family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None
    ) -> socket.socket:
        if family == missing:
            raise OSError(errno.EAFNOSUPPORT, "not here")
        return real(family, kind, proto, fileno)

    monkeypatch.setattr("tun.udp.socket.socket", without)
    sockets = UdpSockets.open(0, 0)
    assert -1 in sockets.descriptors[0]
    assert sockets.port > 0
    sockets.close()


def test_bound_sockets_may_be_handed_in() -> None:
    with taken(socket.AF_INET) as v4, taken(socket.AF_INET6) as v6:
        sockets = UdpSockets.adopt((os.dup(v6.fileno()), os.dup(v4.fileno())), 0)
        assert sockets.port == v4.getsockname()[1]
        assert all(number >= 0 for number in sockets.descriptors[0])
        sockets.close()


def test_what_is_no_bound_udp_socket_is_not_taken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream, socket.socket(2, 2) as unbound:
        for wrong in (stream, unbound):
            with pytest.raises(TunError):
                UdpSockets.adopt((wrong.fileno(),), 0)
            wrong.getsockname()  # still open: its owner's to close
        with pytest.raises(TunError):
            UdpSockets.adopt((), 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to set a mark")
def test_the_mark_is_on_both_sockets_and_may_change() -> None:
    sockets = UdpSockets.open(0, 7)
    for each in (sockets.v4, sockets.v6):
        assert each is not None
        assert each.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 7
    sockets.set_mark(0)
    assert sockets.v4 is not None
    assert sockets.v4.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 0
    sockets.close()


def test_sockets_of_several_workers_share_a_port_but_not_with_another_device() -> None:
    before = len(os.listdir("/proc/self/fd"))
    sockets = UdpSockets.open(0, 0, workers=3)
    port = sockets.port
    assert len(sockets.descriptors) == 3
    assert len({fd for pair in sockets.descriptors for fd in pair}) == 6
    for workers in (1, 3):
        with pytest.raises(TunError) as caught:
            UdpSockets.open(port, 0, workers)
        assert caught.value.errno == errno.EADDRINUSE
    sockets.close()
    UdpSockets.open(port, 0).close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_one_address_sends_comes_to_one_socket_in_order() -> None:
    sockets = UdpSockets.open(0, 0, workers=2)
    readers = [socket.socket(fileno=os.dup(v4)) for v4, _ in sockets.descriptors]
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(32)]
    for number in range(10):
        for name, sender in enumerate(senders):
            sender.sendto(bytes([name, number]), ("127.0.0.1", sockets.port))
    found = [list(waiting(reader)) for reader in readers]
    for each in (sockets, *readers, *senders):
        each.close()
    assert all(found)  # that all senders fall on one: once in 2 ** 31
    for name in range(len(senders)):
        where = [[number for who, number in reader if who == name] for reader in found]
        assert sorted(where) == [[], list(range(10))]


def waiting(reader: socket.socket) -> Iterator[tuple[int, int]]:
    while True:
        try:
            name, number = reader.recv(16)
        except BlockingIOError:
            return
        yield name, number
