"""CryptoServer: the protocol core. Datagrams and moments in, a list of actions out.

Does no I/O, reads no clock, draws no randomness of its own and starts no thread. Public-key work (a few ms
for each handshake) happens inside receive() and tick(), so the edge gives the whole object a thread of its
own: see standalone/worker.py. One caller at a time.

Every datagram is checked in this order: length, type, mac, state, KEM and tags, replay; then everything is
committed at once. A refused datagram changes nothing but a counter.
"""

import hashlib
import hmac
from collections import Counter

from . import collision, initiator, responder, timers
from .actions import Action, KeyConfirmed, KeyStale, SendMessage
from .addresses import Address
from .admission import Admission
from .agenda import Agenda
from .biscuit import BiscuitKeys
from .constants import (
    DEFAULT_TIMERS,
    KEY_LEN,
    MAC_LEN,
    SID_LEN,
    HashVariant,
    Instant,
    Role,
    Suite,
    Timers,
    suite_of,
)
from .cookie import CookieValue
from .erasure import wipe
from .errors import AuthenticationError, Overloaded, RemoteError, RosenpassError, StateError
from .hash_domains import DOMAINS
from .identity import Kems, KeyHashes, StaticIdentity
from .initiator import AwaitingRespHello, HeldBack, InitiatorHandshake
from .load import RateLimiter
from .msgs import (
    CookieReply,
    EmptyData,
    Envelope,
    InitConf,
    InitHello,
    MessageType,
    RespHello,
    classify,
)
from .outgoing import Outgoing
from .peers import CachedResponse, Initiative, Peer, PeerConfig, PeerId, Peers, PeerStatus
from .randomness import RandomBytes
from .retransmission import Retransmission
from .timers import Due


