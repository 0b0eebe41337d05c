"""Between two hybrid ends: traffic that never stops, networks that go, and the wire opened afterwards.

The traffic is numbered datagrams both ways in both IP versions, sent from before there is a tunnel.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from capture import Capture
from hybrid import End
from lab import wait_until
from opened import USER, open_all, read_key_logs, tally
from traffic import Echo, Numbered
from wgpeer import PORT

CUT = """
table inet cut {
    chain incoming { type filter hook input priority 0; iifname "eth0" drop; }
    chain outgoing { type filter hook output priority 0; oifname "eth0" drop; }
}
"""
HEAL_S = 15.0
Streams = list[Numbered]


def cut(end: End) -> None:
    end.host.nft(CUT)


def mend(end: End) -> None:
    end.host.nft("delete table inet cut")


def link_down(end: End) -> None:
    """The way out has no route any more, rather than that nothing comes back."""
    end.host.ip("link set dev eth0 down")


def link_up(end: End) -> None:
    end.host.ip("link set dev eth0 up")


@contextmanager
def traffic(a: End, b: End, per_second: int = 100) -> Iterator[Streams]:
    """Numbered packets both ways in both IP versions, from before there is a tunnel."""
    with ExitStack() as stack:
        for end in (a, b):
            stack.enter_context(Echo(end.host, "0.0.0.0"))
            stack.enter_context(Echo(end.host, "::", port=8))
        yield [
            stack.enter_context(Numbered(one.host, target, per_second, port=port))
            for one, other in ((a, b), (b, a))
            for target, port in ((other.address4, 7), (other.address6, 8))
        ]


def flows(streams: Streams, within: float = HEAL_S) -> float:
    """Until each stream gets answers to what it sends from now on; the seconds it took."""
    start, marks = time.monotonic(), [len(stream.sent) for stream in streams]

    def back() -> list[bool]:
        # a copy: the streams go on meanwhile
        return [
            max(list(stream.came_back)[-100:], default=-1) >= mark
            for stream, mark in zip(streams, marks, strict=True)
        ]

    wait_until(lambda: all(back()), within, lambda: f"traffic again: {back()}")
    return time.monotonic() - start


@contextmanager
def nothing_leaks(a: End, b: End) -> Iterator[None]:
    """Captures the wire meanwhile; afterwards no user byte may have been under a key that is not pq."""
    a.log_keys()
    b.log_keys()
    with Capture(a.host, "eth0", f"udp port {PORT}", snapshot=2048) as wire:
        yield
    assert wire.missed() == 0
    opened, _ = open_all(wire.packets(), read_key_logs([a.key_log, b.key_log]))
    weaker = {key: count for key, count in tally(opened).items() if key[2] == USER and key[1] != "pq"}
    assert not weaker
    assert any(one.what == USER for one in opened)
