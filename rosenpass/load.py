"""Is this end under load? Measured: how often InitHello comes, times how long one takes.

The time is handed in by the edge, which has a clock. Above the limit an InitHello costs its sender a cookie,
or one of the few tokens that the limiters here give to those who cannot do cookies (no release of Rosenpass
can).
"""

from collections.abc import Hashable
from itertools import islice

from .constants import SECOND, Instant

_BUSY_SHARE = 0.5  # of one core's time spent on InitHello
_SMOOTHING = 8


class LoadMeter:
    """Rate of InitHello over the last second, against what the measured time permits."""

    def __init__(self) -> None:
        self._cost_ns: float | None = None
        self._second = 0
        self._current = 0
        self._previous = 0

    def measured(self, duration_ns: int) -> None:
        """Take one measurement of an InitHello's whole processing, key decapsulation included."""
        if self._cost_ns is None:
            self._cost_ns = float(duration_ns)
        self._cost_ns += (duration_ns - self._cost_ns) / _SMOOTHING

    def arrived(self, now: Instant) -> None:
        """Count an InitHello with a good mac."""
        self._roll(now)
        self._current += 1

    def is_high(self, now: Instant) -> bool:
        """Whether answering every InitHello at the present rate would take more than half of a core."""
        if self._cost_ns is None:
            return False
        self._roll(now)
        elapsed = now % SECOND / SECOND
        rate = self._current + self._previous * (1 - elapsed)
        return rate * self._cost_ns > _BUSY_SHARE * SECOND

    def _roll(self, now: Instant) -> None:
        second = now // SECOND
        if second != self._second:
            self._previous = self._current if second == self._second + 1 else 0
            self._current = 0
            self._second = second


class RateLimiter:
    """A token bucket per key, for at most `size` keys; the one longest idle makes room."""

    def __init__(self, per_second: int, burst: int, size: int = 4096) -> None:
        self._interval = SECOND // per_second
        self._burst = burst
        self._size = size
        self._full_at: dict[Hashable, int] = {}  # when the key's bucket is full again

    def allow(self, key: Hashable, now: Instant) -> bool:
        """Take a token of this key's bucket, if there is one."""
        full_at = max(self._full_at.pop(key, 0), now)
        allowed = full_at - now <= (self._burst - 1) * self._interval
        if allowed:
            full_at += self._interval
        self._make_room(now)
        self._full_at[key] = full_at
        return allowed

    def _make_room(self, now: Instant) -> None:
        """Forget the longest idle if there is no room, and up to two whose buckets are full again."""
        for oldest in list(islice(self._full_at, 2)):
            if len(self._full_at) >= self._size or self._full_at[oldest] <= now:
                del self._full_at[oldest]
