"""What floods a socket is thinned out by the kernel; who does not flood is not touched."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from rosenpass.standalone.police import FLOOD, LET_THROUGH, LOOK_S, WINDOW_S, Police

Ip = IPv4Address | IPv6Address

IPV6_FREEBIND = 78  # a source address that the machine has not


class Scene:
    """A watched socket on loopback, and senders with addresses of their own."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket, self.police, self.now = sock, Police(sock), 0.0

    def send(self, source: Ip, count: int) -> int:
        """How many of these came through."""
        came = 0
        with closing(socket.socket(self.socket.family, socket.SOCK_DGRAM)) as sender:
            if source.version == 6:
                sender.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            sender.bind((str(source), 0))
            for _ in range(count):
                sender.sendto(b"x", self.socket.getsockname()[:2])
                with suppress(BlockingIOError):
                    self.police.saw(ip_address(self.socket.recvfrom(10)[1][0]), self.now)
                    came += 1
        return came

    def flood(self, source: Ip) -> None:
        """Until the filter is there: FLOOD a second for one window."""
        self.send(source, round(FLOOD * WINDOW_S) + 1)
        self.now += WINDOW_S
        self.send(source, 1)

    def other_share(self, source: Ip) -> Ip:
        taken = self.police.share_of(source)
        return next(ip for ip in (source + n for n in range(1, 250)) if self.police.share_of(ip) != taken)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as watched:
        watched.bind(("127.0.0.1", 0))
        watched.setblocking(False)
        yield Scene(watched)


FLOODER = IPv4Address("127.0.0.2")


def test_flooder_is_thinned_out_and_his_neighbours_are_not(scene: Scene) -> None:
    scene.flood(FLOODER)
    assert scene.police.is_thinning
    assert scene.send(FLOODER, 1000) < 2 * 1000 * LET_THROUGH / FLOOD
    assert scene.send(scene.other_share(FLOODER), 200) == 200
    assert scene.police.dropped > 800


def test_many_quiet_sources_are_no_flood(scene: Scene) -> None:
    for second in range(4):
        for source in range(200):
            scene.now = second + source / 200
            assert scene.send(FLOODER + source, 3) == 3
    assert not scene.police.is_thinning


def test_flood_from_everywhere_is_thinned_out_everywhere(scene: Scene) -> None:
    for _ in range(2):
        for source in range(250):
            scene.send(FLOODER + source, 8)
        scene.now += WINDOW_S
    assert sum(scene.send(FLOODER + source, 4) for source in range(250)) < 200


def test_filter_goes_when_the_flood_has_gone(scene: Scene) -> None:
    scene.flood(FLOODER)
    for _ in range(8):
        scene.now += LOOK_S
        scene.police.look(scene.now)
    assert not scene.police.is_thinning
    assert scene.send(FLOODER, 100) == 100


def test_filter_is_tightened_until_the_rate_is_bearable(scene: Scene) -> None:
    scene.flood(FLOODER)
    for _ in range(4):
        came = scene.send(FLOODER, 20_000)  # as if within a second
        scene.now += LOOK_S
        scene.police.look(scene.now)
    assert came < 2 * LET_THROUGH


@pytest.fixture
def scene6() -> Iterator[Scene]:
    with closing(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as watched:
        try:
            watched.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        watched.setblocking(False)
        yield Scene(watched)


def test_kernel_and_python_agree_on_the_share_of_an_ipv4_source(scene: Scene) -> None:
    scene.flood(FLOODER)
    thinned = scene.police.share_of(FLOODER)
    for source in (FLOODER + n for n in range(1, 250)):
        assert (scene.send(source, 20) == 20) == (scene.police.share_of(source) != thinned)


def test_kernel_and_python_agree_on_the_share_of_an_ipv6_source(scene6: Scene) -> None:
    flooder = IPv6Address("2001:db8:1:2::3")
    scene6.flood(flooder)
    assert scene6.send(flooder, 1000) < 200
    thinned = scene6.police.share_of(flooder)
    for source in (flooder + (n << step) for step in (16, 64, 96) for n in range(1, 80)):
        assert (scene6.send(source, 20) == 20) == (scene6.police.share_of(source) != thinned)


def distinct(sources: Iterable[Ip], police: Police) -> int:
    return len({police.share_of(source) for source in sources})


def test_neighbours_are_spread_over_the_shares_whatever_the_key() -> None:
    network = IPv6Address("2001:db8:1:2::")
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as any_socket:
        for _ in range(500):
            police = Police(any_socket)
            assert distinct((FLOODER + n for n in range(250)), police) > 20
            assert distinct((IPv4Address(n * 1_000_003) for n in range(1000)), police) > 20
            assert distinct((network + (n << 64) for n in range(250)), police) > 20
            assert distinct((network + (n << 96) for n in range(250)), police) > 20


def test_share_of_an_ipv6_source_is_that_of_its_64() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as any_socket:
        assert distinct((IPv6Address("2001:db8:1:2::") + n for n in range(1000)), Police(any_socket)) == 1
