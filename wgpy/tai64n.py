"""TAI64N timestamps, whitened to 2^24 ns so that they do not give a precise clock away.

Knows no clock: wall time is an argument. Stamps compare as byte strings.

    0  8  2^62 + 10 + Unix seconds, big-endian
    8  4  nanoseconds, big-endian, a multiple of 2^24
"""

from typing import Final

from wgpy.constants import TIMESTAMP_LEN, WHITENING_STEP
from wgpy.model import SECOND, WallTime

ZERO: Final = bytes(TIMESTAMP_LEN)
_BASE: Final = (1 << 62) + 10
_LAST_STEP: Final = (SECOND - 1) // WHITENING_STEP * WHITENING_STEP


def stamp(wall: WallTime) -> bytes:
    """The 12-byte stamp of a wall time; times before 1970 are 1970."""
    seconds, nanoseconds = divmod(max(0, wall), SECOND)
    return _encode(_BASE + seconds, nanoseconds - nanoseconds % WHITENING_STEP)


def stamp_after(wall: WallTime, last: bytes) -> bytes:
    """max(now, one whitening step after `last`): grows even while the clock steps back."""
    return max(stamp(wall), _successor(last))


def seconds_between(earlier: bytes, later: bytes) -> int:
    """Whole seconds from one stamp to another, negative where the first is the later one."""
    return int.from_bytes(later[:8]) - int.from_bytes(earlier[:8])


def _successor(last: bytes) -> bytes:
    seconds, nanoseconds = int.from_bytes(last[:8]), int.from_bytes(last[8:])
    if nanoseconds >= _LAST_STEP:
        return _encode(seconds + 1, 0)
    return _encode(seconds, nanoseconds + WHITENING_STEP)


def _encode(seconds: int, nanoseconds: int) -> bytes:
    return seconds.to_bytes(8) + nanoseconds.to_bytes(4)
