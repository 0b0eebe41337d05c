"""What is known of one peer, and how a peer is found.

Knows no message and makes no decision.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NewType

from .addresses import Address
from .constants import DEFAULT_SUITE, KEY_LEN, Instant, Role, Suite, Timers
from .cookie import CookieValue
from .erasure import wipe
from .errors import RosenpassError, StateError, UnknownPeer
from .hash_domains import WIREGUARD_PSK, OskLabel
from .identity import KeyHashes
from .initiator import InitiatorHandshake

PeerId = NewType("PeerId", bytes)  # 32 bytes, hash of the public key under the peer's hash variant


class Initiative(Enum):
    """Who starts an exchange with this peer."""

    AT_ONCE = "at once"  # this end, whenever there is no young session
    WHEN_OVERDUE = "when overdue"  # the peer; this end only when the peer is late
    NEVER = "never"  # the peer alone: this end is responder only


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """One peer as configured.

    Attributes:
        spkt: its static public key, 524160 bytes.
        psk: 32 secret bytes both ends share, or zeros.
        suite: policy; a message of another suite is refused.
        reachable: the edge has an endpoint configured, so there is a way to the peer before it was heard.
        initiative: who starts.
        osk_label: what the output key is for.
    """

    spkt: bytes = field(repr=False)
    psk: bytes | bytearray = field(default=bytes(KEY_LEN), repr=False)
    suite: Suite = DEFAULT_SUITE
    reachable: bool = False
    initiative: Initiative = Initiative.AT_ONCE
    osk_label: OskLabel = WIREGUARD_PSK

    def without_psk(self) -> "PeerConfig":
        """Return a copy to keep, without the secret."""
        return replace(self, psk=b"")


@dataclass(frozen=True, slots=True)
class Session:
    """The last accepted handshake with a peer. Its key is the edge's; only its age matters here.

    Attributes:
        renew_at: when this end starts the next handshake; None where that is the peer's business alone.
        expected_at: when it is expected at the latest, whoever starts it.
    """

    role: Role
    created_at: Instant
    renew_at: Instant | None
    expected_at: Instant


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """The EmptyData that answered one InitConf, for when the same InitConf comes again."""

    digest: bytes
    datagram: bytes = field(repr=False)
    created_at: Instant

    def answers(self, now: Instant, timers: Timers) -> bool:
        """Whether it is young enough to be sent again."""
        return now - self.created_at < timers.response_cache


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """What is true of one peer now.

    Attributes:
        key_since: when the last key was output; None without one, also after it went stale.
        role: this end's in that exchange.
        renew_at: when this end starts the next; None where it leaves that to the peer.
        handshake_since: since when an own handshake waits for an answer.
        endpoint: where the peer was last heard.
    """

    key_since: Instant | None
    role: Role | None
    renew_at: Instant | None
    handshake_since: Instant | None
    endpoint: Address | None


@dataclass(slots=True, eq=False)
class Peer:
    """One peer's protocol state.

    Attributes:
        goes_first: this end's public key is the bytewise greater one: it starts at once and waits less.
        biscuit_used: number of the last biscuit accepted from this peer.
        crossing_limit: an InitConf whose biscuit is older than this number may have crossed one of ours; see
            collision.py.
        initiate_at: when to start a handshake, whatever the session's age.
    """

    config: PeerConfig
    psk: bytearray = field(repr=False)
    hashes: KeyHashes = field(repr=False)
    id: PeerId
    osk_leaf: bytes
    goes_first: bool
    biscuit_used: int
    crossing_limit: int = 0
    endpoint: Address | None = None
    handshake: InitiatorHandshake | None = None
    session: Session | None = None
    response: CachedResponse | None = None
    cookie: CookieValue | None = None
    initiate_at: Instant | None = None
    scheduled: Instant | None = None

    @property
    def is_reachable(self) -> bool:
        """Whether there is anywhere to send to."""
        return self.config.reachable or self.endpoint is not None

    def status(self) -> PeerStatus:
        """Return what a person may know."""
        session, handshake = self.session, self.handshake
        return PeerStatus(
            key_since=session.created_at if session else None,
            role=session.role if session else None,
            renew_at=session.renew_at if session else self.initiate_at,
            handshake_since=handshake.created_at if handshake else None,
            endpoint=self.endpoint,
        )

    def wipe(self) -> None:
        """Overwrite every secret of the peer."""
        wipe(self.psk, self.cookie.value if self.cookie else None)
        if self.handshake is not None:
            self.handshake.wipe()


class Peers:
    """All peers, found by id, by session id of an own handshake, or by the digest of an InitConf answered."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, Peer] = {}
        self._by_sidi: dict[bytes, Peer] = {}
        self._by_digest: dict[bytes, Peer] = {}
        self._suites: Counter[Suite] = Counter()
        self._endpoints: Counter[Address] = Counter()

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, peer: Peer) -> None:
        """Make the peer findable by its id.

        Raises:
            RosenpassError: this public key is configured already.
        """
        if any(known.config.spkt == peer.config.spkt for known in self):
            raise RosenpassError("this public key belongs to another peer already")
        self._by_id[peer.id] = peer
        self._suites[peer.config.suite] += 1

    def remove(self, peer: Peer) -> None:
        """Forget the peer under every name."""
        self.set_handshake(peer, None)
        self.set_response(peer, None)
        self.set_endpoint(peer, None)
        self._suites[peer.config.suite] -= 1
        del self._by_id[peer.id]

    def uses(self, suite: Suite) -> bool:
        """Whether any peer is configured with this suite."""
        return self._suites[suite] > 0

    def by_id(self, peer_id: bytes) -> Peer:
        """Return the peer with this id.

        Raises:
            UnknownPeer: there is none.
        """
        peer = self._by_id.get(peer_id)
        if peer is None:
            raise UnknownPeer("no peer has this id")
        return peer

    def by_sidi(self, sidi: bytes) -> tuple[Peer, InitiatorHandshake]:
        """Return the handshake of ours that has this session id, and with whom it is.

        Raises:
            StateError: there is none.
        """
        peer = self._by_sidi.get(sidi)
        if peer is None or peer.handshake is None:
            raise StateError("no handshake has this session id")
        return peer, peer.handshake

    def has_sidi(self, sidi: bytes) -> bool:
        """Whether a session id is taken."""
        return sidi in self._by_sidi

    def by_digest(self, digest: bytes) -> Peer | None:
        """Return the peer whose cached response answers the InitConf with this digest."""
        return self._by_digest.get(digest)

    def has_endpoint(self, address: Address) -> bool:
        """Whether some peer was last heard at this address."""
        return self._endpoints[address] > 0

    def set_handshake(self, peer: Peer, handshake: InitiatorHandshake | None) -> None:
        """Replace the peer's own handshake, wiping the old one."""
        if peer.handshake is not None:
            peer.handshake.wipe()
            del self._by_sidi[peer.handshake.sidi]
        peer.handshake = handshake
        if handshake is not None:
            self._by_sidi[handshake.sidi] = peer

    def set_response(self, peer: Peer, response: CachedResponse | None) -> None:
        """Replace the peer's cached response."""
        if peer.response is not None:
            self._by_digest.pop(peer.response.digest, None)
        peer.response = response
        if response is not None:
            self._by_digest[response.digest] = peer

    def set_endpoint(self, peer: Peer, address: Address | None) -> None:
        """Remember where the peer was heard last."""
        if peer.endpoint is not None:
            self._endpoints[peer.endpoint] -= 1
            if not self._endpoints[peer.endpoint]:
                del self._endpoints[peer.endpoint]
        peer.endpoint = address
        if address is not None:
            self._endpoints[address] += 1
