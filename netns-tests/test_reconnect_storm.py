"""Five hundred peers have a session within three seconds of the hub's restart, whoever of the two begins.

    h1: hub 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2:20000 to 20499 ═ 500 light peers: h2

Both share the two processors; a peer's part of a handshake costs about what the hub's costs. Where others use
them too, a restart that was too slow is made anew, twice at most, and the test's summary says so.
WGPY_STORM_RESTARTS=5 makes as many and judges their median: `make bench-peers`.
"""

import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import PROJECT, Namespace, Process, two_hosts, wait_until
from wgpeer import PORT, Keys, WgpyPeer

COUNT = 500
WITHIN_S = 3.0
FIRST_PORT = 20000
RESTARTS = int(os.environ.get("WGPY_STORM_RESTARTS", "0"))


class Storm:
    def __init__(self, h1: Namespace, h2: Namespace, directory: Path, *, hub_calls: bool) -> None:
        self.hub = WgpyPeer(h1, ("10.7.0.1/16",))
        self.keys = [Keys.generate() for _ in range(COUNT)]
        self.hub_calls = hub_calls
        story = {
            "hub": ["10.99.0.1", PORT],
            "public_key": self.hub.keys.public,
            "port": FIRST_PORT,
            "private_keys": [one.private for one in self.keys],
        }
        (directory / "story.json").write_text(json.dumps(story))
        program = (sys.executable, str(Path(__file__).with_name("storm_peers.py")), directory / "story.json")
        self.peers: Process = h2.spawn(*program, env={"PYTHONPATH": str(PROJECT)}, stdin=-1)
        wait_until(lambda: "ready" in self.peers.output(), 30, lambda: f"the peers: {self.peers.output()}")

    def start_hub(self) -> None:
        """As Peer.start, with all peers in one configuration."""
        hub = self.hub
        hub.process = hub.host.spawn(*hub.command(), env={"LOG_LEVEL": "error"})
        wait_until(lambda: hub.host.ok("wg", "show", "wg0"), 10, "the hub")
        text = f"[Interface]\nPrivateKey = {hub.keys.private}\nListenPort = {PORT}\n"
        for number, one in enumerate(self.keys):
            text += f"[Peer]\nPublicKey = {one.public}\nAllowedIPs = 10.8.{number >> 8}.{number & 255}/32\n"
            if self.hub_calls:
                text += f"Endpoint = 10.99.0.2:{FIRST_PORT + number}\nPersistentKeepalive = 25\n"
        hub.host.run("wg", "setconf", "wg0", "/dev/stdin", stdin=text)
        hub.host.add_address("wg0", *hub.addresses)
        hub.host.ip("link set dev wg0 up")
        wait_until(lambda: hub.host.run("ss", "-Hlnu", f"sport = :{PORT}"), 5, "the hub's socket")

    def restart(self) -> float:
        """Kill the hub and start it again; seconds from typing `wgpyd` until all are back."""
        assert self.hub.process is not None
        self.hub.process.kill()
        wait_until(lambda: not self.hub.host.ok("ip", "link", "show", "wg0"), 5, "the interface to go")
        self.peers.tell(b"count anew\n")
        begun = time.monotonic()
        self.start_hub()
        running = time.monotonic()
        self.call()
        took = self.all_have_sessions(15) - begun
        print(f"restarted in {running - begun:.2f} s, all {COUNT} back {took:.2f} s after the restart")
        return took

    def call(self) -> None:
        if not self.hub_calls:
            self.peers.tell(b"call\n")

    def all_have_sessions(self, within: float) -> float:
        """When the last one had."""
        wait_until(lambda: self.said()[1] == COUNT, within, lambda: f"{COUNT} sessions, not {self.said()}")
        return self.said()[0]

    def said(self) -> tuple[float, int]:
        moment, _, count = self.peers.output().splitlines()[-1].partition(" ")
        return (float(moment), int(count)) if count else (0.0, 0)


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Namespace, Namespace]]:
    with two_hosts() as (h1, h2):
        yield h1, h2


@pytest.mark.alone
@pytest.mark.parametrize("hub_calls", [True, False], ids=["the hub calls", "the peers call"])
def test_five_hundred_peers_are_back_within_three_seconds(
    hosts: tuple[Namespace, Namespace], tmp_path: Path, hub_calls: bool
) -> None:
    storm = Storm(*hosts, tmp_path, hub_calls=hub_calls)
    try:
        storm.start_hub()
        storm.call()
        storm.all_have_sessions(15)
        if RESTARTS:
            took = [storm.restart() for _ in range(RESTARTS)]
            print(f"least {min(took):.2f} s, median {statistics.median(took):.2f} s, most {max(took):.2f} s")
            assert statistics.median(took) < WITHIN_S
            return
        took = [storm.restart()]
        while min(took) >= WITHIN_S and len(took) < 3:
            took.append(storm.restart())
            warnings.warn(f"not the first restart counts, but the quickest of {took}", stacklevel=1)
        assert min(took) < WITHIN_S
    finally:
        storm.peers.kill()
        storm.hub.stop()
