"""One peer's protocol state: what the control half remembers between messages.

Knows no keypairs, endpoints' addresses or allowed IPs: those live in the data plane alone.
"""

import base64

from wgpy import tai64n
from wgpy.constants import Timings
from wgpy.cookie import Macs
from wgpy.model import SECOND, Instant, PeerNumber, PresharedKey, PskKind, PublicKey, WallTime
from wgpy.noise import SentInitiation, StaticIdentity
from wgpy.psk_ring import PskRing, Slot
from wgpy.timers import TimerState

# A response stays answerable to its slot until confirmed; the data plane keeps but the last.
_RESPONSES_KEPT = 3


class Peer:
    """Mutable; only wgpy.tunnel changes it, after authentication."""

    def __init__(
        self, number: PeerNumber, public_key: PublicKey, preshared_key: PresharedKey, timings: Timings
    ) -> None:
        self.number = number
        self.public_key = public_key
        self.ring = PskRing(preshared_key, timings)
        self.macs = Macs(public_key, timings)
        self.timers = TimerState()
        self.has_endpoint = False
        self.has_rosenpass = False
        self.is_permissive = False
        self.last_handshake = WallTime(0)
        # A slot of its own: an initiation that comes in does not displace ours, so that after a collision
        # either response completes.
        self.outstanding: SentInitiation | None = None
        self.responses: dict[int, Slot] = {}  # local index -> what our response was made with
        self.cookie_index: int | None = None  # sender index of the last message that may earn a cookie
        self.last_timestamp_sent = tai64n.ZERO
        self.greatest_timestamp = tai64n.ZERO
        self.last_consumed: Instant | None = None
        self.last_call_back: Instant | None = None  # our answer to an initiation from a clock that went back
        self.last_pq_session: Instant | None = None  # when a session on a Rosenpass key was last confirmed
        self.last_pq_birthdate: Instant | None = None  # when that key was agreed
        self.is_silent = False  # what was sent got no answer, and no handshake has succeeded since
        self.scheduled: Instant | None = None  # the deadline last put on the agenda
        self.mismatches = (
            0  # responses that no key of ours opened, since the last session; anybody may forge them
        )
        self.has_drifted = False  # before the newest session the peer was seen not to have our newest key
        self._shared: bytes | None = None
        self._shared_known = False

    def __repr__(self) -> str:
        return name_of(self.public_key)

    def shared(self, identity: StaticIdentity) -> bytes | None:
        """ss, computed when first needed; None where the peer's key is of small order."""
        if not self._shared_known:
            self._shared, self._shared_known = identity.shared_with(self.public_key), True
        return self._shared

    def forget_shared(self) -> None:
        """Our static key changed."""
        self._shared, self._shared_known = None, False

    def remember_response(self, index: int, slot: Slot) -> None:
        """The keypair of this index was made with this slot."""
        self.responses[index] = slot
        while len(self.responses) > _RESPONSES_KEPT:
            del self.responses[next(iter(self.responses))]

    def is_hurried(self, now: Instant, timings: Timings) -> bool:
        """Whether user packets may be waiting for a post-quantum session that is not there."""
        if not self.has_rosenpass:
            return False
        if self.is_silent:
            return True
        return self.last_pq_session is None or now - self.last_pq_session >= timings.reject_after_time

    def clock_went_back(self, timestamp: bytes, timings: Timings) -> bool:
        """Whether an authentic initiation is so much older than the last that hardly a network delayed it.

        An end whose clock went back by less has caught up with itself as soon as that.
        """
        late = tai64n.seconds_between(timestamp, self.greatest_timestamp) * SECOND
        return late >= timings.rekey_timeout

    def has_lost_output(self, slot: Slot) -> bool:
        """Whether a session on this slot says that the peer has none of our outputs any more.

        It had one, and our first question was answered with less: only a peer asked again walks through its
        slots.
        """
        return slot.kind is not PskKind.PQ and self.ring.carries_output and self.timers.unanswered <= 1

    @property
    def handshakes_fail(self) -> bool:
        """Whether the peer speaks and no session comes of it: what a preshared key not shared looks like."""
        return self.mismatches > 1 or self.ring.unproved > 1

    @property
    def deadline(self) -> Instant | None:
        """When this peer has something to do even if no packet moves."""
        moments = [
            moment
            for moment in (self.timers.deadline, self.ring.follow_up_at, self.ring.expires_at)
            if moment is not None
        ]
        return min(moments, default=None)


def name_of(public_key: PublicKey) -> str:
    """How a peer is called in logs: peer(AbCd…wXyZ)."""
    text = base64.b64encode(public_key).decode()
    return f"peer({text[:4]}…{text[-5:-1]})"
