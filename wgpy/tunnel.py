"""The WireGuard control half, all peers of a device: messages and moments in, actions out.

Knows no sockets, clocks, keypair slots or addresses. Messages arrive after the data plane's cheap checks
(length, mac1, cookie, rate, receiver index); nothing is taken for authentic because of them. A verb either
raises RemoteError and changed nothing, or returns and left its actions in `take_actions`.

`tick` evaluates the peers it is given an Activity for: those that `due_by` names, and those whose packets the
edge found worth a look (wgpy.watch).

Paper: WireGuard §5.4, §6.
"""

from collections.abc import Mapping

from wgpy import crypto, messages, noise, tai64n
from wgpy.actions import (
    Action,
    ClearKeypairs,
    ClearSource,
    DropStaged,
    Flush,
    InstallKeypair,
    PeerAuthenticated,
    SendHandshake,
    SessionStands,
    StopSending,
)
from wgpy.agenda import Agenda
from wgpy.constants import Timings
from wgpy.crypto import Buffer, RandomBytes
from wgpy.errors import AuthenticationError, ReplayError, StateError, UnknownPeer
from wgpy.index import IndexAllocator
from wgpy.messages import CookieReply, Initiation, Response
from wgpy.model import (
    NO_PRESHARED_KEY,
    SECOND,
    Endpoint,
    Instant,
    PeerNumber,
    PresharedKey,
    PrivateKey,
    PskKind,
    PublicKey,
    WallTime,
)
from wgpy.noise import Arithmetic, StaticIdentity, TransportKeys
from wgpy.peer import Peer
from wgpy.psk_ring import Slot, netbird_seed
from wgpy.timers import IDLE, Activity, Due, due


