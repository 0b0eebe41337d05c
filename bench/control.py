"""What the Rosenpass exchange takes from the data beside it: throughput, round trip and the longest gap.

    python bench/control.py [--rounds 3] [--peers 30] [--seconds 5]

A hub carries one busy tunnel and renews the keys of thirty light peers every five seconds: some 200 exchanges
a minute (in earnest each peer's would come every two minutes; a third of these keep to that, being the ends
that begin). Runs with and without the exchanges alternate, each with a fresh hub; the light peers' own part
is done by the same processors, at low priority, and counts against us. A gap is a round trip: it holds what
the processors, shared by both ends and both ping and iperf3, make a packet wait, with exchanges or without.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "netns-tests"))

from foreign import TOLERATED, ForeignLoad  # noqa: E402
from hybrid import End, Far, key_pair, program  # noqa: E402
from lab import PROJECT, Namespace, Process, two_hosts, wait_until  # noqa: E402
from report import machine, results, table, write  # noqa: E402
from trials import iperf3  # noqa: E402
from wgpeer import PORT, Keys  # noqa: E402

WITH, WITHOUT = "with exchanges", "idle"
TURNS = (WITH, WITHOUT)
PING_EVERY_S = 0.002
RENEWAL_S = 5.0  # and up to a quarter less
RENEWAL = {
    "WGPY_ROSENPASS_TIMERS": f"rekey_after_responder={RENEWAL_S},rekey_after_initiator={RENEWAL_S},overdue=60"
}


class Hub:
    """The hub on h1, its busy peer on h2, and a configuration that knows the light ones."""

    def __init__(self, h1: Namespace, h2: Namespace, directory: Path, count: int) -> None:
        self.h1, self.h2, self.directory = h1, h2, directory
        with ThreadPoolExecutor(2) as pool:
            self.pairs = list(pool.map(key_pair, range(1, count + 2)))
        self.hub = End(h1, 1, directory / "hub", pair=self.pairs[0], environment=RENEWAL)
        self.busy = End(h2, 2, directory / "busy", policy="off")
        self.busy.extra = "Table = auto"
        self.keys = [Keys.generate() for _ in range(count)]
        self.busy.peers = [Far(self.hub.keys, (f"{self.hub.address4}/32",), f"10.99.0.1:{PORT}")]
        light = [
            Far(one, (f"10.20.0.{number + 1}/32",), rosenpass=self.pairs[number + 1] / "pqpk")
            for number, one in enumerate(self.keys)
        ]
        plain = Far(self.busy.keys, (f"{self.busy.address4}/32",), extra="RosenpassPolicy = off")
        self.hub.peers = [plain, *light]

    def up(self) -> None:
        self.hub.up()
        self.busy.up()
        wait_until(lambda: self.busy.reaches(self.hub.address4), 10, "the hub to answer")

    def call_light_peers(self) -> Process:
        """Start them, and wait until all have a key."""
        story = {
            "hub": ["10.99.0.1", PORT],
            "inside": self.hub.address4,
            "public_key": self.hub.keys.public,
            "rosenpass": str(self.pairs[0] / "pqpk"),
            "peers": [
                {
                    "private_key": one.private,
                    "pair": str(self.pairs[number + 1]),
                    "inside": f"10.20.0.{number + 1}",
                }
                for number, one in enumerate(self.keys)
            ],
        }
        path = self.directory / "story.json"
        path.write_text(json.dumps(story))
        environment = {"PYTHONPATH": str(PROJECT)}
        peers = self.h2.spawn(
            "nice", "-n", 19, *program("light_peers.py"), path, env=environment, stdin=subprocess.PIPE
        )
        wait_until(lambda: "ready" in peers.output(), 60, lambda: peers.output())
        peers.tell(b"go\n")
        wait_until(self.all_resistant, 60, "the light peers to have keys")
        time.sleep(RENEWAL_S)
        return peers

    def all_resistant(self) -> bool:
        return all(peer["quantum"]["state"] == "yes" for peer in self.light())

    def light(self) -> list[dict]:
        return self.hub.state()["peers"][1:]


def exchanges_during(hub: Hub, action: Callable[[], dict[str, float]]) -> tuple[dict[str, float], float]:
    """What `action` returns, and how many keys a minute were renewed meanwhile."""
    renewed, ages = 0, [0] * len(hub.keys)
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(action)
        while not running.done():
            now = [peer["quantum"]["key_age_s"] or 0 for peer in hub.light()]
            renewed += sum(new < old for new, old in zip(now, ages, strict=True))
            ages = now
            time.sleep(1)
    return running.result(), renewed / (time.monotonic() - began) * 60


def figures(hub: Hub, seconds: int) -> dict[str, float]:
    """Towards the hub and back."""
    end = iperf3(hub.h2, hub.h1, hub.hub.address4, seconds)
    count = int(seconds / PING_EVERY_S)
    said = hub.h2.run("ping", "-q", "-i", PING_EVERY_S, "-c", count, hub.hub.address4, timeout=seconds * 3)
    _, mean, most = said.rsplit(" = ", 1)[1].split("/")[:3]
    lost = float(said.partition("% packet loss")[0].split()[-1])
    assert lost == 0, said
    return {
        "Gbit/s": end["sum_received"]["bits_per_second"] / 1e9,
        "round trip, mean us": float(mean) * 1000,
        "longest gap, ms": float(most),
    }


def measure(count: int, seconds: int, *, with_exchanges: bool) -> tuple[dict[str, float], float]:
    """A fresh hub each time: without light peers it has nobody to renew a key with."""
    with tempfile.TemporaryDirectory() as directory, two_hosts() as (h1, h2):
        hub = Hub(h1, h2, Path(directory), count)
        hub.up()
        if with_exchanges:
            hub.call_light_peers()
        with ForeignLoad() as load:
            measured, rate = exchanges_during(hub, lambda: figures(hub, seconds))
    return measured | {"exchanges a minute": rate}, load.cores


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=int, default=30)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    found, foreign = results(), [0.0]
    for number in range(options.rounds):
        for name in TURNS if number % 2 == 0 else TURNS[::-1]:
            measured, load = measure(options.peers, options.seconds, with_exchanges=name == WITH)
            foreign.append(load)
            noise = f"  (others used {load:.2f} cores)" if load > TOLERATED else ""
            shown = ", ".join(f"{key} {value:.3g}" for key, value in measured.items())
            print(f"{number + 1}/{options.rounds} {name:14} {shown}{noise}", flush=True)
            for key, value in measured.items():
                found["beside data", key][name].append(value)
    about = machine() | {"foreign load": f"at most {max(foreign):.2f} cores"}
    print("\n" + table(found, list(TURNS), about))
    write("control", found, list(TURNS), about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
