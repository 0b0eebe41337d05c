"""The handshake messages of all peers, out and in, and the keepalives that may turn into one.

Changes peers and appends to `actions`, both of which it shares with wgpy.tunnel, which decides when a message
is wanted. Messages come in after the data plane's cheap checks; nothing is taken for authentic because of
them.

Paper: WireGuard §5.4.
"""

from collections.abc import Mapping

from wgpy import crypto, tai64n
from wgpy.actions import (
    Action,
    ClearSource,
    Flush,
    InstallKeypair,
    PeerAuthenticated,
    SendHandshake,
    SessionStands,
    TickAt,
)
from wgpy.constants import Timings
from wgpy.crypto import RandomBytes
from wgpy.errors import AuthenticationError, ReplayError, StateError, UnknownPeer
from wgpy.index import IndexAllocator
from wgpy.messages import CookieReply, Initiation, Response
from wgpy.model import Endpoint, Instant, PskKind, PublicKey, WallTime
from wgpy.noise import Arithmetic, ReceivedInitiation, StaticIdentity, TransportKeys
from wgpy.peer import Peer
from wgpy.psk_ring import Slot
from wgpy.timers import Activity


class Handshakes:
    """What is under way with whom; everything of one peer that lasts is in Peer.

    Args:
        peers: all there are, by their static key.
        indices, random, timings, arithmetic: as of Tunnel.
        actions: where what is to be done is appended.

    Attributes:
        identity: our static key pair, None without one: then nothing is sent or taken.
        is_up: whether the device is; likewise.
    """

    def __init__(
        self,
        peers: Mapping[PublicKey, Peer],
        indices: IndexAllocator,
        random: RandomBytes,
        timings: Timings,
        arithmetic: Arithmetic,
        actions: list[Action],
    ) -> None:
        self.identity: StaticIdentity | None = None
        self.is_up = False
        self._by_key = peers
        self._indices = indices
        self._random = random
        self._timings = timings
        self._arithmetic = arithmetic
        self._actions = actions
        self._initiated: dict[int, Peer] = {}  # sender index of an outstanding initiation
        self._cookie_waiters: dict[int, Peer] = {}  # sender index of the last message sent

    # -- sending

    def initiate(
        self, peer: Peer, now: Instant, wall: WallTime, *, is_resend: bool = False, is_forced: bool = False
    ) -> bool:
        """Send an initiation; False where none may be sent now. `is_forced` ignores the 5 s spacing only."""
        if self.identity is None or not self.is_up or not peer.has_endpoint:
            return False
        is_hurried = peer.is_hurried(now, self._timings)
        if not is_forced and not peer.timers.may_send_handshake(now, self._timings, is_hurried=is_hurried):
            return False
        shared = peer.shared(self.identity)
        if shared is None:
            return False
        if not is_resend:
            peer.timers.attempts = 0
        self._forget_outstanding(peer)
        timestamp = tai64n.stamp_after(wall, peer.last_timestamp_sent)
        ephemeral = crypto.generate_private_key(self._random)
        index = self._indices.reserve(peer.number)
        sent, message = self._arithmetic.create_initiation(
            self.identity, peer.public_key, shared, ephemeral, index, timestamp
        )
        peer.last_timestamp_sent = timestamp
        peer.outstanding = sent
        self._initiated[index] = peer
        peer.timers.initiation_sent(now, self.jitter(), self._timings, is_hurried=is_hurried)
        self._send(peer, message.pack(), index, now)
        return True

    def follow_up(self, peer: Peer, now: Instant, wall: WallTime) -> None:
        """Send the handshake that shall move the peer to its newest key."""
        peer.ring.follow_up_started(now)
        self.initiate_at_once(peer, now, wall)

    def initiate_at_once(self, peer: Peer, now: Instant, wall: WallTime) -> None:
        """Without the 5 s spacing, but not so close to our last one that the peer takes it for a flood."""
        peer.timers.initiate_at = None
        earliest = Instant(peer.timers.initiated + self._timings.own_spacing)
        if now >= earliest:
            self.initiate(peer, now, wall, is_forced=True)
        else:
            peer.timers.initiate_at = earliest
            self._act(TickAt(peer.number, earliest))

    def resend(self, peer: Peer, now: Instant, wall: WallTime) -> None:
        """Send another initiation in place of the one nobody answered."""
        is_hurried = peer.is_hurried(now, self._timings)
        if not peer.timers.may_send_handshake(now, self._timings, is_hurried=is_hurried):
            return  # a response went out meanwhile; the next tick tries again
        self._act(ClearSource(peer.number))
        peer.timers.attempts += 1
        if not self.initiate(peer, now, wall, is_resend=True, is_forced=True):
            peer.timers.resend_at = None

    def keepalive(self, peer: Peer, activity: Activity, now: Instant, wall: WallTime) -> None:
        """An empty packet; without a session that may carry it, a handshake."""
        if activity.has_session(now, self._timings):
            peer.timers.keepalive_sent = now
            self._act(Flush(peer.number, keepalive=True))
        elif not peer.timers.in_handshake:
            self.initiate(peer, now, wall)

    def _send(self, peer: Peer, body: bytes, index: int, now: Instant) -> None:
        if peer.cookie_index is not None:
            self._cookie_waiters.pop(peer.cookie_index, None)
        peer.cookie_index = index
        self._cookie_waiters[index] = peer
        self._act(SendHandshake(peer.number, peer.macs.stamp(body, now)))

    # -- receiving

    def receive(
        self,
        message: Initiation | Response | CookieReply,
        source: Endpoint,
        length: int,
        now: Instant,
        wall: WallTime,
    ) -> Peer:
        """Take a message of so many bytes; returns whose it was.

        Raises:
            RemoteError: it was refused and nothing changed.
        """
        if not self.is_up:
            raise StateError("the device is down")
        match message:
            case Initiation():
                return self._receive_initiation(message, source, length, now, wall)
            case Response():
                return self._receive_response(message, source, length, now, wall)
            case CookieReply():
                return self._receive_cookie_reply(message, now)

    def _receive_initiation(
        self, message: Initiation, source: Endpoint, length: int, now: Instant, wall: WallTime
    ) -> Peer:
        if self.identity is None:
            raise StateError("no private key")
        claimed = self._arithmetic.open_initiation(self.identity, message)
        peer = self._by_key.get(claimed.remote_static)
        if peer is None:
            raise UnknownPeer("initiation of a stranger")
        shared = peer.shared(self.identity)
        if shared is None:
            raise AuthenticationError(f"{peer} has a key of small order")
        received = self._arithmetic.consume_initiation(claimed, shared)
        if received.timestamp <= peer.greatest_timestamp:
            if self._called_back(peer, received.timestamp, now, wall):
                return peer
            raise ReplayError(
                f"{peer}: timestamp {received.timestamp.hex()} not newer than the last accepted one,"
                f" {peer.greatest_timestamp.hex()}"
            )
        if peer.last_consumed is not None and now - peer.last_consumed < self._timings.initiation_spacing:
            raise ReplayError(f"{peer}: initiations too close together")
        self._respond(peer, received, source, length, now)
        return peer

    def _called_back(self, peer: Peer, timestamp: bytes, now: Instant, wall: WallTime) -> bool:
        """An initiation of long ago may be replayed, or of a peer restored from a snapshot with its clock.

        The paper has the latter wait until we miss its answers. A hybrid peer is called back instead, where
        we know it to be, no more often than we would notice its silence; a replay gains nothing by that.
        """
        if not peer.has_rosenpass or not peer.clock_went_back(timestamp, self._timings):
            return False
        last = peer.last_call_back
        if last is not None and now - last < self._timings.new_handshake_timeout:
            return False
        if peer.timers.in_handshake or not self.initiate(peer, now, wall):
            return False
        peer.last_call_back = now
        return True

    def _respond(
        self, peer: Peer, received: ReceivedInitiation, source: Endpoint, length: int, now: Instant
    ) -> None:
        index = self._indices.reserve(peer.number)
        slot = peer.ring.for_response(now)
        try:
            keys, response = self._arithmetic.create_response(
                received, crypto.generate_private_key(self._random), slot.key, index
            )
        except AuthenticationError:
            self._indices.release(index)
            raise
        peer.greatest_timestamp = received.timestamp
        peer.last_consumed = now
        peer.has_endpoint = True
        peer.remember_response(index, slot)
        self._act(PeerAuthenticated(peer.number, source, length))
        self._install(peer, keys, slot, now, is_initiator=False)
        peer.timers.response_sent(now)
        self._send(peer, response.pack(), index, now)

    def _receive_response(
        self, message: Response, source: Endpoint, length: int, now: Instant, wall: WallTime
    ) -> Peer:
        peer = self._initiated.get(message.receiver_index)
        if peer is None or peer.outstanding is None or self.identity is None:
            raise StateError("no handshake waits for this response")
        slots = peer.ring.candidates(now)
        try:
            position, keys = self._arithmetic.consume_response(
                self.identity, peer.outstanding, message, [slot.key for slot in slots]
            )
        except AuthenticationError:
            peer.mismatches += 1
            raise
        peer.outstanding.wipe()
        peer.outstanding = None
        del self._initiated[message.receiver_index]
        peer.timers.initiation_answered(now)
        peer.has_endpoint = True
        self._act(PeerAuthenticated(peer.number, source, length))
        self._install(peer, keys, slots[position], now, is_initiator=True)
        self.complete(peer, slots[position], now, wall)
        # The first packet is the key confirmation: without it the responder may not use the session.
        self._act(Flush(peer.number, keepalive=True))
        return peer

    def _receive_cookie_reply(self, message: CookieReply, now: Instant) -> Peer:
        peer = self._cookie_waiters.get(message.receiver_index)
        if peer is None:
            raise StateError("no message waits for this cookie")
        peer.macs.consume_reply(message, now)
        return peer

    def _install(
        self, peer: Peer, keys: TransportKeys, slot: Slot, now: Instant, *, is_initiator: bool
    ) -> None:
        peer.timers.session_derived(now, self._timings)
        self._act(
            InstallKeypair(
                peer.number,
                keys.send_key,
                keys.receive_key,
                keys.local_index,
                keys.remote_index,
                now,
                is_initiator,
                slot.kind,
                slot.birthdate,
            )
        )

    def complete(self, peer: Peer, slot: Slot, now: Instant, wall: WallTime) -> None:
        """A handshake made with this slot is confirmed by the other end."""
        peer.has_drifted = peer.mismatches > 0 or peer.ring.unproved > 0 or peer.has_lost_output(slot)
        peer.timers.handshake_complete()
        peer.is_silent = False
        peer.last_handshake = wall
        if slot.kind is PskKind.PQ:
            peer.last_pq_session, peer.last_pq_birthdate = now, slot.birthdate
        peer.mismatches = 0
        peer.ring.proved(slot, now)
        self._act(SessionStands(peer.number, slot.kind))

    # -- what is under way

    def forget(self, peer: Peer) -> None:
        """Wipe what is under way; a message in flight meets nothing."""
        self._forget_outstanding(peer)
        peer.responses.clear()
        if peer.cookie_index is not None:
            self._cookie_waiters.pop(peer.cookie_index, None)
            peer.cookie_index = None

    def _forget_outstanding(self, peer: Peer) -> None:
        if peer.outstanding is not None:
            self._initiated.pop(peer.outstanding.sender_index, None)
            self._indices.release(peer.outstanding.sender_index)
            peer.outstanding.wipe()
            peer.outstanding = None

    def jitter(self) -> int:
        """Up to a third of a second, in ns."""
        return int.from_bytes(self._random(4)) % (self._timings.jitter + 1)

    def _act(self, action: Action) -> None:
        self._actions.append(action)
