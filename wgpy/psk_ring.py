"""Which preshared key a handshake with one peer is made with: the ring of slots.

Knows no messages, sockets or policies of user traffic (the gate is in the data plane). Time is an argument.

    plain      configured PresharedKey, else zeros: WireGuard as everybody knows it
    interim    known to both ends without talking: the configured key, else NetBird's seed (not secret)
    pending    output by our Rosenpass run, not yet known to be known by the other end
    current    the newest confirmed Rosenpass output
    previous   the one before
    retired    a configured key that was replaced; tried for a grace time, for two ends never switch at once;
               never the lack of one: a peer is added first and given its key then

Legal transitions; everything else leaves the slots as they are:

    | event                       | pending | current      | previous    | follow-up handshake             |
    |-----------------------------|---------|--------------|-------------|---------------------------------|
    | pending(osk)                | osk     |              |             | in 2 s, until it is confirmed   |
    | confirmed(osk) = pending    | -       | pending      | old current | in 1 s; at once after a wasted  |
    |                             |         |              |             | response, where none carries    |
    | confirmed(osk), another     | -       | osk          | old current | at once                         |
    | confirmed(osk) = current    |         |              |             |                                 |
    | proved(pending)             | -       | pending      | old current | none                            |
    | proved(newest)              |         |              |             | none, unless one is pending     |
    | proved(older)               |         |              |             | after 1, 2, 4 ... 15 s          |
    | stale()                     | -       |              |             |                                 |
    | age limit of a slot         | -       | -            | -           |                                 |

"Newest" is `current`, else `interim`.
"""

import base64
import hmac
from dataclasses import dataclass, field
from typing import Final

from wgpy import crypto
from wgpy.constants import NEVER, Timings
from wgpy.crypto import Buffer
from wgpy.model import KEY_LEN, NO_PRESHARED_KEY, SECOND, Instant, PresharedKey, PskKind, PublicKey

_SEED_HALF: Final = 16
# Initiations closer together than this are one attempt of the peer, not a sign of drift.
_WALK_SPACING: Final = 2 * SECOND // 5
# A response on an older slot this short before the confirmation was the peer's try to use the new key.
_WASTED_WITHIN: Final = 2 * SECOND
# Only our own initiation can prove a pending key: as responder we mix the one before. The last message of the
# exchange makes that needless, if it comes.
_PROBE_AFTER: Final = 2 * SECOND
# A peer that tries again only after this long begins at the newest slot once more.
_WALK_FORGET: Final = 90 * SECOND


def netbird_seed(ours: PublicKey, theirs: PublicKey) -> PresharedKey:
    """32 ASCII bytes both ends derive from the two public keys. Not secret.

    The base64 texts are compared; 16 characters of the greater, then 16 of the lesser.
    """
    lesser, greater = sorted((base64.b64encode(ours), base64.b64encode(theirs)))
    return PresharedKey(greater[:_SEED_HALF] + lesser[:_SEED_HALF])


@dataclass(slots=True, eq=False)
class Slot:
    """One preshared key with its kind and, for a Rosenpass output, when it was agreed (0 = no age)."""

    key: bytearray = field(repr=False)
    kind: PskKind
    birthdate: Instant = NEVER

    @classmethod
    def of(cls, key: Buffer, kind: PskKind, birthdate: Instant = NEVER) -> "Slot":
        """A slot with a copy of the key of its own."""
        return cls(bytearray(key), kind, birthdate)

    def holds(self, key: Buffer) -> bool:
        """Constant-time comparison."""
        return hmac.compare_digest(self.key, key)


