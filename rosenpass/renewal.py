"""When a key is renewed, and by whom.

The protocol names the age at which each side of a handshake renews its key; nothing forbids to be earlier.
This end takes a moment in the last quarter of that age, drawn anew each time: many peers that came at the
same moment, after a restart of the hub they share, must not come together for ever.
"""

from .constants import Instant, Role, Timers
from .peers import Initiative, Session
from .randomness import RandomBytes, uniform

_EARLIEST_QUARTER = 3


def session_of(
    role: Role, initiative: Initiative, now: Instant, random: RandomBytes, timers: Timers
) -> Session:
    """The session that a handshake makes in which this end had `role`."""
    ours, theirs = timers.rekey_after_initiator, timers.rekey_after_responder
    if role is Role.RESPONDER:
        ours, theirs = theirs, ours
    match initiative:
        case Initiative.AT_ONCE:
            renew_at = Instant(now + uniform(random, ours * _EARLIEST_QUARTER // 4, ours))
            return Session(role, now, renew_at, expected_at=renew_at)
        case Initiative.WHEN_OVERDUE:
            late = uniform(random, timers.overdue, 2 * timers.overdue)
            return Session(role, now, Instant(now + ours + late), expected_at=Instant(now + theirs))
        case Initiative.NEVER:
            return Session(role, now, None, expected_at=Instant(now + theirs))
