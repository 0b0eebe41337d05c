"""The wall clock may jump: sessions go on, and new handshakes are still believed.

    h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 other: h2

Only the subject's wall clock moves; CLOCK_MONOTONIC and CLOCK_BOOTTIME stay true.
"""

import time
from pathlib import Path

import pytest
from capture import Capture
from handmade import RESPONSE
from lab import wait_until
from traffic import Echo, Numbered, lost_by_us
from tunnel import FAST_REKEY, tunnel
from wall_clock import WallClock
from wgpeer import SUBJECT, Peer, WgpyPeer

YEAR = 365 * 86_400


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    """The subject's."""
    if SUBJECT is not WgpyPeer:
        pytest.skip("programs in Go do not ask the C library for the time")
    return WallClock(tmp_path)


def test_renewals_continue_after_any_step(other: type[Peer], clock: WallClock) -> None:
    with tunnel(other, environment=FAST_REKEY | clock.variables) as t, Capture(t.h1, "eth0", "udp") as wire:
        t.subject.ping(t.other.address4)
        with Echo(t.h2, t.other.address4), Numbered(t.h1, t.other.address4, per_second=100) as stream:
            for offset in (3600, -3600, YEAR, -YEAR):
                clock.set(offset)
                before = len(wire.messages(RESPONSE))
                wait_until(
                    lambda b=before: len(wire.messages(RESPONSE)) > b, 15, f"a renewal at {offset:+} s"
                )
        assert lost_by_us(stream, t.other) == []


def test_handshake_time_is_shown_in_the_clock_of_the_moment(other: type[Peer], clock: WallClock) -> None:
    clock.set(-3600)
    with tunnel(other, environment=FAST_REKEY | clock.variables) as t:
        t.subject.ping(t.other.address4)
        assert abs(t.subject.seen(t.other).latest_handshake - (time.time() - 3600)) < 10
