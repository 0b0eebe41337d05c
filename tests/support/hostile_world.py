"""Two complete hosts whose every datagram an adversary holds in hand, until there is peace.

The adversary sees and keeps all there ever was on the wire, knows all public keys, and no secret one: what is
changed in a transport message no longer opens, in a handshake message mac1 can be made right again.
"""

from dataclasses import dataclass, replace

from support.fake_dataplane import Datagram, Transport
from support.hybrid_world import HybridHost
from support.world import OTHER, Host, World

from wgpy import crypto
from wgpy.constants import MILLISECOND
from wgpy.model import SECOND, Endpoint, Policy

FORGED = b"forged"
HEAL = 15 * SECOND


@dataclass(frozen=True)
class Held:
    """One datagram in the adversary's hand."""

    sender: str
    receiver: str
    datagram: Datagram


class HostileWorld(World):
    """`held` flies only when somebody says so."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.held: list[Held] = []
        self.seen: list[Held] = []
        self.is_peace = False
        self.nonces: dict[tuple[bytes, int], str] = {}
        self.last_counter: dict[bytes, int] = {}
        self.ends = [HybridHost(self, name, f"192.0.2.{n + 1}", self.timings) for n, name in enumerate("ab")]
        for host in self.ends:
            host.policy = Policy.STRICT
            self.adopt(host)
        for host in self.ends:
            host.start(self.other(host))

    def other(self, host: Host) -> HybridHost:
        return self.ends[1] if host is self.ends[0] else self.ends[0]

    def named(self, name: str) -> HybridHost:
        return next(host for host in self.ends if host.name == name)

    def transmit(self, sender: Host, endpoint: Endpoint, datagram: Datagram) -> None:
        if isinstance(datagram, Transport):
            self._check_nonce(sender, datagram)
        if self.is_peace:
            super().transmit(sender, endpoint, datagram)
            return
        receiver = self.hosts.get(endpoint.remote)
        if receiver is not None:
            self.held.append(Held(sender.name, receiver.name, datagram))
            self.seen.append(self.held[-1])

    def _check_nonce(self, sender: Host, message: Transport) -> None:
        """No key seals two messages under one counter, nor for both ends; its counters rise one by one."""
        before = self.nonces.setdefault((message.key, message.counter), sender.name)
        expected = self.last_counter.get(message.key, -1) + 1
        assert (before, message.counter) == (sender.name, expected), "a key and nonce were used again"
        self.last_counter[message.key] = message.counter

    def deliver(self, held: Held, source: Endpoint | None = None) -> None:
        receiver, sender = self.named(held.receiver), self.named(held.sender)
        receiver.deliver(held.datagram, source or Endpoint(sender.address))
        self.run(MILLISECOND)

    def flow(self, duration: int) -> None:
        """For a while everything passes, in order, and is seen."""
        end = self.now + duration
        while self.now < end:
            held, self.held = self.held, []
            for one in held:
                self.named(one.receiver).deliver(one.datagram, Endpoint(self.named(one.sender).address))
            self.run(10 * MILLISECOND if self.held else min(50 * MILLISECOND, end - self.now))

    def peace(self) -> None:
        """The network is whole from now on; what was held is lost."""
        self.is_peace = True
        self.held.clear()


def damaged(held: Held, at: int, change: int, world: HostileWorld, with_mac1: bool) -> Held:
    """Change one byte, with mac1 made right where wanted."""
    datagram = held.datagram
    if isinstance(datagram, Transport):
        index = datagram.receiver_index ^ (change if at % 3 == 0 else 0)
        counter = datagram.counter ^ (change if at % 3 == 1 else 0)
        return replace(held, datagram=replace(datagram, key=FORGED, receiver_index=index, counter=counter))
    wire = bytearray(datagram)
    wire[at % len(wire)] ^= change
    if with_mac1 and len(wire) > 32:
        key = crypto.hash_(b"mac1----", world.named(held.receiver).public_key)
        wire[-32:-16] = crypto.mac(key, bytes(wire[:-32]))
    return replace(held, datagram=bytes(wire))


def cut(held: Held, length: int) -> Held:
    """Truncate it; of a transport message nothing is left that opens."""
    if isinstance(held.datagram, Transport):
        return replace(held, datagram=replace(held.datagram, key=FORGED, payload=b""))
    return replace(held, datagram=held.datagram[: length % len(held.datagram)])


class Speech:
    """Numbered user packets of both ends, and what became of them."""

    def __init__(self, world: HostileWorld) -> None:
        self.world = world
        self.said: dict[str, set[bytes]] = {"a": set(), "b": set()}
        self.number = 0

    def say(self, host: HybridHost) -> None:
        self.number += 1
        payload = b"u%d" % self.number
        self.said[host.name].add(payload)
        host.send(OTHER, payload)

    def check(self) -> None:
        """Everything delivered was said by the other end, and arrived once; nothing left unprotected."""
        for host in self.world.ends:
            heard = host.delivered
            assert set(heard) <= self.said[self.world.other(host).name], "a packet nobody said"
            assert len(set(heard)) == len(heard), "a packet arrived twice"
            assert not host.leaks, f"user packets under {host.leaks[:3]}"

    def heals(self) -> None:
        """With the network whole, new packets pass both ways within HEAL."""
        world, before = self.world, self.number
        for _ in range(HEAL // SECOND):
            for host in world.ends:
                self.say(host)
            world.run(SECOND)
            if all(host.newest > before for host in world.ends):
                return
        raise AssertionError(f"no traffic both ways {HEAL // SECOND} s after the adversary went")
