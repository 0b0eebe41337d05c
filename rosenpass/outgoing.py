"""Handshakes of ours on their way: begun, confirmed and sent again, with what each asks of the edge.

What is in the messages is initiator.py's; when something is due, timers.py's; who starts, collision.py's and
renewal.py's.
"""

from . import collision, initiator
from .actions import Action, KeyExchanged, SendMessage
from .constants import SID_LEN, Instant, Role, Timers
from .cookie import cookie_field
from .identity import Kems, StaticIdentity
from .initiator import AwaitingEmptyData, AwaitingRespHello, HeldBack, InitiatorHandshake
from .msgs import Envelope
from .peers import Peer, Peers
from .randomness import RandomBytes
from .renewal import session_of
from .retransmission import Retransmission


class Outgoing:
    """Changes peers and appends to `actions`, both of which it shares with the server."""

    def __init__(
        self,
        identity: StaticIdentity,
        random: RandomBytes,
        kems: Kems,
        timers: Timers,
        peers: Peers,
        actions: list[Action],
    ) -> None:
        self._identity = identity
        self._random = random
        self._kems = kems
        self._timers = timers
        self._peers = peers
        self._actions = actions

    def start(self, peer: Peer, now: Instant) -> None:
        """Begin a handshake with this peer in place of the one there may be."""
        sidi = self._random(SID_LEN)  # IHI2
        while self._peers.has_sidi(sidi):
            sidi = self._random(SID_LEN)
        phase, message = initiator.create_init_hello(self._identity, peer, self._kems, sidi)
        retransmission = Retransmission.start(now, self._random, self._timers)
        handshake = InitiatorHandshake(sidi, now, phase, peer.hashes.seal(message.pack()), retransmission)
        self._peers.set_handshake(peer, handshake)
        peer.initiate_at = None
        self.send(peer, handshake, now)

    def release(self, peer: Peer, handshake: InitiatorHandshake, now: Instant) -> None:
        """Send InitConf; only now the key exists for this end."""
        held = handshake.phase
        if not isinstance(held, HeldBack):
            raise TypeError("there is no InitConf to release")
        handshake.sealed = peer.hashes.seal(held.init_conf.pack())
        handshake.retransmission = Retransmission.start(now, self._random, self._timers)
        handshake.enter(AwaitingEmptyData(held.txkr, now))
        self.exchanged(peer, held.osk, Role.INITIATOR, now)
        collision.init_conf_sent(peer)
        self.send(peer, handshake, now)

    def send(self, peer: Peer, handshake: InitiatorHandshake, now: Instant) -> None:
        """Send the message that waits for an answer, with the cookie we have.

        The address learned from the peer comes first; every second InitHello tries the configured endpoint.
        """
        to_configured = peer.endpoint is None or (
            peer.config.reachable
            and isinstance(handshake.phase, AwaitingRespHello)
            and handshake.sent % 2 == 1
        )
        datagram = handshake.sealed
        if peer.cookie is not None and peer.cookie.is_live(now, self._timers):
            before = Envelope(datagram).before_cookie
            datagram = before + cookie_field(peer.cookie.value, before)
        handshake.sent += 1
        resolve = to_configured and not handshake.resolved
        handshake.resolved |= to_configured
        destination = None if to_configured else peer.endpoint
        self._actions.append(SendMessage(peer.id, destination, datagram, resolve))

    def exchanged(self, peer: Peer, osk: bytearray, role: Role, now: Instant) -> None:
        """A key is agreed, in which this end had `role`."""
        session = session_of(role, peer.config.initiative, now, self._random, self._timers)
        expected = (at for at in (session.expected_at, peer.initiate_at) if at is not None)
        peer.session = session
        self._actions.append(KeyExchanged(peer.id, osk, role, min(expected)))
