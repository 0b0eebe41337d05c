"""A hub and its many light peers, see light_peers.py: what the tests of both share."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hybrid import End, Far, key_pair, program
from lab import PROJECT, Namespace, Process, wait_until
from wgpeer import PORT, Keys


def address(number: int) -> str:
    """Of a light peer, inside the tunnel."""
    return f"10.20.{number >> 8}.{number & 255}"


@dataclass
class Hub:
    """`end` is up; `peers` wait for "go"."""

    end: End
    peers: Process

    def tell(self, word: str) -> None:
        """Say one word to the peers and wait until it is done."""
        before = self.peers.output().count(word)
        self.peers.tell(f"{word}\n".encode())
        wait_until(lambda: self.peers.output().count(word) > before, 60, f"the peers to {word}")

    def count_yes(self) -> int:
        return sum(peer["quantum"]["state"] == "yes" for peer in self.end.state().get("peers", []))


def hub_and_peers(
    hosts: tuple[Namespace, Namespace], directory: Path, count: int, environment: Mapping[str, str]
) -> Hub:
    """A strict hub on the first host, so many light peers on the second."""
    h1, h2 = hosts
    with ThreadPoolExecutor(2) as pool:
        pairs = list(pool.map(key_pair, range(1, count + 2)))
    hub = End(h1, 1, directory / "hub", pair=pairs[0], environment=environment)
    keys = [Keys.generate() for _ in range(count)]
    hub.peers = [
        Far(one, (f"{address(number)}/32",), rosenpass=pairs[number + 1] / "pqpk")
        for number, one in enumerate(keys)
    ]
    story = {
        "hub": ["10.99.0.1", PORT],
        "inside": hub.address4,
        "public_key": hub.keys.public,
        "rosenpass": str(pairs[0] / "pqpk"),
        "peers": [
            {"private_key": one.private, "pair": str(pairs[number + 1]), "inside": address(number)}
            for number, one in enumerate(keys)
        ],
    }
    (directory / "story.json").write_text(json.dumps(story))
    hub.up()
    environment = {"PYTHONPATH": f"{PROJECT}", **environment}
    peers = h2.spawn(*program("light_peers.py"), directory / "story.json", env=environment, stdin=-1)
    wait_until(lambda: "ready" in peers.output(), 60, lambda: f"the peers to be ready: {peers.output()}")
    return Hub(hub, peers)