class CryptoServer:
    """All peers of one static key pair.

    Args:
        identity: this end's key pair.
        random: returns that many unpredictable bytes.
        kems: the key encapsulation mechanisms.
        timers: the protocol's unless a test or the embedder wants others.
    """

    def __init__(
        self, identity: StaticIdentity, random: RandomBytes, kems: Kems, timers: Timers = DEFAULT_TIMERS
    ) -> None:
        self.refused: Counter[str] = Counter()  # datagrams, by class of RemoteError
        self.cookies_demanded = 0
        self.decapsulations = 0  # of InitHello; the edge times receive() when this moves
        self._identity = identity
        self._random = random
        self._kems = kems
        self._timers = timers
        self._peers = Peers()
        self._agenda = Agenda()
        self._actions: list[Action] = []
        self._response_key = bytearray(random(KEY_LEN))
        self._biscuits = BiscuitKeys(random, timers)
        self._admission = Admission(random, timers)
        self._own = Outgoing(identity, random, kems, timers, self._peers, self._actions)
        # A forged RespHello costs two decapsulations. The honest one is one for each InitHello sent.
        self._answers = RateLimiter(per_second=4, burst=8)

    # The verbs of the edge.

    def receive(self, datagram: bytes, source: Address, now: Instant) -> None:
        """Handle one datagram. Never raises because of what is in it; counts what it refuses in `refused`."""
        try:
            self._receive(bytes(datagram), source, now)
        except RemoteError as error:
            self.refused[type(error).__name__] += 1

    def tick(self, now: Instant) -> None:
        """Do what is due: resend, renew, give up, forget."""
        self._biscuits.expire(now)
        self._admission.secrets.expire(now)
        for peer in self._agenda.take_due(Instant(now + self._timers.event_grace)):
            self._run_timers(peer, now)
            self._reschedule(peer)

    def next_deadline(self) -> Instant | None:
        """Return when tick() next has something to do; None if never."""
        moments = (
            self._agenda.next(),
            self._biscuits.next_deadline(),
            self._admission.secrets.next_deadline(),
        )
        return min((at for at in moments if at is not None), default=None)

    def take_actions(self) -> list[Action]:
        """Return what is to be done since the last call, in order."""
        taken = self._actions.copy()
        self._actions.clear()
        return taken

    def measured(self, duration_ns: int) -> None:
        """Take the time that one InitHello took, from the edge, which has a clock."""
        self._admission.load.measured(duration_ns)

    # Peers, at any time.

    def add_peer(self, config: PeerConfig, now: Instant) -> PeerId:
        """Start to speak with a peer, at once if this end has the initiative.

        Raises:
            RosenpassError: a key of a wrong length, this end's own key, or one configured already.
        """
        self._check(config)
        hashes = KeyHashes(config.spkt, config.suite.hash)
        peer = Peer(
            config=config.without_psk(),
            psk=bytearray(config.psk),
            hashes=hashes,
            id=PeerId(hashes.peer_id),
            osk_leaf=DOMAINS[config.suite.hash].osk(config.osk_label),
            goes_first=self._identity.spkm > config.spkt,
            # A peer of the same key may have been removed a moment ago: its biscuits are no longer welcome.
            biscuit_used=self._biscuits.next_number - 1,
        )
        self._peers.add(peer)
        peer.initiate_at = collision.first_start(peer, now, self._random, self._timers)
        self._reschedule(peer)
        return peer.id

    def change_peer(self, peer_id: PeerId, config: PeerConfig, now: Instant) -> None:
        """Replace a peer's configuration. A new psk or label begins a new handshake.

        Raises:
            UnknownPeer: no such peer.
            RosenpassError: key or suite differ: remove the peer and add it anew.
        """
        self._check(config)
        peer = self._peers.by_id(peer_id)
        if config.spkt != peer.config.spkt or config.suite != peer.config.suite:
            raise RosenpassError("the key or the suite of a peer cannot change: remove it and add it anew")
        osk_leaf = peer.hashes.domains.osk(config.osk_label)
        renew = not hmac.compare_digest(config.psk, peer.psk) or osk_leaf != peer.osk_leaf
        if renew:
            self._peers.set_handshake(peer, None)
            peer.biscuit_used = self._biscuits.next_number - 1
        wipe(peer.psk)
        peer.psk, peer.osk_leaf, peer.config = bytearray(config.psk), osk_leaf, config.without_psk()
        if renew or (peer.session is None and peer.handshake is None and peer.initiate_at is None):
            peer.initiate_at = collision.first_start(peer, now, self._random, self._timers)
        self._reschedule(peer)

    def remove_peer(self, peer_id: PeerId) -> None:
        """Forget a peer and wipe what was secret of it.

        Raises:
            UnknownPeer: no such peer.
        """
        peer = self._peers.by_id(peer_id)
        self._peers.remove(peer)
        self._agenda.set(peer, None)
        peer.wipe()

    def initiate(self, peer_id: PeerId, now: Instant) -> None:
        """Make a new key now, whoever has the initiative; a waiting handshake is resent at once instead.

        Raises:
            UnknownPeer: no such peer.
        """
        peer = self._peers.by_id(peer_id)
        if peer.handshake is None:
            peer.initiate_at = now
            self._run_timers(peer, now)
        elif not isinstance(peer.handshake.phase, HeldBack):
            peer.handshake.retransmission = Retransmission.start(now, self._random, self._timers)
            self._own.send(peer, peer.handshake, now)
        self._reschedule(peer)

    def status(self, peer_id: PeerId) -> PeerStatus:
        """Return what is true of a peer.

        Raises:
            UnknownPeer: no such peer.
        """
        return self._peers.by_id(peer_id).status()

    def wipe(self) -> None:
        """Overwrite every secret; the object is of no use afterwards."""
        for peer in list(self._peers):
            self.remove_peer(peer.id)
        self._biscuits.wipe()
        self._admission.secrets.wipe()
        wipe(self._response_key)

    def _check(self, config: PeerConfig) -> None:
        if len(config.spkt) != self._kems.public_key_len:
            raise RosenpassError(
                f"a public key has {self._kems.public_key_len} bytes, not {len(config.spkt)}"
            )
        if len(config.psk) != KEY_LEN:
            raise RosenpassError(f"a preshared key has {KEY_LEN} bytes, not {len(config.psk)}")
        if config.spkt == self._identity.spkm:
            raise RosenpassError("the public key of a peer is this end's own")

    # Datagrams.

    def _receive(self, wire: bytes, source: Address, now: Instant) -> None:
        kind, form = classify(wire)
        if kind is MessageType.COOKIE_REPLY:
            self._cookie_reply(wire, now)
            return
        envelope = Envelope(wire)
        variant = self._variant(envelope)
        match kind:
            case MessageType.INIT_HELLO if form is not None:
                self._init_hello(envelope, suite_of(variant, form), source, now)
            case MessageType.RESP_HELLO if form is not None:
                self._resp_hello(envelope, suite_of(variant, form), source, now)
            case MessageType.INIT_CONF:
                self._init_conf(envelope, variant, source, now)
            case MessageType.EMPTY_DATA:
                self._empty_data(envelope, variant, now)

    def _variant(self, envelope: Envelope) -> HashVariant:
        """Return the hash variant under which the mac is ours."""
        for variant, mine in self._identity.hashes.items():
            expected = mine.domains.hash(mine.mac_key, envelope.before_mac)[:MAC_LEN]
            if hmac.compare_digest(expected, envelope.mac):
                return variant
        raise AuthenticationError("the mac does not verify")

    def _init_hello(self, envelope: Envelope, suite: Suite, source: Address, now: Instant) -> None:
        if not self._peers.uses(suite):
            raise AuthenticationError("no peer is configured with this suite")
        message = InitHello.unpack(envelope.wire)
        if not self._admission.admits(envelope, source, self._peers.has_endpoint(source), now):
            reply = self._admission.demand(envelope, message.sidi, source, self._identity, now)
            self.cookies_demanded += 1
            self._actions.append(SendMessage(None, source, reply))
            return
        self.decapsulations += 1
        hs, peer = responder.consume_init_hello(self._identity, self._peers, self._kems, suite, message)
        sidr = self._random(SID_LEN)
        answer = responder.create_resp_hello(
            self._identity, peer, self._kems, self._biscuits, hs, message, sidr, now
        )
        if peer.handshake is not None:
            peer.handshake.peer_initiates = True
        self._actions.append(SendMessage(peer.id, source, peer.hashes.seal(answer.pack())))

    def _resp_hello(self, envelope: Envelope, suite: Suite, source: Address, now: Instant) -> None:
        message = RespHello.unpack(envelope.wire)
        peer, handshake = self._peers.by_sidi(message.sidi)  # RHI2
        if not isinstance(handshake.phase, AwaitingRespHello):
            raise StateError("a second RespHello")
        _require_suite(peer, suite)
        if not self._answers.allow(message.sidi, now):
            raise Overloaded("too many answers to one InitHello")
        hs = initiator.consume_resp_hello(self._identity, peer, self._kems, handshake.phase, message)
        release_at = collision.release_time(peer, handshake.peer_initiates, now, self._random, self._timers)
        held = initiator.create_init_conf(hs, message, peer.osk_leaf, release_at)
        handshake.enter(held)
        self._peers.set_endpoint(peer, source)
        if release_at <= now:
            self._own.release(peer, handshake, now)
        self._reschedule(peer)

    def _init_conf(self, envelope: Envelope, variant: HashVariant, source: Address, now: Instant) -> None:
        digest = self._response_digest(envelope)
        known = self._peers.by_digest(digest)
        if known is not None and known.response is not None and known.response.answers(now, self._timers):
            self._actions.append(SendMessage(known.id, source, known.response.datagram))
            return
        message = InitConf.unpack(envelope.wire)
        accepted = responder.consume_init_conf(
            self._identity, self._peers, self._biscuits, variant, message, now
        )
        reply = accepted.peer.hashes.seal(responder.create_empty_data(accepted, message.sidi).pack())
        wipe(accepted.txkr)
        self._enter_live_as_responder(accepted, source, now)
        self._peers.set_response(accepted.peer, CachedResponse(digest, reply, now))
        self._actions.append(SendMessage(accepted.peer.id, source, reply))
        self._reschedule(accepted.peer)

    def _empty_data(self, envelope: Envelope, variant: HashVariant, now: Instant) -> None:
        message = EmptyData.unpack(envelope.wire)
        peer, handshake = self._peers.by_sidi(message.sid)
        if peer.config.suite.hash is not variant:
            raise AuthenticationError("the mac is of another hash variant than the peer's")
        initiator.consume_empty_data(handshake.phase, message)
        collision.init_conf_confirmed(peer, self._biscuits.next_number)
        self._peers.set_handshake(peer, None)
        self._actions.append(KeyConfirmed(peer.id))
        self._reschedule(peer)

    def _cookie_reply(self, wire: bytes, now: Instant) -> None:
        message = CookieReply.unpack(wire)
        peer, handshake = self._peers.by_sidi(message.sid)
        if isinstance(handshake.phase, HeldBack) or len(wire) != peer.config.suite.init_hello_len:
            raise StateError("nothing of ours to answer with a cookie")
        mac = Envelope(handshake.sealed).mac
        cookie = CookieValue.from_reply(message, peer.hashes.cookie_key, mac, now)
        if peer.cookie is not None and peer.cookie.value == cookie.value:
            raise StateError("this cookie is known")
        peer.cookie = cookie
        # Whoever knows the public key and sees our messages can make any number of replies: between two
        # resends only the first is answered at once, so nobody is flooded by way of us.
        if not handshake.retransmission.is_hurried:
            handshake.retransmission.is_hurried = True
            self._own.send(peer, handshake, now)

    def _enter_live_as_responder(
        self, accepted: responder.AcceptedInitConf, source: Address, now: Instant
    ) -> None:
        peer = accepted.peer
        peer.biscuit_used = accepted.biscuit_no  # ICR6
        crossed = collision.may_have_crossed(peer, accepted.biscuit_no)
        self._peers.set_handshake(peer, None)  # ICR7
        self._peers.set_endpoint(peer, source)
        peer.initiate_at = collision.settle_time(peer, now, self._random, self._timers) if crossed else None
        self._own.exchanged(peer, accepted.osk, Role.RESPONDER, now)

    # Timers.

    def _run_timers(self, peer: Peer, now: Instant) -> None:
        until = Instant(now + self._timers.event_grace)
        for _ in range(len(Due)):  # one thing done may make another due; nothing repeats
            todo = timers.due(peer, self._timers, until)
            if not todo:
                return
            self._do(todo[0], peer, now)

    def _do(self, what: Due, peer: Peer, now: Instant) -> None:
        match what, peer.handshake:
            case Due.FORGET_RESPONSE, _:
                self._peers.set_response(peer, None)
            case Due.EXPIRE_SESSION, handshake:
                peer.session = None
                self._actions.append(KeyStale(peer.id, bytearray(self._random(KEY_LEN))))
                if handshake is None:
                    peer.initiate_at = self._restart_time(peer, now)
            case Due.ABANDON_HANDSHAKE, _:
                self._peers.set_handshake(peer, None)
                peer.initiate_at = self._restart_time(peer, now)
            case Due.RELEASE, InitiatorHandshake() as handshake:
                self._own.release(peer, handshake, now)
            case Due.RESEND, InitiatorHandshake() as handshake:
                handshake.retransmission.advance(now, self._random, self._timers)
                self._own.send(peer, handshake, now)
            case Due.START | Due.RESTART, _:
                # RESTART: the responder lost its biscuit keys, or answers no InitConf twice.
                self._own.start(peer, now)

    def _restart_time(self, peer: Peer, now: Instant) -> Instant | None:
        return None if peer.config.initiative is Initiative.NEVER else now

    def _reschedule(self, peer: Peer) -> None:
        self._agenda.set(peer, timers.next_deadline(peer, self._timers))

    def _response_digest(self, envelope: Envelope) -> bytes:
        return hashlib.shake_256(bytes(self._response_key) + envelope.before_cookie).digest(16)


def _require_suite(peer: Peer, suite: Suite) -> None:
    if peer.config.suite != suite:
        raise AuthenticationError("the peer speaks another suite than its configuration says")
