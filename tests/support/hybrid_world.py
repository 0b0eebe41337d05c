"""Hosts with both cores, joined as the driver joins them, on the simulated network of support.world.

Rosenpass runs over the tunnel with toy KEMs. Every user packet is numbered, and every one that leaves carries
the kind of its keypair, so that a leak shows.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address

from support.fake_dataplane import Datagram, FakeDataPlane
from support.rosenpass_lab import toy_kems
from support.seeded import seeded_bytes
from support.world import OTHER, Host, World

from rosenpass.actions import SendMessage
from rosenpass.addresses import Address
from rosenpass.constants import Timers
from rosenpass.identity import StaticIdentity
from rosenpass.peers import Initiative, PeerConfig, PeerId
from rosenpass.server import CryptoServer
from wgpy.actions import ClearKeypairs
from wgpy.constants import Timings
from wgpy.model import Endpoint, PeerNumber, Policy, PskKind
from wgpy.psk_exchange import PskExchange
from wgpy.psk_ring import PskRing
from wgpy.tunnel import Tunnel

GRACE = Timers().event_grace
INSIDE = Address(IPv4Address("10.0.0.1"), 51821)


@dataclass
class Rosenpass:
    """What outlives a restart: the static key pair."""

    spk: bytes
    ssk: bytearray


class HybridHost(Host):
    """A host that also runs the exchange over the tunnel with its one peer."""

    def __init__(self, world: World, name: str, address: str, timings: Timings) -> None:
        super().__init__(world, name, address, timings)
        self.kems = toy_kems(f"{world.seed} {name}")
        self.static = Rosenpass(*self.kems.static[188].keypair())
        self.life = 0
        self.policy = Policy.STRICT
        self.leaks: list[PskKind] = []
        self.delivered: list[bytes] = []
        self.newest = 0  # greatest number among them
        self.server: CryptoServer
        self.exchange: PskExchange
        self.peer_id: PeerId

    def start(self, other: "HybridHost", *, with_endpoint: bool = True) -> None:
        """Configure the peer, open the exchange, go up; as `wgpy up` does."""
        self.life += 1
        draw = seeded_bytes(f"{self.world.seed} {self.name} rosenpass {self.life}")
        identity = StaticIdentity(self.static.spk, self.static.ssk)
        self.server = CryptoServer(identity, draw, self.kems)
        self.exchange = PskExchange(self.tunnel)
        number = self.add_peer(other, with_endpoint=with_endpoint)
        self.tunnel.set_rosenpass(number, enabled=True, permissive=self.policy is Policy.PERMISSIVE)
        if self.policy is Policy.STRICT:
            self.dataplane.peers[number].user_kinds = frozenset({PskKind.PQ})
        goes_first = self.static.spk > other.static.spk
        initiative = Initiative.AT_ONCE if goes_first else Initiative.WHEN_OVERDUE
        config = PeerConfig(other.static.spk, reachable=True, initiative=initiative)
        self.peer_id = self.server.add_peer(config, self.now)
        self.exchange.join(self.peer_id, number, goes_first=goes_first)
        self.up()
        self.settle()

    def restart(self, other: "HybridHost", *, with_endpoint: bool = True) -> None:
        """As after kill -9: keys are on disk, everything else is gone."""
        private = self.tunnel.identity.private_key
        random_bytes = seeded_bytes(f"{self.world.seed} {self.name} {self.life}")
        self.dataplane = FakeDataPlane(random_bytes, self.world.timings, self._transmit)
        self.tunnel = Tunnel(self.dataplane.indices, random_bytes, self.world.timings)
        del self.exchange, self.server
        self.set_private_key(private)
        self.start(other, with_endpoint=with_endpoint)

    def fall_back(self, ring: PskRing) -> None:
        """To the preshared keys of a while ago, and no session: as far apart as two ends can drift."""
        peer = self.tunnel.peer(OTHER)
        self.dataplane.perform(ClearKeypairs(OTHER))
        peer.ring = ring
        peer.last_pq_session = None

    def tick(self) -> None:
        is_due = hasattr(self, "server") and self._exchange_is_due()
        if is_due:
            self.server.tick(self.now)
        super().tick()
        if is_due:
            self.settle()

    def _exchange_is_due(self) -> bool:
        moments = (self.server.next_deadline(), self.exchange.next_wanted())
        return any(moment is not None and moment <= self.now + GRACE for moment in moments)

    def confirmed(self, number: PeerNumber, kind: PskKind) -> None:
        if hasattr(self, "exchange"):
            self.exchange.session_stands(number, kind, self.now)

    def deliver(self, datagram: Datagram, source: Endpoint) -> None:
        super().deliver(datagram, source)
        for peer in self.dataplane.peers.values():
            received, peer.received = peer.received, []
            for payload, kind in received:
                self._inside(payload, kind)

    def _inside(self, payload: bytes, kind: PskKind) -> None:
        if payload[0] >= 0x81:
            self.server.receive(payload, INSIDE, self.now)
            self.settle()
            return
        self._judge(kind)
        self.delivered.append(payload)
        self.newest = max(self.newest, int(payload[1:]))

    def settle(self) -> None:
        super().settle()
        if not hasattr(self, "exchange"):
            return
        self.want_exchange()
        for action in self.server.take_actions():
            if isinstance(action, SendMessage):
                self.send(OTHER, action.datagram, is_control=True)
            else:
                self.exchange.take(action, self.now, self.wall)
                super().settle()
        for peer in self.dataplane.peers.values():
            for kind in peer.sent_kinds:
                self._judge(kind)
            peer.sent_kinds.clear()

    def want_exchange(self) -> None:
        for peer in self.exchange.take_wanted(self.now):
            self.server.initiate(peer, self.now)

    def _judge(self, kind: PskKind) -> None:
        if kind is not PskKind.PQ:
            self.leaks.append(kind)


def hybrid_pair(seed: int, policy: Policy = Policy.STRICT) -> tuple[World, HybridHost, HybridHost]:
    """Two hosts that know each other's keys, not yet started."""
    world = World(seed)
    a = HybridHost(world, "a", "192.0.2.1", world.timings)
    b = HybridHost(world, "b", "192.0.2.2", world.timings)
    for host in (a, b):
        host.policy = policy
        world.adopt(host)
    return world, a, b


@dataclass
class Conversation:
    """Numbered user packets both ways, and how long since the last one arrived."""

    world: World
    a: HybridHost
    b: HybridHost
    every: int
    sent: int = 0
    last: dict[str, int] = field(default_factory=dict)

    def start(self) -> None:
        self.world.after(0, self._say)

    def _say(self) -> None:
        self.sent += 1
        for host in (self.a, self.b):
            host.send(OTHER, b"u%d" % self.sent)
        self.world.after(self.every, self._say)
