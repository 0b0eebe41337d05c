"""Joins the two cores: what Rosenpass outputs goes into the ring of the right WireGuard peer.

And back: a session that came up on another kind of key says that the ends have drifted apart, or have not
met yet, and so calls for an exchange. Knows no sockets and no clock; its callers are the driver at the edge
and the simulation in the tests.

Product: section 5 rules 2 and 9.
"""

from dataclasses import dataclass
from typing import assert_never

from rosenpass.actions import KeyConfirmed, KeyExchanged, KeyStale
from rosenpass.constants import Role
from rosenpass.erasure import wipe
from rosenpass.peers import PeerId
from wgpy.model import SECOND, Instant, PeerNumber, PskKind, WallTime
from wgpy.tunnel import Tunnel

Outcome = KeyExchanged | KeyConfirmed | KeyStale

# How long a confirmed key that does not carry is tried by follow-up handshakes before a new exchange.
_PATIENCE = 2 * SECOND
_PATIENCE_OF_LESSER = 7 * SECOND // 2


@dataclass(frozen=True, slots=True)
class _Joined:
    peer: PeerId
    goes_first: bool


class PskExchange:
    """Which Rosenpass peer is which WireGuard peer, and our keys that the other end may not have yet."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._numbers: dict[PeerId, PeerNumber] = {}
        self._unconfirmed: dict[PeerId, bytearray] = {}
        self._joined: dict[PeerNumber, _Joined] = {}
        self._wanted: dict[PeerId, Instant] = {}  # when to start an exchange
        self._renewals: dict[PeerNumber, Instant] = {}

    def join(self, peer: PeerId, number: PeerNumber, *, goes_first: bool) -> None:
        """The two names are one peer; `goes_first`: it falls to this end to start exchanges with it."""
        self._numbers[peer] = number
        self._joined[number] = _Joined(peer, goes_first)

    def part(self, peer: PeerId) -> None:
        """The peer takes part in no exchange any more."""
        number = self._numbers.pop(peer, None)
        if number is not None:
            del self._joined[number]
            self._renewals.pop(number, None)
        self._wanted.pop(peer, None)
        wipe(self._unconfirmed.pop(peer, None))

    def number_of(self, peer: PeerId) -> PeerNumber | None:
        """The WireGuard peer; None for one that is gone."""
        return self._numbers.get(peer)

    def renewal_of(self, number: PeerNumber) -> Instant | None:
        """When the next exchange with the peer is expected at the latest; None before the first."""
        return self._renewals.get(number)

    def take(self, outcome: Outcome, now: Instant, wall: WallTime) -> PeerNumber | None:
        """Put one outcome into the ring, and wipe its key.

        As responder both ends have the key, so it is current at once; as initiator it is pending until
        KeyConfirmed, or until a WireGuard handshake proves it. A stale key changes no slot into a constant:
        the random replacement is not needed where the gate closes by age.

        Returns:
            The WireGuard peer, None where it is gone.
        """
        number = self._numbers.get(outcome.peer)
        match outcome:
            case KeyExchanged():
                if number is not None:
                    self._renewals[number] = Instant(outcome.renewal)
                    self._exchanged(outcome, number, now, wall)
                wipe(outcome.osk)
            case KeyConfirmed():
                osk = self._unconfirmed.pop(outcome.peer, bytearray())
                if number is not None and osk:
                    self._tunnel.rosenpass_confirmed(number, osk, now, wall)
                wipe(osk)
            case KeyStale():
                wipe(outcome.osk)
                if number is not None:
                    self._tunnel.rosenpass_stale(number)
            case _:
                assert_never(outcome)
        return number

    def session_stands(self, number: PeerNumber, kind: PskKind, now: Instant) -> None:
        """A WireGuard session with this peer was confirmed; its preshared key was of this kind."""
        joined = self._joined.get(number)
        if joined is None:
            return
        if kind is PskKind.PQ:
            self._wanted.pop(joined.peer, None)
            return
        peer = self._tunnel.peer(number)
        if joined.goes_first and (peer.has_drifted or not peer.ring.has_output):
            self._wanted[joined.peer] = now
        elif peer.ring.has_output:
            patience = _PATIENCE if joined.goes_first else _PATIENCE_OF_LESSER
            self._wanted.setdefault(joined.peer, Instant(now + patience))
        else:
            # The other end may not know of the session yet, where our confirmation was lost.
            self._wanted.setdefault(joined.peer, Instant(now + _PATIENCE_OF_LESSER))

    def next_wanted(self) -> Instant | None:
        """When `take_wanted` next has something to give."""
        return min(self._wanted.values(), default=None)

    def take_wanted(self, now: Instant) -> list[PeerId]:
        """The peers an exchange is to be started with now."""
        found = [peer for peer, moment in self._wanted.items() if moment <= now]
        for peer in found:
            del self._wanted[peer]
        return found

    def _exchanged(self, outcome: KeyExchanged, number: PeerNumber, now: Instant, wall: WallTime) -> None:
        wipe(self._unconfirmed.pop(outcome.peer, None))
        if outcome.role is Role.RESPONDER:
            self._tunnel.rosenpass_confirmed(number, outcome.osk, now, wall)
        else:
            self._unconfirmed[outcome.peer] = bytearray(outcome.osk)
            self._tunnel.rosenpass_pending(number, outcome.osk, now)
