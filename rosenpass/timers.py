"""What is due for one peer: comparisons of stamps with a moment, no timer objects.

Decides nothing about who starts an exchange (collision.py stamps that) and changes nothing; server.py acts.
"""

from enum import Enum, auto

from .constants import Instant, Timers
from .initiator import AwaitingEmptyData, HeldBack, InitiatorHandshake
from .peers import Peer


class Due(Enum):
    """One thing to do, in the order in which server.py does them."""

    FORGET_RESPONSE = auto()  # the cached EmptyData is too old
    EXPIRE_SESSION = auto()  # REJECT_AFTER_TIME since the last key
    ABANDON_HANDSHAKE = auto()  # REJECT_AFTER_TIME since our InitHello
    RELEASE = auto()  # an InitConf was held back long enough
    RESTART = auto()  # nobody answers our InitConf
    RESEND = auto()
    START = auto()


def due(peer: Peer, timers: Timers, until: Instant) -> list[Due]:
    """Return what is due at `until`, in order."""
    return [what for what, at in _moments(peer, timers) if at <= until]


def next_deadline(peer: Peer, timers: Timers) -> Instant | None:
    """Return when due() next returns something."""
    return min((at for _, at in _moments(peer, timers)), default=None)


def _moments(peer: Peer, timers: Timers) -> list[tuple[Due, Instant]]:
    moments = []
    if peer.response is not None:
        moments.append((Due.FORGET_RESPONSE, Instant(peer.response.created_at + timers.response_cache)))
    if peer.session is not None:
        moments.append((Due.EXPIRE_SESSION, Instant(peer.session.created_at + timers.reject_after)))
    if peer.handshake is not None:
        moments += _moments_of_handshake(peer.handshake, timers)
    elif peer.is_reachable:
        renewal = peer.session.renew_at if peer.session else None
        moments += [(Due.START, at) for at in (peer.initiate_at, renewal) if at is not None]
    return moments


def _moments_of_handshake(handshake: InitiatorHandshake, timers: Timers) -> list[tuple[Due, Instant]]:
    death = (Due.ABANDON_HANDSHAKE, Instant(handshake.created_at + timers.reject_after))
    resend = (Due.RESEND, handshake.retransmission.due)
    match handshake.phase:
        case HeldBack(release_at=release_at):
            return [death, (Due.RELEASE, release_at)]
        case AwaitingEmptyData(sent_at=sent_at):
            return [death, (Due.RESTART, Instant(sent_at + timers.init_conf_give_up)), resend]
        case _:
            return [death, resend]
