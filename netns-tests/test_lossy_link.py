"""Lost, late, doubled and reordered messages delay a session; they do not prevent or break one.

h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2:4000 relay ─ 10.99.0.2 ═ 10.7.0.2 other: h2
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from lab import wait_until
from relay import ARRIVES, LOST, Delays, Passing, Relay, Script
from traffic import Echo, Numbered, lost_by_us
from tunnel import FAST_REKEY, Tunnel, tunnel
from wgpeer import PORT, Peer

RELAY = ("10.99.0.2", 4000)


def lose_first(kind: int) -> Script:
    """Lose the first message of this type."""
    left = [1]

    def script(passing: Passing) -> Delays:
        if passing.kind == kind and left:
            left.pop()
            return LOST
        return ARRIVES

    return script


def double_all() -> Script:
    return lambda _: (0.0, 0.001)


def stir() -> Script:
    """Everything late by 0 to 20 ms: much reordering."""
    dice = random.Random(5)
    return lambda _: (dice.uniform(0, 0.02),)


@contextmanager
def over(other: type[Peer], script: Script) -> Iterator[tuple[Tunnel, Relay]]:
    """A tunnel whose datagrams all pass this script."""
    upstream = ("10.99.0.2", PORT)
    with (
        tunnel(other, both=False, environment=FAST_REKEY) as t,
        Relay(t.h2, RELAY, upstream, script) as link,
    ):
        t.subject.wg("peer", t.other.keys.public, "endpoint", f"{RELAY[0]}:{RELAY[1]}")
        t.subject.ping(t.other.address4, within=20)
        yield t, link


@pytest.mark.parametrize("kind", [1, 2, 4], ids=["initiation", "response", "confirmation"])
def test_any_first_message_may_be_lost(other: type[Peer], kind: int) -> None:
    with over(other, lose_first(kind)) as (t, link):
        assert sum(passing.kind == kind for passing in link.passed) >= 2
        t.other.ping(t.subject.address4)


@pytest.mark.parametrize("make", [double_all, stir], ids=["doubled", "reordered"])
def test_each_datagram_is_delivered_once_whatever_the_link_does(
    other: type[Peer], make: Callable[[], Script]
) -> None:
    with over(other, make()) as (t, _):
        with Echo(t.h2, t.other.address4) as echo, Numbered(t.h1, t.other.address4, per_second=300) as stream:
            wait_until(lambda: len(stream.sent) > 1500, 15, "five seconds of traffic, a renewal in it")
        assert len(echo.heard) == len(set(echo.heard))
        assert stream.duplicates == 0
        assert lost_by_us(stream, t.other) == []


def test_lossy_link_costs_what_it_loses_and_no_more(other: type[Peer]) -> None:
    """A tenth lost each way: four fifths of the questions are answered, renewals included."""
    dice = random.Random(6)
    with over(other, lambda _: LOST if dice.random() < 0.1 else ARRIVES) as (t, _):
        with Echo(t.h2, t.other.address4), Numbered(t.h1, t.other.address4, per_second=300) as stream:
            wait_until(lambda: len(stream.sent) > 3000, 20, "ten seconds of traffic, renewals in it")
        assert len(stream.lost) < len(stream.sent) * 0.25
