"""The wall clock may jump: sessions go on, and new handshakes are still believed.

    h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 other: h2

libfaketime moves only the subject's wall clock; CLOCK_MONOTONIC and CLOCK_BOOTTIME stay true.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from capture import Capture
from handmade import RESPONSE
from lab import wait_until
from traffic import Echo, Numbered, lost_by_us
from tunnel import FAST_REKEY, tunnel
from wgpeer import SUBJECT, Peer, WgpyPeer

LIBRARIES = [Path(p) for p in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
YEAR = 365 * 86_400


@pytest.fixture
def shift(tmp_path: Path) -> tuple[dict[str, str], Callable[[int], None]]:
    """Environment for the subject, and what sets its clock so many seconds off."""
    if not LIBRARIES:
        pytest.skip("needs libfaketime (apt install faketime)")
    if SUBJECT is not WgpyPeer:
        pytest.skip("programs in Go do not ask the C library for the time")
    offset = tmp_path / "offset"

    def set_offset(seconds: int) -> None:
        offset.with_suffix(".new").write_text(f"{seconds:+d}s\n")
        offset.with_suffix(".new").rename(offset)

    set_offset(0)
    environment = {
        **FAST_REKEY,
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "WGPY_READS": str(tmp_path),  # the library looks into the file at every call
    }
    return environment, set_offset


def test_renewals_continue_after_any_step(
    other: type[Peer], shift: tuple[dict[str, str], Callable[[int], None]]
) -> None:
    environment, set_offset = shift
    with tunnel(other, environment=environment) as t, Capture(t.h1, "eth0", "udp") as wire:
        t.subject.ping(t.other.address4)
        with Echo(t.h2, t.other.address4), Numbered(t.h1, t.other.address4, per_second=100) as stream:
            for offset in (3600, -3600, YEAR, -YEAR):
                set_offset(offset)
                before = len(wire.messages(RESPONSE))
                wait_until(
                    lambda b=before: len(wire.messages(RESPONSE)) > b, 15, f"a renewal at {offset:+} s"
                )
        assert lost_by_us(stream, t.other) == []


def test_handshake_time_is_shown_in_the_clock_of_the_moment(
    other: type[Peer], shift: tuple[dict[str, str], Callable[[int], None]]
) -> None:
    environment, set_offset = shift
    set_offset(-3600)
    with tunnel(other, environment=environment) as t:
        t.subject.ping(t.other.address4)
        assert abs(t.subject.seen(t.other).latest_handshake - (time.time() - 3600)) < 10
