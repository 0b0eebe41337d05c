"""When to send the same message again: initiators only, backing off from half a second to ten."""

from dataclasses import dataclass

from .constants import Instant, Timers
from .randomness import RandomBytes, uniform


def retransmission_delay(attempt: int, random: RandomBytes, timers: Timers) -> int:
    """Return the ns to wait before resend number `attempt` (from 0).

    The base doubles from 0.5 s to 10 s; the factor 0.5 to 1.0 keeps many initiators from marching in step.
    """
    doubled = timers.retransmit_begin << min(attempt, 32)
    base = min(doubled, timers.retransmit_end)
    return uniform(random, base // 2, base)


@dataclass(slots=True)
class Retransmission:
    """How often one message was resent, and when it goes out next.

    Attributes:
        attempt: resends so far.
        due: when the next is due.
        is_hurried: sent once more between two of them, because the peer asked for a cookie.
    """

    attempt: int
    due: Instant
    is_hurried: bool = False

    @classmethod
    def start(cls, now: Instant, random: RandomBytes, timers: Timers) -> "Retransmission":
        """Begin after the first send."""
        return cls(0, Instant(now + retransmission_delay(0, random, timers)))

    def advance(self, now: Instant, random: RandomBytes, timers: Timers) -> None:
        """Count one resend."""
        self.attempt += 1
        self.is_hurried = False
        self.due = Instant(now + retransmission_delay(self.attempt, random, timers))
