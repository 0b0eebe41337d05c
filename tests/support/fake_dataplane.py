"""A data plane in Python: slots, stamps, staging, the gate and the cheap checks, without cryptography.

It does what dataplane.h promises, so that two cores can be run against each other over a link of values. A
transport packet carries its key in the clear and "opens" where the receiver holds the same one.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from wgpy import crypto, messages
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
    TickAt,
)
from wgpy.constants import Timings
from wgpy.index import SeededIndices
from wgpy.model import Endpoint, PeerNumber, PskKind
from wgpy.timers import Activity

STAGED_MAX = 128
ANY_KIND = frozenset(PskKind)


@dataclass(frozen=True)
class Transport:
    """A type 4 message of the simulation; an empty payload is a keepalive."""

    receiver_index: int
    key: bytes
    counter: int
    payload: bytes
    is_control: bool = False  # UDP between the control addresses: passes the gate


Datagram = bytes | Transport


@dataclass
class Keypair:
    send_key: bytes
    receive_key: bytes
    local_index: int
    remote_index: int
    birthdate: int
    is_initiator: bool
    psk_kind: PskKind
    psk_birthdate: int
    is_confirmed: bool = False  # the other end holds it: we initiated, or it was used
    is_sendable: bool = True
    counter: int = 0
    seen: set[int] = field(default_factory=set)


@dataclass
class FakePeer:
    endpoint: Endpoint | None = None
    current: Keypair | None = None
    previous: Keypair | None = None
    next: Keypair | None = None
    kept: Keypair | None = None  # the newest that user packets may take, where a weaker one took its slot
    draining: Keypair | None = None  # left its slot last; what is still on the wire under it is received
    staged: deque[tuple[bytes, bool]] = field(default_factory=deque)
    user_kinds: frozenset[PskKind] = ANY_KIND
    last_tx_auth: int = 0
    last_tx_data: int = 0
    tx_unanswered: int = 0
    last_rx_auth: int = 0
    last_rx_data: int = 0
    rx_unanswered: int = 0
    tx_dropped: int = 0
    rx_gated: int = 0
    received: list[tuple[bytes, PskKind]] = field(default_factory=list)
    sent_kinds: list[PskKind] = field(default_factory=list)  # of user packets
    source_clears: int = 0

    def slots(self) -> list[Keypair]:
        every = (self.current, self.previous, self.next, self.kept, self.draining)
        return [keypair for keypair in every if keypair]


class FakeDataPlane:
    """One device. `transmit(endpoint, datagram)` puts something on the wire."""

    def __init__(
        self,
        random: Callable[[int], bytes],
        timings: Timings,
        transmit: Callable[[Endpoint, Datagram], None],
    ) -> None:
        self.indices = SeededIndices(random)
        self.peers: dict[PeerNumber, FakePeer] = {}
        self.keypairs: dict[int, tuple[PeerNumber, Keypair]] = {}
        self.now = 0
        self.mac1_key: bytes | None = None
        self.cookie_key = b""
        self.is_under_load = False
        self.handshakes_sent = 0
        self.mac2_sent = 0
        self._random = random
        self._timings = timings
        self._transmit = transmit
        self._cookie_secret = random(32)

    # -- identity and the cheap checks

    def set_identity(self, public_key: bytes) -> None:
        self.mac1_key = crypto.hash_(b"mac1----", public_key)
        self.cookie_key = crypto.hash_(b"cookie--", public_key)

    def admits(self, message: bytes, source: Endpoint) -> bool:
        """mac1, and under load a cookie reply instead of the core."""
        if message[:1] == b"\x03":
            return True
        if self.mac1_key is None or crypto.mac(self.mac1_key, message[:-32]) != message[-32:-16]:
            return False
        if not self.is_under_load:
            return True
        cookie = crypto.mac(self._cookie_secret, str(source.remote).encode())
        if crypto.mac(cookie, message[:-16]) == message[-16:]:
            return True
        nonce = self._random(24)
        sealed = crypto.xaead_seal(self.cookie_key, nonce, cookie, message[-32:-16])
        reply = messages.CookieReply(int.from_bytes(message[4:8], "little"), nonce, sealed)
        self._transmit(source, reply.pack())
        return False

    # -- peers

    def activity(self, number: PeerNumber) -> Activity:
        peer = self.peers[number]
        keypair, user = peer.current, self._user_keypair(peer)
        return Activity(
            last_tx_auth=peer.last_tx_auth,
            last_tx_data=peer.last_tx_data,
            tx_unanswered=peer.tx_unanswered,
            last_rx_auth=peer.last_rx_auth,
            last_rx_data=peer.last_rx_data,
            rx_unanswered=peer.rx_unanswered,
            current_birthdate=keypair.birthdate if keypair else 0,
            current_index=keypair.local_index if keypair else 0,
            is_initiator=bool(keypair and keypair.is_initiator),
            is_sendable=bool(keypair and keypair.is_sendable),
            current_psk_kind=keypair.psk_kind if keypair else PskKind.NONE,
            user_birthdate=user.birthdate if user else 0,
            user_psk_kind=user.psk_kind if user else PskKind.NONE,
            user_psk_birthdate=user.psk_birthdate if user else 0,
            staged=len(peer.staged),
        )

    def is_restless(self, peer: FakePeer, persistent_keepalive: int) -> bool:
        """As wgpy.watch.restless: whether the stamps may have brought something due."""
        timings, now = self._timings, self.now
        if peer.staged:
            return True
        if peer.tx_unanswered and now - peer.tx_unanswered >= timings.hybrid_silence:
            return True
        if peer.rx_unanswered and now - peer.rx_unanswered >= timings.keepalive_timeout:
            return True
        last = max(peer.last_tx_auth, peer.last_rx_auth)
        if persistent_keepalive and now - last >= persistent_keepalive:
            return True
        old = min(timings.rekey_after_time, timings.receive_rekey_age)
        keypair = peer.current
        return keypair is not None and keypair.is_initiator and last >= keypair.birthdate + old

    def perform(self, action: Action) -> None:
        peer = self.peers[action.peer]
        match action:
            case SendHandshake():
                if peer.endpoint is not None:
                    self.handshakes_sent += 1
                    self.mac2_sent += action.message[-16:] != bytes(16)
                    self._stamp_sent(peer, is_data=False)
                    self._transmit(peer.endpoint, action.message)
            case PeerAuthenticated():
                peer.endpoint = action.source
                self._stamp_received(peer, is_data=False)
            case InstallKeypair():
                self._install(peer, action)
            case Flush():
                self._flush(action.peer, peer, keepalive=action.keepalive)
            case DropStaged():
                peer.tx_dropped += len(peer.staged)
                peer.staged.clear()
            case ClearKeypairs():
                for keypair in peer.slots():
                    self._forget(keypair)
                peer.current = peer.previous = peer.next = peer.kept = peer.draining = None
            case StopSending():
                for keypair in peer.slots():
                    keypair.is_sendable = False
            case ClearSource():
                peer.source_clears += 1
            case SessionStands() | TickAt():
                pass

    def _install(self, peer: FakePeer, action: InstallKeypair) -> None:
        assert self.indices.owners.get(action.local_index) == action.peer, "index not reserved for this peer"
        keypair = Keypair(
            bytes(action.send_key),
            bytes(action.receive_key),
            action.local_index,
            action.remote_index,
            action.birthdate,
            action.is_initiator,
            action.psk_kind,
            action.psk_birthdate,
            is_confirmed=action.is_initiator,
        )
        self.keypairs[keypair.local_index] = (action.peer, keypair)
        if not action.is_initiator:
            self._drain(peer, peer.next)
            self._drain(peer, peer.previous)
            peer.previous, peer.next = None, keypair
        elif peer.next is not None:
            self._drain(peer, peer.previous)
            self._drain(peer, peer.current)
            peer.previous, peer.next, peer.current = peer.next, None, keypair
        else:
            self._drain(peer, peer.previous)
            peer.previous, peer.current = peer.current, keypair

    def _drain(self, peer: FakePeer, keypair: Keypair | None) -> None:
        if keypair is None:
            return
        slots = (peer.current, peer.previous, peer.kept)
        newer = [k for k in slots if k and k is not keypair and self._carries_user(peer, k)]
        if self._carries_user(peer, keypair) and all(k.birthdate < keypair.birthdate for k in newer):
            peer.kept, keypair = keypair, peer.kept
        if keypair is not None:
            self._forget(peer.draining)
            peer.draining = keypair

    def _forget(self, keypair: Keypair | None) -> None:
        if keypair is not None:
            self.keypairs.pop(keypair.local_index, None)
            self.indices.release(keypair.local_index)

    # -- packets

    def _alive(self, keypair: Keypair | None) -> bool:
        return keypair is not None and self.now - keypair.birthdate < self._timings.reject_after_time

    def _user_keypair(self, peer: FakePeer) -> Keypair | None:
        every = (peer.current,) if peer.user_kinds == ANY_KIND else (peer.current, peer.previous, peer.kept)
        able = [keypair for keypair in every if keypair and self._carries_user(peer, keypair)]
        return max(able, key=lambda keypair: keypair.birthdate, default=None)

    def _carries_user(self, peer: FakePeer, keypair: Keypair) -> bool:
        may_send = keypair.is_confirmed and keypair.is_sendable
        return may_send and self._alive(keypair) and self._passes(peer, keypair)

    @staticmethod
    def _by_age(*keypairs: Keypair | None) -> list[Keypair]:
        return sorted((keypair for keypair in keypairs if keypair), key=lambda keypair: -keypair.birthdate)

    def _passes(self, peer: FakePeer, keypair: Keypair) -> bool:
        if peer.user_kinds == ANY_KIND:
            return True
        young = self.now - keypair.psk_birthdate < self._timings.pq_key_max_age
        return keypair.psk_kind in peer.user_kinds and young

    def send_user(self, number: PeerNumber, payload: bytes, *, is_control: bool = False) -> bool:
        """Send or stage; returns whether a session has to be asked for."""
        peer = self.peers[number]
        if peer.endpoint is None:
            return False
        if not self._send(peer, payload, is_control=is_control):
            peer.staged.append((payload, is_control))
            while len(peer.staged) > STAGED_MAX:
                peer.staged.popleft()
                peer.tx_dropped += 1
            return True
        return False

    def _send(self, peer: FakePeer, payload: bytes, *, is_control: bool = False) -> bool:
        is_user = bool(payload) and not is_control
        keypair = self._user_keypair(peer) if is_user else peer.current
        if keypair is None or not self._alive(keypair) or not keypair.is_sendable or peer.endpoint is None:
            return False
        packet = Transport(keypair.remote_index, keypair.send_key, keypair.counter, payload, is_control)
        keypair.counter += 1
        if is_user:
            peer.sent_kinds.append(keypair.psk_kind)
        self._stamp_sent(peer, is_data=bool(payload))
        self._transmit(peer.endpoint, packet)
        return True

    def _flush(self, number: PeerNumber, peer: FakePeer, *, keepalive: bool) -> None:
        waiting, peer.staged = peer.staged, deque()
        sent = 0
        for payload, is_control in waiting:
            if self._send(peer, payload, is_control=is_control):
                sent += 1
            else:
                peer.staged.append((payload, is_control))
        if keepalive and not sent:
            self._send(peer, b"")

    def receive(self, packet: Transport, source: Endpoint) -> tuple[PeerNumber, int] | None:
        """Returns (peer, local index) where a responder's keypair has just been confirmed."""
        found = self.keypairs.get(packet.receiver_index)
        if found is None:
            return None
        number, keypair = found
        if not self._alive(keypair) or packet.key != keypair.receive_key or packet.counter in keypair.seen:
            return None
        keypair.seen.add(packet.counter)
        peer = self.peers[number]
        peer.endpoint = source
        keypair.is_confirmed = True
        confirmed = peer.next is keypair
        if confirmed:
            self._drain(peer, peer.previous)
            peer.previous, peer.current, peer.next = peer.current, keypair, None
        self._stamp_received(peer, is_data=bool(packet.payload))
        if packet.payload:
            if packet.is_control or self._passes(peer, keypair):
                peer.received.append((packet.payload, keypair.psk_kind))
            else:
                peer.rx_gated += 1
        return (number, keypair.local_index) if confirmed else None

    def _stamp_sent(self, peer: FakePeer, *, is_data: bool) -> None:
        peer.last_tx_auth = self.now
        peer.rx_unanswered = 0
        if is_data:
            peer.last_tx_data = self.now
            peer.tx_unanswered = peer.tx_unanswered or self.now

    def _stamp_received(self, peer: FakePeer, *, is_data: bool) -> None:
        peer.last_rx_auth = self.now
        peer.tx_unanswered = 0
        if is_data:
            peer.last_rx_data = self.now
            peer.rx_unanswered = peer.rx_unanswered or self.now