class PskRing:
    """The slots of one peer.

    Args:
        configured: the PresharedKey of the configuration, zeros for none.
        timings: follow-up delays, grace and age limit.
    """

    def __init__(self, configured: PresharedKey, timings: Timings) -> None:
        self._timings = timings
        self._plain = _plain_slot(configured)
        self._seed: Slot | None = None
        self._plain_fallback = False
        self._pending: Slot | None = None
        self._current: Slot | None = None
        self._previous: Slot | None = None
        self._retired: tuple[Slot, Instant] | None = None
        self._responses = 0  # unconfirmed ones in a row, each a second or more after the one before
        self._last_response: Instant | None = None  # since the last proof
        self._answered: Instant | None = None
        self._carrying: Slot | None = None  # the slot of the newest proven session
        self._follow_up_at: Instant | None = None
        self._follow_up_delay = timings.follow_up_first

    # -- configuration

    @property
    def configured(self) -> PresharedKey:
        """The configured key, zeros for none."""
        return PresharedKey(bytes(self._plain.key))

    def configure(self, key: PresharedKey, now: Instant) -> bool:
        """Replace the configured key. Returns whether handshakes are made with another key from now on."""
        if self._plain.holds(key):
            return False
        newest = self.newest
        old, self._plain = self._plain, _plain_slot(key)
        self._forget_retired()
        if old.kind is not PskKind.NONE:  # who sets a key wants no session without one, not for a second
            self._retired = (old, Instant(now + self._timings.retired_psk_grace))
        self._reset_walk()
        return self.newest is not newest

    def enable_rosenpass(self, seed: PresharedKey, *, plain_fallback: bool) -> None:
        """Rosenpass keys are configured for the peer: the interim key becomes the configured one or the seed.

        Args:
            seed: netbird_seed of the two static keys.
            plain_fallback: also meet a peer that knows of no seed, on zeros (permissive policy).
        """
        self._seed = Slot.of(seed, PskKind.INTERIM)
        self._plain_fallback = plain_fallback
        self._reset_walk()

    def disable_rosenpass(self) -> None:
        """Plain WireGuard again; outputs and seed are wiped."""
        for slot in (self._seed, self._pending, self._current, self._previous):
            _wipe(slot)
        self._seed = self._pending = self._current = self._previous = self._carrying = None
        self._settle()
        self._reset_walk()

    def wipe(self) -> None:
        """Forget every key: the peer is gone."""
        self.disable_rosenpass()
        self._forget_retired()
        crypto.wipe(self._plain.key)

    # -- what Rosenpass tells

    def pending(self, osk: Buffer, now: Instant) -> None:
        """Our run produced a key that the other end may not have yet."""
        slot = _output(osk, now)
        _wipe(self._pending)
        self._pending = slot
        if self._follow_up_at is None:
            self._follow_up_delay = 2 * self._timings.follow_up_first
            self._follow_up_at = Instant(now + _PROBE_AFTER)

    def confirmed(self, osk: Buffer, now: Instant) -> None:
        """Both ends have this key: as Rosenpass responder at InitConf, as initiator at EmptyData.

        The responder starts a handshake at once; the initiator leaves that to it, unless the responder's try
        has just been answered with an older key, because it overtook the EmptyData, and none as good carries.
        """
        if self._current is not None and self._current.holds(osk):
            return
        if self._pending is not None and self._pending.holds(osk):
            self._promote(self._pending)
            delay = 0 if self._is_wanted_soon(now) else self._timings.follow_up_first
        else:
            _wipe(self._pending)
            self._promote(_output(osk, now))
            delay = 0
        self._follow_up_delay = self._timings.follow_up_first
        self._follow_up_at = Instant(now + delay)

    def stale(self) -> None:
        """No renewal came in time: what was confirmed serves until its age limit, never a constant."""
        _wipe(self._pending)
        self._pending = None
        self._settle_if_done()

    # -- what a handshake is made with

    @property
    def newest(self) -> Slot:
        """The slot that sessions should be made with: `current`, else `interim`."""
        return self._current or self._interim

    @property
    def has_output(self) -> bool:
        """Whether a confirmed Rosenpass key is at hand."""
        return self._current is not None

    @property
    def carries_output(self) -> bool:
        """Whether the newest proven session was made with a Rosenpass key."""
        return self._carrying is not None and self._carrying.kind is PskKind.PQ

    def candidates(self, now: Instant) -> tuple[Slot, ...]:
        """What an initiator tries on a response, in this order; equal keys appear once."""
        self.expire(now)
        retired = self._retired[0] if self._retired else None
        fallback = self._plain if self._plain_fallback else None
        return _distinct(self._pending, self._current, self._previous, self._interim, retired, fallback)

    def for_response(self, now: Instant) -> Slot:
        """What a responder mixes now.

        The newest; then one slot after the other while the peer keeps initiating and confirms none of the
        sessions our responses made. It can try only what it has, so we try what it may have. Every other one
        is `interim`: where only the response was lost, it costs a follow-up; where the ends drifted apart, it
        is where they meet.
        """
        self.expire(now)
        if self._last_response is not None:
            age = now - self._last_response
            if age >= _WALK_FORGET:
                self._responses = 0
            elif age >= _WALK_SPACING:
                self._responses += 1
        order = self._walk()
        self._last_response = self._answered = now
        return order[self._responses % len(order)]

    def proved(self, slot: Slot, now: Instant) -> None:
        """A handshake made with this slot is confirmed: the other end has its key."""
        self._reset_walk()
        if slot is self._pending:
            self._promote(slot)
        self._carrying = slot
        if not self._settle_if_done() and self._follow_up_at is None:
            self._schedule_follow_up(now)

    @property
    def unproved(self) -> int:
        """Our responses in a row, a second or more apart, that the peer made no use of, after the first."""
        return self._responses

    # -- time

    @property
    def follow_up_at(self) -> Instant | None:
        """When a further handshake is due because the newest slot does not carry yet."""
        return self._follow_up_at

    def follow_up_started(self, now: Instant) -> None:
        """That handshake was started; the next one, if it comes to that, waits twice as long."""
        self._schedule_follow_up(now)

    def expire(self, now: Instant) -> None:
        """Drop slots past their age limit and a retired key past its grace."""
        if self._retired is not None and now >= self._retired[1]:
            self._forget_retired()
        limit = self._timings.pq_key_max_age
        for name in ("_pending", "_current", "_previous"):
            slot: Slot | None = getattr(self, name)
            if slot is not None and now - slot.birthdate >= limit:
                _wipe(slot)
                setattr(self, name, None)
                if not self.has_output and self._pending is None:
                    self._settle()  # nothing better than the interim key is left to move to

    @property
    def expires_at(self) -> Instant | None:
        """When `expire` next has something to drop."""
        ends = [
            slot.birthdate + self._timings.pq_key_max_age
            for slot in (self._pending, self._current, self._previous)
            if slot is not None
        ]
        if self._retired is not None:
            ends.append(self._retired[1])
        return Instant(min(ends)) if ends else None

    # -- within

    @property
    def _interim(self) -> Slot:
        if self._seed is not None and self._plain.kind is PskKind.NONE:
            return self._seed
        return self._plain

    def _walk(self) -> tuple[Slot, ...]:
        newest, *others = _distinct(self.newest, self._previous, self._pending)
        meeting = _distinct(self._interim, self._plain if self._plain_fallback else None)
        walk = [newest]
        for slot in (*meeting, *(slot for other in others for slot in (other, *meeting))):
            if slot is not walk[-1]:
                walk.append(slot)
        return tuple(walk)

    def _promote(self, slot: Slot) -> None:
        _wipe(self._previous)
        self._previous, self._current, self._pending = self._current, slot, None

    def _wasted_response(self, now: Instant) -> bool:
        return self._answered is not None and now - self._answered < _WASTED_WITHIN

    def _is_wanted_soon(self, now: Instant) -> bool:
        """Whether the peer just tried the new key in vain, and no key as good carries meanwhile.

        Where one does there is no haste: of two handshakes within a moment the second drops the keypair that
        the packets on their way were sealed with.
        """
        return self._wasted_response(now) and not self.carries_output

    def _schedule_follow_up(self, now: Instant) -> None:
        self._follow_up_at = Instant(now + self._follow_up_delay)
        self._follow_up_delay = min(2 * self._follow_up_delay, self._timings.follow_up_last)

    def _settle_if_done(self) -> bool:
        is_done = self._pending is None and self._carrying is self.newest
        if is_done:
            self._settle()
        return is_done

    def _settle(self) -> None:
        self._follow_up_at = None
        self._follow_up_delay = self._timings.follow_up_first

    def _reset_walk(self) -> None:
        self._responses = 0
        self._last_response = None

    def _forget_retired(self) -> None:
        if self._retired is not None:
            _wipe(self._retired[0])
            self._retired = None


def _plain_slot(key: bytes) -> Slot:
    kind = PskKind.NONE if hmac.compare_digest(key, NO_PRESHARED_KEY) else PskKind.CONFIGURED
    return Slot.of(key, kind)


def _output(osk: Buffer, now: Instant) -> Slot:
    if len(osk) != KEY_LEN or hmac.compare_digest(bytes(osk), NO_PRESHARED_KEY):
        raise ValueError("a Rosenpass output is 32 bytes and never zero")
    return Slot.of(osk, PskKind.PQ, now)


def _distinct(*slots: Slot | None) -> tuple[Slot, ...]:
    found: list[Slot] = []
    for slot in slots:
        if slot is not None and not any(slot.holds(other.key) for other in found):
            found.append(slot)
    return tuple(found)


def _wipe(slot: Slot | None) -> None:
    if slot is not None:
        crypto.wipe(slot.key)
