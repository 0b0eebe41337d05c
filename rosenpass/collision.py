"""When both ends initiate: how two ends come to hold one key.

The protocol has one rule: accepting an InitConf ends the own handshake. That leaves a gap. If both InitConf
are under way at once, each end takes the other's key last and the keys differ until the next renewal. Three
things close it, and none shows on the wire but as timing:

1. The end with the bytewise greater public key starts at once, the other a second later (peers.Initiative).
2. Who sees an InitHello of its peer during an own handshake delays the own InitConf, and outputs the key only
   when it leaves: a peer's InitConf that arrives meanwhile ends the own handshake without a trace. The
   greater key waits less, so one of two waiting ends gives way. InitHello can be replayed, hence delay and
   never drop.
3. From the moment our InitConf leaves until one of ours is confirmed, whatever we accept may have crossed it,
   and so may what bears a biscuit from before the confirmation. Then a new handshake of ours follows within
   seconds, the greater key's first.

Why 3 finds every crossing, even against an end that takes no care: suppose A ends with X and B with Y, X from
B's handshake and Y from A's. B sent InitConf X before it accepted Y. If none of B's was confirmed since, rule
3 applies at B. If X was, A had accepted X and so ended its own handshake before B knew; had B issued Y's
biscuit after that, A would have output Y after X; so the biscuit is older and rule 3 applies. If a later one,
Z, was confirmed, A took Z after X, for its biscuit numbers only rise, and did not end with X.
"""

from .biscuit import MAX_BISCUIT_NO
from .constants import Instant, Timers
from .peers import Initiative, Peer
from .randomness import RandomBytes, uniform

_UNCONFIRMED = MAX_BISCUIT_NO + 1


def first_start(peer: Peer, now: Instant, random: RandomBytes, timers: Timers) -> Instant | None:
    """When to begin with a peer that has no session."""
    match peer.config.initiative:
        case Initiative.NEVER:
            return None
        case Initiative.WHEN_OVERDUE:
            return Instant(now + uniform(random, timers.overdue_start, timers.overdue_start * 3 // 2))
        case Initiative.AT_ONCE:
            if peer.goes_first:
                return now
            return Instant(now + uniform(random, timers.start_delay // 2, timers.start_delay * 3 // 2))


def release_time(
    peer: Peer, peer_initiates: bool, now: Instant, random: RandomBytes, timers: Timers
) -> Instant:
    """When our InitConf may leave."""
    if not peer_initiates:
        return now
    least = timers.hold_back // 2 if peer.goes_first else timers.hold_back * 2
    return Instant(now + uniform(random, least, 2 * least))


def init_conf_sent(peer: Peer) -> None:
    """From now on, until it is confirmed, any InitConf accepted may cross ours."""
    peer.crossing_limit = _UNCONFIRMED


def init_conf_confirmed(peer: Peer, next_biscuit_no: int) -> None:
    """The peer accepted our InitConf and ended its own handshake: older biscuits only come late."""
    peer.crossing_limit = next_biscuit_no


def may_have_crossed(peer: Peer, biscuit_no: int) -> bool:
    """Whether the InitConf with this biscuit, just accepted, may have crossed one of ours."""
    return biscuit_no < peer.crossing_limit


def settle_time(peer: Peer, now: Instant, random: RandomBytes, timers: Timers) -> Instant:
    """When to make a new key because the last two may have crossed."""
    least = timers.hold_back if peer.goes_first else timers.hold_back * 4
    return Instant(now + uniform(random, least, 2 * least))
