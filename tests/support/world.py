"""Hosts with a real Tunnel core and a fake data plane, on a network that delays, loses, doubles and reorders.

Time is a number; a run of hours takes what its events take. The same seed gives the same run.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from support.fake_dataplane import Datagram, FakeDataPlane, FakePeer, Transport
from support.seeded import seeded_bytes

from wgpy import crypto
from wgpy.actions import SessionStands, TickAt
from wgpy.constants import MILLISECOND, Timings
from wgpy.errors import RemoteError
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
    SocketAddress,
    WallTime,
)
from wgpy.tunnel import Tunnel

OTHER = PeerNumber(0)  # the other end, in a pair
TICK = 250 * MILLISECOND
EPOCH = 1_700_000_000 * SECOND


@dataclass
class Link:
    """What the network does to each datagram."""

    delay: int = 10 * MILLISECOND
    jitter: int = 0  # added at random: reorders
    loss: float = 0.0
    duplication: float = 0.0
    is_cut: bool = False
    drop: Callable[[str, Datagram], bool] = field(default=lambda sender, datagram: False)


class Host:
    """One device: identity, core, data plane."""

    def __init__(self, world: "World", name: str, address: str, timings: Timings) -> None:
        self.world = world
        self.name = name
        self.address = SocketAddress(IPv4Address(address), 51820)
        self.wall_offset = EPOCH
        random_bytes = seeded_bytes(f"{world.seed} {name}")
        self.dataplane = FakeDataPlane(random_bytes, timings, self._transmit)
        self.tunnel = Tunnel(self.dataplane.indices, random_bytes, timings)
        self.errors: list[RemoteError] = []
        self.initiations = 0
        private = bytes(crypto.generate_private_key(random_bytes))
        self.set_private_key(private)

    @property
    def now(self) -> Instant:
        return Instant(self.world.now)

    @property
    def wall(self) -> WallTime:
        return WallTime(max(0, self.world.now + self.wall_offset))

    @property
    def public_key(self) -> PublicKey:
        assert self.tunnel.identity is not None
        return self.tunnel.identity.public_key

    def set_private_key(self, private_key: bytes) -> None:
        self.tunnel.set_private_key(PrivateKey(private_key), self.now)
        self.dataplane.set_identity(self.public_key)
        self.settle()

    def add_peer(
        self, other: "Host", psk: PresharedKey = NO_PRESHARED_KEY, *, with_endpoint: bool = True
    ) -> PeerNumber:
        number = PeerNumber(len(self.dataplane.peers))
        self.dataplane.peers[number] = FakePeer()
        self.tunnel.add_peer(number, other.public_key, psk)
        if with_endpoint:
            self.dataplane.peers[number].endpoint = Endpoint(other.address)
            self.tunnel.set_endpoint_known(number)
        return number

    def up(self) -> None:
        self.dataplane.now = self.now
        activity = {number: self.dataplane.activity(number) for number in self.dataplane.peers}
        self.tunnel.device_up(self.now, self.wall, activity)
        self.settle()

    def send(self, number: PeerNumber, payload: bytes, *, is_control: bool = False) -> None:
        self.dataplane.now = self.now
        if self.dataplane.send_user(number, payload, is_control=is_control):
            self.tunnel.want_session(number, self.now, self.wall, self.dataplane.activity(number))
        self.settle()

    def set_preshared_key(self, number: PeerNumber, psk: bytes) -> None:
        self.tunnel.set_preshared_key(
            number, PresharedKey(psk), self.now, self.wall, self.dataplane.activity(number)
        )
        self.settle()

    def tick(self) -> None:
        self.dataplane.now = self.now
        numbers = {*self.tunnel.due_by(self.now), *self._restless()}
        if numbers:
            activity = {number: self.dataplane.activity(number) for number in sorted(numbers)}
            self.tunnel.tick(self.now, self.wall, activity)
            self.settle()

    def _restless(self) -> list[PeerNumber]:
        return [
            number
            for number, peer in self.dataplane.peers.items()
            if self.dataplane.is_restless(peer, self.tunnel.peer(number).timers.persistent_keepalive)
        ]

    def deliver(self, datagram: Datagram, source: Endpoint) -> None:
        self.dataplane.now = self.now
        if isinstance(datagram, Transport):
            confirmed = self.dataplane.receive(datagram, source)
            if confirmed is not None:
                self.tunnel.session_confirmed(*confirmed, self.now, self.wall)
        elif self.dataplane.admits(datagram, source):
            try:
                self.tunnel.receive(datagram, source, self.now, self.wall)
            except RemoteError as error:
                self.errors.append(error)
        self.settle()

    def settle(self) -> None:
        self.dataplane.now = self.now
        for action in self.tunnel.take_actions():
            self.dataplane.perform(action)
            if isinstance(action, SessionStands):
                self.confirmed(action.peer, action.psk_kind)
            if isinstance(action, TickAt):
                self.world.at(action.moment, self.tick)

    def confirmed(self, number: PeerNumber, kind: PskKind) -> None:
        """A session stands; what else a host does then."""

    def received(self, number: PeerNumber = OTHER) -> list[bytes]:
        return [payload for payload, _ in self.dataplane.peers[number].received]

    def _transmit(self, endpoint: Endpoint, datagram: Datagram) -> None:
        if isinstance(datagram, bytes) and datagram[0] == 1:
            self.initiations += 1
        self.world.transmit(self, endpoint, datagram)


class World:
    """The network, the clock and the hosts on it."""

    def __init__(self, seed: int = 1, timings: Timings | None = None, tick: int = TICK) -> None:
        self.seed = seed
        self.timings = timings or Timings()
        self.now = 1_000 * SECOND
        self.link = Link()
        self.hosts: dict[SocketAddress, Host] = {}
        self._tick = tick
        self._random = random.Random(seed)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0

    def host(self, name: str, address: str) -> Host:
        host = Host(self, name, address, self.timings)
        self.adopt(host)
        return host

    def adopt(self, host: Host) -> None:
        self.hosts[host.address] = host
        self.at(self.now + self._random.randrange(self._tick), lambda: self._tick_host(host))

    def at(self, moment: int, call: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (moment, self._sequence, call))

    def after(self, delay: int, call: Callable[[], None]) -> None:
        self.at(self.now + delay, call)

    def run(self, duration: int) -> None:
        end = self.now + duration
        while self._events and self._events[0][0] <= end:
            self.now, _, call = heapq.heappop(self._events)
            call()
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit: int) -> int:
        """How long it took; fails after `limit`."""
        start, end = self.now, self.now + limit
        while not condition():
            assert self.now < end, "the condition did not come true in time"
            self.run(min(10 * MILLISECOND, end - self.now))
        return self.now - start

    def transmit(self, sender: Host, endpoint: Endpoint, datagram: Datagram) -> None:
        link = self.link
        if link.is_cut or link.drop(sender.name, datagram) or self._random.random() < link.loss:
            return
        copies = 2 if self._random.random() < link.duplication else 1
        for _ in range(copies):
            delay = link.delay + (self._random.randrange(link.jitter) if link.jitter else 0)
            self.after(delay, lambda: self._arrive(sender, endpoint, datagram))

    def _arrive(self, sender: Host, endpoint: Endpoint, datagram: Datagram) -> None:
        receiver = self.hosts.get(endpoint.remote)
        if receiver is not None:
            receiver.deliver(datagram, Endpoint(sender.address))

    def _tick_host(self, host: Host) -> None:
        host.tick()
        self.after(self._tick, lambda: self._tick_host(host))


def pair(
    seed: int = 1,
    psk: bytes = NO_PRESHARED_KEY,
    timings: Timings | None = None,
    tick: int = TICK,
) -> tuple[World, Host, Host]:
    """Two hosts that know each other, up. Peer number 0 on each is the other."""
    world = World(seed, timings, tick)
    a, b = world.host("a", "192.0.2.1"), world.host("b", "192.0.2.2")
    a.add_peer(b, PresharedKey(psk))
    b.add_peer(a, PresharedKey(psk))
    a.up()
    b.up()
    return world, a, b
