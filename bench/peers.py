"""Ten thousand peers: what configuring, asking, waiting and holding them costs, beside wireguard-go.

    python bench/peers.py [--peers 10000] [--rounds 3] [--contestants wgpy,wireguard-go]

Each peer has an endpoint and four allowed IPs, two of either version. Times are of whole commands as a person
types them; memory is resident, per peer, and what the program had before is taken off.
"""

import argparse
import base64
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "netns-tests"))

from foreign import TOLERATED, ForeignLoad  # noqa: E402
from lab import Namespace, two_hosts  # noqa: E402
from report import machine, results, table, write  # noqa: E402
from wgpeer import Peer, by_name, wgpy_program  # noqa: E402

TICK_SECONDS = 4
Figures = dict[str, float]


def configuration(private: str, count: int) -> str:
    """What `wg setconf` reads."""
    lines = [f"[Interface]\nPrivateKey = {private}\nListenPort = 51820\n"]
    for number in range(count):
        a, b = divmod(number, 250)
        addresses = (
            f"10.{a}.{b}.1/32",
            f"172.{16 + a // 16}.{a % 16 * 16}.{b}/32",
            f"fd00:{number:x}::/64",
            f"fd01::{number:x}/128",
        )
        lines.append(
            f"[Peer]\nPublicKey = {base64.b64encode(os.urandom(32)).decode()}\n"
            f"Endpoint = 10.99.0.2:{1024 + number}\nAllowedIPs = {', '.join(addresses)}\n"
        )
    return "".join(lines)


def timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def measure(host: Namespace, kind: type[Peer], text: str, count: int) -> Figures:
    peer = kind(host, ("10.0.0.1/8",))
    peer.start()
    process = peer.process
    assert process is not None
    empty = process.resident_bytes()
    figures: Figures = {"memory before, MiB": empty / 2**20}
    figures["wg setconf, s"] = timed(lambda: host.run("wg", "setconf", "wg0", "/dev/stdin", stdin=text))
    figures["memory per peer, bytes"] = (process.resident_bytes() - empty) / count
    shown: list[str] = []
    figures["wg show dump, s"] = timed(lambda: shown.append(host.run("wg", "show", "wg0", "dump")))
    assert len(shown[0].splitlines()) == count + 1, shown[0][:200]
    if kind.name == "wgpy":
        figures["status --json, s"] = timed(
            lambda: shown.append(host.run(str(wgpy_program("wgpy")), "status", "--json"))
        )
        assert len(json.loads(shown[1])["interfaces"][0]["peers"]) == count
    before = process.cpu_seconds()
    time.sleep(TICK_SECONDS)
    figures["processor while idle, ms/s"] = (process.cpu_seconds() - before) / TICK_SECONDS * 1000
    figures["wg setconf again, s"] = timed(lambda: host.run("wg", "setconf", "wg0", "/dev/stdin", stdin=text))
    figures["memory per peer after all, bytes"] = (process.resident_bytes() - empty) / count
    peer.stop()
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--peers", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestants", default="wgpy,wireguard-go")
    options = parser.parse_args()
    contestants = options.contestants.split(",")
    private = base64.b64encode(os.urandom(32)).decode()
    text = configuration(private, options.peers)
    found, foreign = results(), [0.0]
    for number in range(options.rounds):
        for name in contestants if number % 2 == 0 else contestants[::-1]:
            with two_hosts() as (host, _), ForeignLoad() as load:
                figures = measure(host, by_name(name), text, options.peers)
            foreign.append(load.cores)
            noise = f"  (others used {load.cores:.2f} cores)" if load.cores > TOLERATED else ""
            print(
                f"{number + 1}/{options.rounds} {name:14} {figures['wg setconf, s']:.2f} s{noise}", flush=True
            )
            for figure, value in figures.items():
                found[f"{options.peers} peers", figure][name].append(value)
    about = machine() | {"foreign load": f"at most {max(foreign):.2f} cores"}
    print("\n" + table(found, contestants, about))
    write("peers", found, contestants, about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
