"""Two real C data planes with their threads, and an adversary on the loopback wire between them.

Whatever he does with what he holds: what a plane writes to its TUN was said by the other end and comes once,
no key seals two messages under one counter and the counters rise, the planes' own counters only grow, and
with the next session every packet passes again.
"""

import os
import select
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.planes import Endpoint, Side, pair, udp_packet, wait_for

from tun.records import Address

EXAMPLES = int(os.environ.get("WGPY_ADVERSARY_EXAMPLES", "15"))
indices = st.integers(0, 30)
ends = st.sampled_from((0, 1))


@dataclass
class Wire:
    """The adversary's socket towards one end: whatever that end sends arrives here."""

    side: Side
    outside: socket.socket = field(init=False)
    said: list[bytes] = field(default_factory=list)  # by this end
    heard: list[bytes] = field(default_factory=list)
    counters: dict[bytes, int] = field(default_factory=dict)  # receiver index -> the newest

    def __post_init__(self) -> None:
        self.outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.outside.bind(("127.0.0.1", 0))
        self.outside.setblocking(False)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(Address(self.side.endpoint(4).remote.ip, self.outside.getsockname()[1]))

    def give(self, datagram: bytes) -> None:
        self.outside.sendto(datagram, ("127.0.0.1", self.side.udp[4].getsockname()[1]))

    def take(self, wait: float) -> list[bytes]:
        """What the end has sent; waits a moment for the first."""
        found = []
        while select.select([self.outside], [], [], 0 if found else wait)[0]:
            found.append(self.outside.recv(70000))
            self._check_nonce(found[-1])
        return found

    def _check_nonce(self, datagram: bytes) -> None:
        assert datagram[0] == 4, "nothing but transport data was asked for"
        index, counter = datagram[4:8], int.from_bytes(datagram[8:16], "little")
        assert counter == self.counters.get(index, -1) + 1, "a counter was used again, or left out"
        self.counters[index] = counter

    def listen(self) -> None:
        while select.select([self.side.tun], [], [], 0)[0]:
            self.heard.append(self.side.tun.recv(70000))


class Adversary(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        self.pair = self.stack.enter_context(pair())
        self.wires = [Wire(self.pair.a), Wire(self.pair.b)]
        for wire in self.wires:
            self.stack.callback(wire.outside.close)
            wire.side.plane.peer_set_endpoint(wire.side.peer, wire.endpoint)
        self.held: list[tuple[int, bytes]] = []  # to which end
        self.seen: list[tuple[int, bytes]] = []
        self.drops: list[dict[str, int]] = [{}, {}]
        self.number = 0
        self.new_session()

    def collect(self, wait: float = 0.0) -> None:
        for end, wire in enumerate(self.wires):
            fresh = [(1 - end, datagram) for datagram in wire.take(wait)]
            self.held += fresh
            self.seen += fresh

    def deliver(self, to: int, datagram: bytes) -> None:
        self.wires[to].give(datagram)

    # -- what the ends do

    @rule()
    def new_session(self) -> None:
        self.pair.session()

    @rule(end=ends, size=st.integers(0, 1300))
    def say(self, end: int, size: int) -> None:
        self.number += 1
        inner = ("10.0.0.1", "10.0.0.2")
        packet = udp_packet(inner[end], inner[1 - end], self.number.to_bytes(4, "big") + bytes(size))
        self.wires[end].said.append(packet)
        self.wires[end].side.send(packet)
        self.collect(0.005)

    # -- what the adversary does

    @precondition(lambda self: self.held)
    @rule(index=indices, keep=st.booleans())
    def let_pass(self, index: int, keep: bool) -> None:
        one = self.held[index % len(self.held)]
        if not keep:
            self.held.remove(one)
        self.deliver(*one)

    @rule(backwards=st.booleans())
    def let_all_pass(self, backwards: bool) -> None:
        held, self.held = self.held, []
        for one in reversed(held) if backwards else held:
            self.deliver(*one)
        self.collect(0.005)

    @rule()
    def drop_all(self) -> None:
        self.held.clear()

    @precondition(lambda self: self.held)
    @rule(index=indices, at=st.integers(0, 1500), change=st.integers(1, 255))
    def flip(self, index: int, at: int, change: int) -> None:
        to, datagram = self.held[index % len(self.held)]
        wire = bytearray(datagram)
        wire[at % len(wire)] ^= change
        self.deliver(to, bytes(wire))

    @precondition(lambda self: self.held)
    @rule(index=indices, length=st.integers(0, 1500))
    def truncate(self, index: int, length: int) -> None:
        to, datagram = self.held.pop(index % len(self.held))
        self.deliver(to, datagram[: length % len(datagram)])

    @precondition(lambda self: self.seen)
    @rule(index=st.integers(0, 200), to_sender=st.booleans())
    def replay(self, index: int, to_sender: bool) -> None:
        to, datagram = self.seen[-1 - index % len(self.seen)]
        self.deliver(1 - to if to_sender else to, datagram)

    @rule(end=ends, datagram=st.binary(max_size=200))
    def inject(self, end: int, datagram: bytes) -> None:
        self.deliver(end, datagram)

    # -- what must hold

    @invariant()
    def nothing_wrong_is_heard(self) -> None:
        if not hasattr(self, "wires"):
            return
        for end, wire in enumerate(self.wires):
            wire.listen()
            assert set(wire.heard) <= set(self.wires[1 - end].said), "a packet nobody said"
            assert len(set(wire.heard)) == len(wire.heard), "a packet came twice"
            drops = dict(wire.side.plane.drops)
            assert all(drops[name] >= count for name, count in self.drops[end].items())
            self.drops[end] = drops

    def teardown(self) -> None:
        if not hasattr(self, "stack"):
            return
        with self.stack:
            self.new_session()
            for end in (0, 1):
                self.say(end, 100)
                packet = self.wires[end].said[-1]
                wait_for(
                    lambda end=end, packet=packet: self.passes(1 - end, packet), "a packet after the peace"
                )
            self.nothing_wrong_is_heard()

    def passes(self, to: int, packet: bytes) -> bool:
        self.let_all_pass(backwards=False)
        self.wires[to].listen()
        return packet in self.wires[to].heard


Adversary.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
TestAdversary = Adversary.TestCase
