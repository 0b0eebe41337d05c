"""One random story of two strict ends on a bad network, from one seed; the same seed tells the same story.

The story ends with the network whole. Then numbered packets must flow both ways within HEAL, and at no time
may one have left or been accepted under a key that is not post-quantum.
"""

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from support.hybrid_world import Conversation, HybridHost, Rosenpass, hybrid_pair
from support.world import OTHER, Link

from wgpy.constants import MILLISECOND
from wgpy.model import SECOND

HEAL = 15 * SECOND
YEAR = 365 * 86_400 * SECOND


@dataclass
class Story:
    """What happened, for the one line that a failing seed prints."""

    seed: int
    events: list[str] = field(default_factory=list)
    healed: int = 0  # ns from the network being whole until both directions deliver


class Teller:
    """Draws the events of one story and plays them."""

    def __init__(self, seed: int) -> None:
        self.story = Story(seed)
        self.draw = random.Random(seed)
        self.world, self.a, self.b = hybrid_pair(seed)
        self.talk = Conversation(
            self.world, self.a, self.b, every=self.draw.choice((300, 1000)) * MILLISECOND
        )

    def tell(self) -> Story:
        self._bad_network()
        first, second = self.draw.sample((self.a, self.b), 2)
        first.start(self._other(first))
        self._pass_time(0, 5 * SECOND)
        second.start(self._other(second))
        self.talk.start()
        for _ in range(self.draw.randrange(1, 4)):
            self._pass_time(0, 20 * SECOND)
            self.draw.choice(self._faults())()
        self._pass_time(0, 10 * SECOND)
        self._heal()
        return self.story

    def _faults(self) -> list[Callable[[], None]]:
        return [
            self._bad_network,
            self._cut,
            self._restart,
            self._clock_step,
            self._renew,
            self._both_initiate,
            self._old_state,
            self._new_key_files,
            self._wait_for_rotation,
        ]

    def _other(self, host: HybridHost) -> HybridHost:
        return self.b if host is self.a else self.a

    def _some(self) -> HybridHost:
        return self.draw.choice((self.a, self.b))

    def _note(self, text: str) -> None:
        self.story.events.append(f"{self.world.now // MILLISECOND}ms {text}")

    def _pass_time(self, least: int, most: int) -> None:
        self.world.run(self.draw.randrange(least, most))

    # -- faults

    def _bad_network(self) -> None:
        self.world.link = Link(
            delay=self.draw.randrange(1, 100) * MILLISECOND,
            jitter=self.draw.choice((0, 20, 300)) * MILLISECOND,
            loss=self.draw.choice((0, 0.05, 0.2, 0.5)),
            duplication=self.draw.choice((0, 0.1, 0.5)),
        )
        self._note(f"{self.world.link}")

    def _cut(self) -> None:
        length = self.draw.choice((1, 20, 100, 200, 600)) * SECOND
        self._note(f"cut for {length // SECOND}s")
        self.world.link.is_cut = True
        self.world.run(length)
        self.world.link.is_cut = False

    def _restart(self) -> None:
        host = self._some()
        self._note(f"restart {host.name}")
        host.restart(self._other(host))

    def _clock_step(self) -> None:
        host, step = self._some(), self.draw.choice((YEAR, -YEAR))
        self._note(f"clock of {host.name} by {step // SECOND}s")
        host.wall_offset += step

    def _renew(self) -> None:
        host = self._some()
        self._note(f"{host.name} renews")
        host.server.initiate(host.peer_id, host.now)
        host.settle()

    def _both_initiate(self) -> None:
        self._note("both renew")
        for host in (self.a, self.b):
            host.server.initiate(host.peer_id, host.now)
            host.settle()

    def _old_state(self) -> None:
        host = self._some()
        ring = copy.deepcopy(host.tunnel.peer(OTHER).ring)
        self._pass_time(5 * SECOND, 200 * SECOND)
        self._note(f"{host.name} falls back to its ring of a while ago")
        host.fall_back(ring)

    def _new_key_files(self) -> None:
        host = self._some()
        other = self._other(host)
        self._note(f"new Rosenpass keys of {host.name}")
        host.static = Rosenpass(*host.kems.static[188].keypair())
        host.restart(other)
        self._pass_time(0, 30 * SECOND)
        self._note(f"{other.name} learns them")
        other.restart(host)

    def _wait_for_rotation(self) -> None:
        self._note("quiet")
        self._pass_time(100 * SECOND, 150 * SECOND)

    # -- the end

    def _heal(self) -> None:
        self._note("whole")
        self.world.link = Link()
        world, start, said = self.world, self.world.now, self.talk.sent
        world.run_until(lambda: all(host.newest > said for host in (self.a, self.b)), HEAL)
        self.story.healed = world.now - start
        for host in (self.a, self.b):
            assert not host.leaks, f"{host.name}: user packets under {host.leaks[:3]}"


def tell(seed: int) -> Story:
    """Play the story of this seed; raises AssertionError with its events where it ends badly."""
    teller = Teller(seed)
    try:
        return teller.tell()
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}; " + "; ".join(teller.story.events)) from error
