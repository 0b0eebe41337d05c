"""Two strict devices and an adversary on the wire between them, who does what he likes in any order.

Whatever he does: nothing raises, no packet arrives that was not said or arrives twice, no key seals two
messages with one nonce, counters rise one by one, no user packet leaves or is taken under a key that is not
post-quantum; and when he goes, traffic flows both ways within 15 s. A failure is printed as the shortest
story.

WGPY_ADVERSARY_EXAMPLES=2000 tells as many stories (40).
"""

import os
from ipaddress import IPv4Address

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.hostile_world import Held, HostileWorld, Speech, cut, damaged
from support.world import EPOCH

from wgpy.constants import MILLISECOND
from wgpy.model import SECOND, Endpoint, SocketAddress

EXAMPLES = int(os.environ.get("WGPY_ADVERSARY_EXAMPLES", "40"))
ELSEWHERE = Endpoint(SocketAddress(IPv4Address("203.0.113.9"), 4444))
ends = st.sampled_from("ab")
indices = st.integers(0, 30)
positions = st.integers(0, 200)


class Adversary(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 1000), is_late=st.booleans())
    def begin(self, seed: int, is_late: bool) -> None:
        """He comes at the beginning, or when the ends have talked for a while."""
        self.world = HostileWorld(seed)
        self.speech = Speech(self.world)
        if is_late:
            self.world.flow(2 * SECOND)

    def held(self, index: int) -> Held:
        return self.world.held[index % len(self.world.held)]

    def seen(self, index: int) -> Held:
        """The newest is 0."""
        return self.world.seen[-1 - index % len(self.world.seen)]

    # -- what the ends do

    @rule(end=ends)
    def say(self, end: str) -> None:
        self.speech.say(self.world.named(end))

    @rule(milliseconds=st.sampled_from((10, 250, 1000, 5200, 20_000, 125_000, 200_000)))
    def time_passes(self, milliseconds: int) -> None:
        self.world.run(milliseconds * MILLISECOND)

    @rule(end=ends)
    def restart(self, end: str) -> None:
        host = self.world.named(end)
        host.wall_offset = max(host.wall_offset, EPOCH)
        host.restart(self.world.other(host))

    @rule(end=ends)
    def renew(self, end: str) -> None:
        host = self.world.named(end)
        host.server.initiate(host.peer_id, host.now)
        host.settle()

    @rule(end=ends, is_loaded=st.booleans())
    def load(self, end: str, is_loaded: bool) -> None:
        self.world.named(end).dataplane.is_under_load = is_loaded

    # -- what the adversary does

    @precondition(lambda self: self.world.held)
    @rule(index=indices)
    def let_pass(self, index: int) -> None:
        held = self.held(index)
        self.world.held.remove(held)
        self.world.deliver(held)

    @rule(rounds=st.integers(1, 6))
    def let_all_pass(self, rounds: int) -> None:
        for _ in range(rounds):
            held, self.world.held = self.world.held, []
            for one in held:
                self.world.deliver(one)

    @rule(end=ends, seconds=st.sampled_from((1, 3, 130)))
    def sleep(self, end: str, seconds: int) -> None:
        """Everything passes, and the ends talk."""
        self.speech.say(self.world.named(end))
        self.world.flow(seconds * SECOND)

    @rule(count=st.integers(2, 5), end=ends)
    def say_much(self, count: int, end: str) -> None:
        for _ in range(count):
            self.speech.say(self.world.named(end))

    @rule()
    def let_all_pass_backwards(self) -> None:
        held, self.world.held = self.world.held, []
        for one in reversed(held):
            self.world.deliver(one)

    @precondition(lambda self: self.world.held)
    @rule(index=indices)
    def drop(self, index: int) -> None:
        self.world.held.remove(self.held(index))

    @rule()
    def drop_all(self) -> None:
        self.world.held.clear()

    @precondition(lambda self: self.world.held)
    @rule(index=indices)
    def copy(self, index: int) -> None:
        self.world.deliver(self.held(index))  # and it stays in hand

    @precondition(lambda self: self.world.held)
    @rule(
        index=indices,
        at=positions,
        change=st.integers(1, 255),
        with_mac1=st.booleans(),
        instead=st.booleans(),
    )
    def flip(self, index: int, at: int, change: int, with_mac1: bool, instead: bool) -> None:
        held = self.held(index)
        if instead:
            self.world.held.remove(held)
        self.world.deliver(damaged(held, at, change, self.world, with_mac1))

    @precondition(lambda self: self.world.held)
    @rule(index=indices, length=positions)
    def truncate(self, index: int, length: int) -> None:
        held = self.held(index)
        self.world.held.remove(held)
        self.world.deliver(cut(held, length))

    @precondition(lambda self: self.world.seen)
    @rule(index=st.integers(0, 200))
    def replay(self, index: int) -> None:
        self.world.deliver(self.seen(index))

    @precondition(lambda self: self.world.seen)
    @rule(index=st.integers(0, 200))
    def reflect(self, index: int) -> None:
        held = self.seen(index)
        self.world.deliver(Held(held.receiver, held.sender, held.datagram))

    @rule(end=ends, datagram=st.binary(max_size=200))
    def inject(self, end: str, datagram: bytes) -> None:
        other = self.world.other(self.world.named(end))
        self.world.deliver(Held(other.name, end, datagram))

    @precondition(lambda self: any(held.receiver == "b" for held in self.world.held))
    @rule(index=indices)
    def send_on_from_elsewhere(self, index: int) -> None:
        """He may move one end's idea of the other; moving both is a wire that he cut for good."""
        held = [one for one in self.world.held if one.receiver == "b"]
        one = held[index % len(held)]
        self.world.held.remove(one)
        self.world.deliver(one, ELSEWHERE)

    # -- what must hold

    @invariant()
    def nothing_wrong_is_delivered(self) -> None:
        if hasattr(self, "speech"):
            self.speech.check()

    def teardown(self) -> None:
        if not hasattr(self, "speech"):
            return
        for host in self.world.ends:
            host.dataplane.is_under_load = False
        self.world.peace()
        self.speech.heals()
        self.speech.check()


Adversary.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
TestAdversary = Adversary.TestCase


def test_an_adversary_who_lets_all_pass_is_a_wire() -> None:
    world = HostileWorld(1)
    speech = Speech(world)
    for _ in range(300):
        for host in world.ends:
            speech.say(host)
        for _ in range(8):
            held, world.held = world.held, []
            for one in held:
                world.deliver(one)
        world.run(SECOND)
    assert all(len(host.delivered) >= 299 for host in world.ends)
    speech.check()
