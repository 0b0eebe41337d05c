"""The WireGuard control half, all peers of a device: messages and moments in, actions out.

Knows no sockets, clocks, keypair slots or addresses. Messages arrive after the data plane's cheap checks
(length, mac1, cookie, rate, receiver index); nothing is taken for authentic because of them. A verb either
raises RemoteError and changed nothing, or returns and left its actions in `take_actions`.

`tick` evaluates the peers it is given an Activity for: those that `due_by` names, and those whose packets the
edge found worth a look (wgpy.watch).

Paper: WireGuard §5.4, §6.
"""

from collections.abc import Mapping

from wgpy import crypto, messages, noise
from wgpy.actions import (
    Action,
    ClearKeypairs,
    ClearSource,
    DropStaged,
    Flush,
    InstallKeypair,
    StopSending,
)
from wgpy.agenda import Agenda
from wgpy.constants import Timings
from wgpy.crypto import Buffer, RandomBytes
from wgpy.handshakes import Handshakes
from wgpy.index import IndexAllocator
from wgpy.model import (
    NO_PRESHARED_KEY,
    SECOND,
    Endpoint,
    Instant,
    PeerNumber,
    PresharedKey,
    PrivateKey,
    PublicKey,
    WallTime,
)
from wgpy.noise import Arithmetic, StaticIdentity
from wgpy.peer import Peer
from wgpy.psk_ring import netbird_seed
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
        self.timings = timings or Timings()
        self._peers: dict[PeerNumber, Peer] = {}
        self._by_key: dict[PublicKey, Peer] = {}
        self._actions: list[Action] = []
        self._handshakes = Handshakes(self._by_key, indices, random, self.timings, arithmetic, self._actions)
        self._agenda = Agenda(self._peers)

    # -- what the edge asks

    def take_actions(self) -> list[Action]:
        """The actions since the last call, in the order they must be done."""
        actions = self._actions.copy()
        self._actions.clear()
        return actions

    def next_deadline(self) -> Instant | None:
        """No earlier than this does a peer come due without a packet; it may have nothing to do then."""
        return self._agenda.next() if self._handshakes.is_up else None

    def due_by(self, now: Instant) -> list[PeerNumber]:
        """The peers whose own deadline has come; each is to be ticked now."""
        return self._agenda.take_due(now) if self._handshakes.is_up else []

    @property
    def identity(self) -> StaticIdentity | None:
        """Our static key pair, None without one."""
        return self._handshakes.identity

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
        if new == self._handshakes.identity:
            return None
        removed = self._by_key.get(new.public_key) if new is not None else None
        if removed is not None:
            self.remove_peer(removed.number)
        self._handshakes.identity = new
        for peer in self._peers.values():
            self._handshakes.forget(peer)
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
        peer.timers.jitter = self._handshakes.jitter()
        self._peers[number] = peer
        self._by_key[public_key] = peer

    def remove_peer(self, number: PeerNumber) -> None:
        """Forget a peer; no message in flight brings it back."""
        peer = self._peers.pop(number, None)
        if peer is None:
            return
        self._by_key.pop(peer.public_key, None)
        self._handshakes.forget(peer)
        peer.ring.wipe()
        for action in self._actions:
            if action.peer == number and isinstance(action, InstallKeypair):
                crypto.wipe(action.send_key)
                crypto.wipe(action.receive_key)
        self._actions[:] = [action for action in self._actions if action.peer != number]

    def set_endpoint_known(self, number: PeerNumber) -> None:
        """The data plane has been told where the peer is."""
        self._peers[number].has_endpoint = True

    def set_preshared_key(
        self, number: PeerNumber, key: PresharedKey, now: Instant, wall: WallTime, activity: Activity = IDLE
    ) -> None:
        """Make before break: a new handshake at once, while the live session keeps carrying."""
        peer = self._peers[number]
        if peer.ring.configure(key, now) and (activity.has_session(now, self.timings) or activity.staged):
            self._handshakes.initiate_at_once(peer, now, wall)
        self._agenda.note(peer)

    def set_persistent_keepalive(
        self, number: PeerNumber, seconds: int, now: Instant, wall: WallTime, activity: Activity = IDLE
    ) -> None:
        """Going from off to on sends one keepalive at once."""
        peer = self._peers[number]
        was_off = peer.timers.persistent_keepalive == 0
        peer.timers.persistent_keepalive = seconds * SECOND
        if seconds and was_off and self._handshakes.is_up:
            self._handshakes.keepalive(peer, activity, now, wall)
            self._agenda.note(peer)

    def set_rosenpass(self, number: PeerNumber, *, enabled: bool, permissive: bool) -> None:
        """Whether the peer has a Rosenpass key, so an interim slot; `permissive` meets it without one too."""
        peer = self._peers[number]
        peer.has_rosenpass = peer.timers.is_hybrid = enabled
        if not enabled:
            peer.ring.disable_rosenpass()
        elif self._handshakes.identity is not None:
            seed = netbird_seed(self._handshakes.identity.public_key, peer.public_key)
            peer.ring.enable_rosenpass(seed, plain_fallback=permissive)
        peer.is_permissive = permissive
        self._agenda.note(peer)

    def device_up(self, now: Instant, wall: WallTime, activity: Mapping[PeerNumber, Activity]) -> None:
        """Start every peer: what is staged goes out, and a keepalive where one is configured."""
        self._handshakes.is_up = True
        for peer in self._peers.values():
            peer.timers.reset()
            found = activity.get(peer.number, IDLE)
            if peer.timers.persistent_keepalive:
                self._handshakes.keepalive(peer, found, now, wall)
            self.start_peer(peer.number, now, wall, found)

    def start_peer(self, number: PeerNumber, now: Instant, wall: WallTime, activity: Activity = IDLE) -> None:
        """After a peer was configured: on a running device staged packets leave, or ask for a session."""
        if not self._handshakes.is_up:
            return
        peer = self._peers[number]
        if activity.has_session(now, self.timings):
            self._act(Flush(number, keepalive=False))
        elif activity.staged or peer.has_rosenpass:
            self._handshakes.initiate(peer, now, wall)
        self._agenda.note(peer)

    def device_down(self) -> None:
        """Wipe every handshake and keypair, drop what is staged, stop all timers. Configuration stays."""
        self._handshakes.is_up = False
        for peer in self._peers.values():
            self._handshakes.forget(peer)
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
            self._handshakes.follow_up(peer, now, wall)
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
        self._agenda.note(self._handshakes.receive(message, source, len(datagram), now, wall))

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
        self._handshakes.initiate(peer, now, wall)
        self._agenda.note(peer)

    def session_confirmed(self, number: PeerNumber, index: int, now: Instant, wall: WallTime) -> None:
        """The initiator has used the keypair that our response made."""
        peer = self._peers.get(number)
        if peer is None or (slot := peer.responses.pop(index, None)) is None:
            return
        self._handshakes.complete(peer, slot, now, wall)
        self._act(Flush(number, keepalive=False))
        self._agenda.note(peer)

    def tick(self, now: Instant, wall: WallTime, activity: Mapping[PeerNumber, Activity]) -> None:
        """Do what has come due for these peers."""
        if not self._handshakes.is_up:
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
                case Due.INITIATE:
                    self._handshakes.initiate_at_once(peer, now, wall)
                case Due.GIVE_UP:
                    self._give_up(peer, now)
                case Due.RESEND:
                    self._handshakes.resend(peer, now, wall)
                case Due.NEW_HANDSHAKE:
                    peer.is_silent = True
                    self._act(ClearSource(peer.number))
                    self._handshakes.initiate(peer, now, wall)
                case Due.REKEY | Due.SESSION_WANTED:
                    self._handshakes.initiate(peer, now, wall)
                case Due.LAST_MINUTE_REKEY:
                    peer.timers.last_minute_sent = self._handshakes.initiate(peer, now, wall)
                case Due.KEEPALIVE:
                    self._handshakes.keepalive(peer, activity, now, wall)
        follow_up = peer.ring.follow_up_at
        if follow_up is not None and now >= follow_up:
            self._tick_follow_up(peer, activity, now, wall)

    def _tick_follow_up(self, peer: Peer, activity: Activity, now: Instant, wall: WallTime) -> None:
        if not peer.timers.in_handshake and (activity.has_session(now, self.timings) or activity.staged):
            self._handshakes.follow_up(peer, now, wall)
        else:
            peer.ring.follow_up_started(now)  # a handshake under way, or nothing to carry: look again later

    def _give_up(self, peer: Peer, now: Instant) -> None:
        peer.timers.give_up(now, self.timings)
        self._act(DropStaged(peer.number))

    def _zero_keys(self, peer: Peer) -> None:
        peer.timers.zero_keys_at = None
        self._handshakes.forget(peer)
        self._act(ClearKeypairs(peer.number))

    # -- within

    def _refresh_seed(self, peer: Peer) -> None:
        if peer.has_rosenpass:
            self.set_rosenpass(peer.number, enabled=True, permissive=peer.is_permissive)

    def _act(self, action: Action) -> None:
        self._actions.append(action)