class Tunnel:
    """The core. One caller at a time.

    Args:
        indices: where sender indices come from; the data plane at the edge.
        random: os.urandom at the edge, a seeded stream in tests.
        timings: the paper's, unless a test shortens them.
        arithmetic: who computes the messages; wgpy.noise_native at the edge.
    """

    def __init__(
        self,
        indices: IndexAllocator,
        random: RandomBytes,
        timings: Timings | None = None,
        arithmetic: Arithmetic = noise,
    ) -> None:
        self._indices = indices
        self._arithmetic = arithmetic
        self._random = random
        self.timings = timings or Timings()
        self._identity: StaticIdentity | None = None
        self._is_up = False
        self._peers: dict[PeerNumber, Peer] = {}
        self._by_key: dict[PublicKey, Peer] = {}
        self._handshakes: dict[int, Peer] = {}  # sender index of an outstanding initiation
        self._cookie_waiters: dict[int, Peer] = {}  # sender index of the last message sent
        self._agenda = Agenda(self._peers)
        self._actions: list[Action] = []

    # -- what the edge asks

    def take_actions(self) -> list[Action]:
        """The actions since the last call, in the order they must be done."""
        actions, self._actions = self._actions, []
        return actions

    def next_deadline(self) -> Instant | None:
        """No earlier than this does a peer come due without a packet; it may have nothing to do then."""
        return self._agenda.next() if self._is_up else None

    def due_by(self, now: Instant) -> list[PeerNumber]:
        """The peers whose own deadline has come; each is to be ticked now."""
        return self._agenda.take_due(now) if self._is_up else []

    @property
    def identity(self) -> StaticIdentity | None:
        """Our static key pair, None without one."""
        return self._identity

    def peer(self, number: PeerNumber) -> Peer:
        """The state of a peer, to be read only; KeyError for a number that names none."""
        return self._peers[number]

    def find_peer(self, public_key: PublicKey) -> Peer | None:
        """The peer of this static key."""
        return self._by_key.get(public_key)

    def peers(self) -> list[Peer]:
        """In the order they were added."""
        return list(self._peers.values())

    # -- configuration

    def set_private_key(self, private_key: PrivateKey | None, now: Instant) -> Peer | None:
        """Take on an identity, or none.

        Returns:
            The peer that has our own new public key and was therefore removed, if there was one.
        """
        new = StaticIdentity.from_private(private_key) if private_key is not None else None
        if new == self._identity:
            return None
        removed = self._by_key.get(new.public_key) if new is not None else None
        if removed is not None:
            self.remove_peer(removed.number)
        self._identity = new
        for peer in self._peers.values():
            self._forget_handshake(peer)
            peer.forget_shared()
            peer.timers.reset()
            self._refresh_seed(peer)
            self._act(StopSending(peer.number))
        return removed

    def add_peer(
        self, number: PeerNumber, public_key: PublicKey, preshared_key: PresharedKey = NO_PRESHARED_KEY
    ) -> None:
        """Know a peer under the number the data plane gave it."""
        peer = Peer(number, public_key, preshared_key, self.timings)
        peer.timers.jitter = self._jitter()
        self._peers[number] = peer
        self._by_key[public_key] = peer

    def remove_peer(self, number: PeerNumber) -> None:
        """Forget a peer; no message in flight brings it back."""
        peer = self._peers.pop(number, None)
        if peer is None:
            return
        self._by_key.pop(peer.public_key, None)
        self._forget_handshake(peer)
        peer.ring.wipe()
        for action in self._actions:
            if action.peer == number and isinstance(action, InstallKeypair):
                crypto.wipe(action.send_key)
                crypto.wipe(action.receive_key)
        self._actions = [action for action in self._actions if action.peer != number]

    def set_endpoint_known(self, number: PeerNumber) -> None:
        """The data plane has been told where the peer is."""
        self._peers[number].has_endpoint = True

    def set_preshared_key(
        self, number: PeerNumber, key: PresharedKey, now: Instant, wall: WallTime, activity: Activity = IDLE
    ) -> None:
        """Make before break: a new handshake at once, while the live session keeps carrying."""
        peer = self._peers[number]
        if peer.ring.configure(key, now) and (activity.has_session(now, self.timings) or activity.staged):
            self._initiate(peer, now, wall, is_forced=True)
        self._agenda.note(peer)

    def set_persistent_keepalive(
        self, number: PeerNumber, seconds: int, now: Instant, wall: WallTime, activity: Activity = IDLE
    ) -> None:
        """Going from off to on sends one keepalive at once."""
        peer = self._peers[number]
        was_off = peer.timers.persistent_keepalive == 0
        peer.timers.persistent_keepalive = seconds * SECOND
        if seconds and was_off and self._is_up:
            self._keepalive(peer, activity, now, wall)
            self._agenda.note(peer)

    def set_rosenpass(self, number: PeerNumber, *, enabled: bool, permissive: bool) -> None:
        """Whether the peer has a Rosenpass key, so an interim slot; `permissive` meets it without one too."""
        peer = self._peers[number]
        peer.has_rosenpass = peer.timers.is_hybrid = enabled
        if not enabled:
            peer.ring.disable_rosenpass()
        elif self._identity is not None:
            seed = netbird_seed(self._identity.public_key, peer.public_key)
            peer.ring.enable_rosenpass(seed, plain_fallback=permissive)
        peer.is_permissive = permissive
        self._agenda.note(peer)

    def device_up(self, now: Instant, wall: WallTime, activity: Mapping[PeerNumber, Activity]) -> None:
        """Start every peer: what is staged goes out, and a keepalive where one is configured."""
        self._is_up = True
        for peer in self._peers.values():
            peer.timers.reset()
            found = activity.get(peer.number, IDLE)
            if peer.timers.persistent_keepalive:
                self._keepalive(peer, found, now, wall)
            self.start_peer(peer.number, now, wall, found)

    def start_peer(self, number: PeerNumber, now: Instant, wall: WallTime, activity: Activity = IDLE) -> None:
        """After a peer was configured: on a running device staged packets leave, or ask for a session."""
        if not self._is_up:
            return
        peer = self._peers[number]
        if activity.has_session(now, self.timings):
            self._act(Flush(number, keepalive=False))
        elif activity.staged or peer.has_rosenpass:
            self._initiate(peer, now, wall)
        self._agenda.note(peer)

    def device_down(self) -> None:
        """Wipe every handshake and keypair, drop what is staged, stop all timers. Configuration stays."""
        self._is_up = False
        for peer in self._peers.values():
            self._forget_handshake(peer)
            peer.timers.reset()
            peer.timers.zero_keys_at = None
            self._act(DropStaged(peer.number))
            self._act(ClearKeypairs(peer.number))

    # -- Rosenpass

    def rosenpass_pending(self, number: PeerNumber, osk: Buffer, now: Instant) -> None:
        """Our run as initiator has a key that the other end may not have yet."""
        self._peers[number].ring.pending(osk, now)
        self._agenda.note(self._peers[number])

    def rosenpass_confirmed(self, number: PeerNumber, osk: Buffer, now: Instant, wall: WallTime) -> None:
        """Both ends have this key. Where it falls to us, a handshake follows at once."""
        peer = self._peers[number]
        peer.ring.confirmed(osk, now)
        if peer.ring.follow_up_at == now:
            self._follow_up(peer, now, wall)
        self._agenda.note(peer)

    def rosenpass_stale(self, number: PeerNumber) -> None:
        """No renewal came in time."""
        self._peers[number].ring.stale()

    # -- what happens

    def receive(self, datagram: bytes, source: Endpoint, now: Instant, wall: WallTime) -> None:
        """A handshake message.

        Raises:
            RemoteError: it was refused and nothing changed.
        """
        message = messages.unpack(datagram)
        if not self._is_up:
            raise StateError("the device is down")
        match message:
            case Initiation():
                self._receive_initiation(message, source, len(datagram), now, wall)
            case Response():
                self._receive_response(message, source, len(datagram), now, wall)
            case CookieReply():
                self._receive_cookie_reply(message, now)

    def want_session(
        self, number: PeerNumber, now: Instant, wall: WallTime, activity: Activity = IDLE
    ) -> None:
        """A packet was staged and nothing may carry it.

        Behind the gate there may be a session all the same; then only a newer preshared key helps, and the
        ring sees to that.
        """
        peer = self._peers.get(number)
        if peer is None or activity.has_session(now, self.timings):
            return
        if peer.timers.in_handshake:
            peer.timers.attempts = 0  # somebody still wants it: do not give up
            return
        self._initiate(peer, now, wall)
        self._agenda.note(peer)

    def session_confirmed(self, number: PeerNumber, index: int, now: Instant, wall: WallTime) -> None:
        """The initiator has used the keypair that our response made."""
        peer = self._peers.get(number)
        if peer is None or (slot := peer.responses.pop(index, None)) is None:
            return
        self._handshake_complete(peer, slot, now, wall)
        self._act(Flush(number, keepalive=False))
        self._agenda.note(peer)

    def tick(self, now: Instant, wall: WallTime, activity: Mapping[PeerNumber, Activity]) -> None:
        """Do what has come due for these peers."""
        if not self._is_up:
            return
        for number, stamps in activity.items():
            peer = self._peers.get(number)
            if peer is not None:
                self._tick_peer(peer, stamps, now, wall)
                self._agenda.note(peer)

    def _tick_peer(self, peer: Peer, activity: Activity, now: Instant, wall: WallTime) -> None:
        peer.ring.expire(now)
        for what in due(peer.timers, activity, now, self.timings):
            match what:
                case Due.ZERO_KEYS:
                    self._zero_keys(peer)
                    activity = IDLE
                case Due.GIVE_UP:
                    self._give_up(peer, now)
                case Due.RESEND:
                    self._resend(peer, now, wall)
                case Due.NEW_HANDSHAKE:
                    peer.is_silent = True
                    self._act(ClearSource(peer.number))
                    self._initiate(peer, now, wall)
                case Due.REKEY | Due.SESSION_WANTED:
                    self._initiate(peer, now, wall)
                case Due.LAST_MINUTE_REKEY:
                    peer.timers.last_minute_sent = self._initiate(peer, now, wall)
                case Due.KEEPALIVE:
                    self._keepalive(peer, activity, now, wall)
        follow_up = peer.ring.follow_up_at
        if follow_up is not None and now >= follow_up:
            self._tick_follow_up(peer, activity, now, wall)

    def _tick_follow_up(self, peer: Peer, activity: Activity, now: Instant, wall: WallTime) -> None:
        if not peer.timers.in_handshake and (activity.has_session(now, self.timings) or activity.staged):
            self._follow_up(peer, now, wall)
        else:
            peer.ring.follow_up_started(now)  # a handshake under way, or nothing to carry: look again later

    # -- sending

    def _initiate(
        self, peer: Peer, now: Instant, wall: WallTime, *, is_resend: bool = False, is_forced: bool = False
    ) -> bool:
        """Send an initiation, unless one may not be sent now. `is_forced` ignores the 5 s spacing only."""
        if self._identity is None or not self._is_up or not peer.has_endpoint:
            return False
        is_hurried = peer.is_hurried(now, self.timings)
        if not is_forced and not peer.timers.may_send_handshake(now, self.timings, is_hurried=is_hurried):
            return False
        shared = peer.shared(self._identity)
        if shared is None:
            return False
        if not is_resend:
            peer.timers.attempts = 0
        self._forget_outstanding(peer)
        timestamp = tai64n.stamp_after(wall, peer.last_timestamp_sent)
        ephemeral = crypto.generate_private_key(self._random)
        index = self._indices.reserve(peer.number)
        sent, message = self._arithmetic.create_initiation(
            self._identity, peer.public_key, shared, ephemeral, index, timestamp
        )
        peer.last_timestamp_sent = timestamp
        peer.outstanding = sent
        self._handshakes[index] = peer
        peer.timers.initiation_sent(now, self._jitter(), self.timings, is_hurried=is_hurried)
        self._send(peer, message.pack(), index, now)
        return True

    def _follow_up(self, peer: Peer, now: Instant, wall: WallTime) -> None:
        peer.ring.follow_up_started(now)
        self._initiate(peer, now, wall, is_forced=True)

    def _resend(self, peer: Peer, now: Instant, wall: WallTime) -> None:
        is_hurried = peer.is_hurried(now, self.timings)
        if not peer.timers.may_send_handshake(now, self.timings, is_hurried=is_hurried):
            return  # a response went out meanwhile; the next tick tries again
        self._act(ClearSource(peer.number))
        peer.timers.attempts += 1
        if not self._initiate(peer, now, wall, is_resend=True, is_forced=True):
            peer.timers.resend_at = None

    def _give_up(self, peer: Peer, now: Instant) -> None:
        peer.timers.give_up(now, self.timings)
        self._act(DropStaged(peer.number))

    def _zero_keys(self, peer: Peer) -> None:
        peer.timers.zero_keys_at = None
        self._forget_handshake(peer)
        self._act(ClearKeypairs(peer.number))

    def _keepalive(self, peer: Peer, activity: Activity, now: Instant, wall: WallTime) -> None:
        if activity.has_session(now, self.timings):
            peer.timers.keepalive_sent = now
            self._act(Flush(peer.number, keepalive=True))
        elif not peer.timers.in_handshake:
            self._initiate(peer, now, wall)

    def _send(self, peer: Peer, body: bytes, index: int, now: Instant) -> None:
        if peer.cookie_index is not None:
            self._cookie_waiters.pop(peer.cookie_index, None)
        peer.cookie_index = index
        self._cookie_waiters[index] = peer
        self._act(SendHandshake(peer.number, peer.macs.stamp(body, now)))

    # -- receiving

    def _receive_initiation(
        self, message: Initiation, source: Endpoint, length: int, now: Instant, wall: WallTime
    ) -> None:
        if self._identity is None:
            raise StateError("no private key")
        claimed = self._arithmetic.open_initiation(self._identity, message)
        peer = self._by_key.get(claimed.remote_static)
        if peer is None:
            raise UnknownPeer("initiation of a stranger")
        shared = peer.shared(self._identity)
        if shared is None:
            raise AuthenticationError(f"{peer} has a key of small order")
        received = self._arithmetic.consume_initiation(claimed, shared)
        if received.timestamp <= peer.greatest_timestamp:
            if self._called_back(peer, received.timestamp, now, wall):
                self._agenda.note(peer)
                return
            raise ReplayError(
                f"{peer}: timestamp {received.timestamp.hex()} not newer than the last accepted one,"
                f" {peer.greatest_timestamp.hex()}"
            )
        if peer.last_consumed is not None and now - peer.last_consumed < self.timings.initiation_spacing:
            raise ReplayError(f"{peer}: initiations too close together")
        self._respond(peer, received, source, length, now)

    def _called_back(self, peer: Peer, timestamp: bytes, now: Instant, wall: WallTime) -> bool:
        """An initiation of long ago may be replayed, or of a peer restored from a snapshot with its clock.

        The paper has the latter wait until we miss its answers. A hybrid peer is called back instead, where
        we know it to be, no more often than we would notice its silence; a replay gains nothing by that.
        """
        if not peer.has_rosenpass or not peer.clock_went_back(timestamp, self.timings):
            return False
        last = peer.last_call_back
        if last is not None and now - last < self.timings.new_handshake_timeout:
            return False
        if peer.timers.in_handshake or not self._initiate(peer, now, wall):
            return False
        peer.last_call_back = now
        return True

    def _respond(
        self, peer: Peer, received: noise.ReceivedInitiation, source: Endpoint, length: int, now: Instant
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
        self._agenda.note(peer)

    def _receive_response(
        self, message: Response, source: Endpoint, length: int, now: Instant, wall: WallTime
    ) -> None:
        peer = self._handshakes.get(message.receiver_index)
        if peer is None or peer.outstanding is None or self._identity is None:
            raise StateError("no handshake waits for this response")
        slots = peer.ring.candidates(now)
        try:
            position, keys = self._arithmetic.consume_response(
                self._identity, peer.outstanding, message, [slot.key for slot in slots]
            )
        except AuthenticationError:
            peer.mismatches += 1
            raise
        peer.outstanding.wipe()
        peer.outstanding = None
        del self._handshakes[message.receiver_index]
        peer.has_endpoint = True
        self._act(PeerAuthenticated(peer.number, source, length))
        self._install(peer, keys, slots[position], now, is_initiator=True)
        self._handshake_complete(peer, slots[position], now, wall)
        # The first packet is the key confirmation: without it the responder may not use the session.
        self._act(Flush(peer.number, keepalive=True))
        self._agenda.note(peer)

    def _receive_cookie_reply(self, message: CookieReply, now: Instant) -> None:
        peer = self._cookie_waiters.get(message.receiver_index)
        if peer is None:
            raise StateError("no message waits for this cookie")
        peer.macs.consume_reply(message, now)

    def _install(
        self, peer: Peer, keys: TransportKeys, slot: Slot, now: Instant, *, is_initiator: bool
    ) -> None:
        peer.timers.session_derived(now, self.timings)
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

    def _handshake_complete(self, peer: Peer, slot: Slot, now: Instant, wall: WallTime) -> None:
        peer.timers.handshake_complete()
        peer.is_silent = False
        peer.last_handshake = wall
        if slot.kind is PskKind.PQ:
            peer.last_pq_session, peer.last_pq_birthdate = now, slot.birthdate
        peer.has_drifted = peer.mismatches > 0 or peer.ring.unproved > 0
        peer.mismatches = 0
        peer.ring.proved(slot, now)
        self._act(SessionStands(peer.number, slot.kind))

    # -- within

    def _forget_handshake(self, peer: Peer) -> None:
        self._forget_outstanding(peer)
        peer.responses.clear()
        if peer.cookie_index is not None:
            self._cookie_waiters.pop(peer.cookie_index, None)
            peer.cookie_index = None

    def _forget_outstanding(self, peer: Peer) -> None:
        if peer.outstanding is not None:
            self._handshakes.pop(peer.outstanding.sender_index, None)
            self._indices.release(peer.outstanding.sender_index)
            peer.outstanding.wipe()
            peer.outstanding = None

    def _refresh_seed(self, peer: Peer) -> None:
        if peer.has_rosenpass:
            self.set_rosenpass(peer.number, enabled=True, permissive=peer.is_permissive)

    def _jitter(self) -> int:
        return int.from_bytes(self._random(4)) % (self.timings.jitter + 1)

    def _act(self, action: Action) -> None:
        self._actions.append(action)
