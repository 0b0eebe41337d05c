"""The interface may move; the UDP socket stays where the process was born.

h1: process, 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 other: h2
h3: has nothing but the subject's wg0, 10.7.0.1
"""

from collections.abc import Iterator
from contextlib import contextmanager

from lab import Namespace, wait_until
from traffic import Echo, Numbered, lost_by_us
from tunnel import Tunnel, tunnel
from wgpeer import Peer


@contextmanager
def moved(other: type[Peer]) -> Iterator[tuple[Tunnel, Namespace]]:
    with Namespace("h3") as h3, tunnel(other) as t:
        t.subject.ping(t.other.address4)
        t.h1.give_interface("wg0", h3)
        h3.add_address("wg0", *t.subject.addresses)
        h3.ip("link set dev wg0 up")
        yield t, h3


def test_container_with_nothing_but_the_tunnel_reaches_the_other_end(other: type[Peer]) -> None:
    with moved(other) as (t, h3):
        wait_until(lambda: h3.ok("ping", "-c1", "-W1", t.other.address4), 15, "an answer in h3")
        wait_until(lambda: h3.ok("ping", "-c1", "-W1", t.other.address6), 15, "an IPv6 answer in h3")
        t.other.ping(t.subject.address4)
        assert not t.h1.ok("ping", "-c1", "-W1", t.other.address4)
        assert t.h1.ok("wg", "show", "wg0")  # the control socket stays too


def test_interface_may_go_down_and_up_there(other: type[Peer]) -> None:
    with moved(other) as (t, h3):
        wait_until(lambda: h3.ok("ping", "-c1", "-W1", t.other.address4), 15, "an answer in h3")
        h3.ip("link set dev wg0 down")
        wait_until(lambda: not t.h2.ok("ping", "-c1", "-W1", t.subject.address4), 5, "silence while down")
        h3.ip("link set dev wg0 up")
        wait_until(lambda: h3.ok("ping", "-c1", "-W1", t.other.address4), 15, "an answer after up")


def test_mtu_changed_there_is_obeyed(other: type[Peer]) -> None:
    with moved(other) as (t, h3):
        for mtu in (1400, 1280, 1420):
            h3.ip(f"link set dev wg0 mtu {mtu}")
            argv = ("ping", "-c1", "-W1", "-M", "do", "-s", mtu - 28, t.other.address4)
            wait_until(lambda argv=argv: h3.ok(*argv), 10, f"a packet of {mtu} bytes")


def test_traffic_flows_after_the_move_as_before(other: type[Peer]) -> None:
    with moved(other) as (t, h3), Echo(t.h2, t.other.address4):
        wait_until(lambda: h3.ok("ping", "-c1", "-W1", t.other.address4), 15, "an answer in h3")
        with Numbered(h3, t.other.address4, per_second=500, size=1300) as stream:
            wait_until(lambda: len(stream.sent) > 1000, 10, "a thousand datagrams")
        assert lost_by_us(stream, t.other) == []


def test_process_ends_when_the_interface_is_deleted_there(other: type[Peer]) -> None:
    with moved(other) as (t, h3):
        h3.ip("link delete wg0")
        assert t.subject.process is not None
        t.subject.process.wait(within=5)
        assert not t.h1.ok("test", "-e", "/run/wireguard/wg0.sock")


def test_process_ends_when_the_interface_is_deleted_at_home(other: type[Peer]) -> None:
    with tunnel(other) as t:
        t.subject.ping(t.other.address4)
        t.h1.ip("link delete wg0")
        assert t.subject.process is not None
        t.subject.process.wait(within=5)
        assert not t.h1.ok("test", "-e", "/run/wireguard/wg0.sock")
