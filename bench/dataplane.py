"""How fast the data plane is beside wireguard-go: two namespaces, alternating runs of iperf3 in one session.

    python bench/dataplane.py [--seconds 5] [--rounds 3] [--go PATH] [--only tcp,udp64,ping] [--features N]

Prints a line per run, then medians, ratios and CPU seconds per GB. Needs root, iperf3, wg.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "netns-tests"))

from lab import Namespace, cpu_seconds, join, wait_until

HERE = Path(__file__).parent
INNER = "10.0.0.2"
TRIALS = {
    "tcp": ["-t"],
    "tcp4": ["-P", "4", "-t"],
    "both": ["--bidir", "-t"],
    "udp64": ["-u", "-b", "0", "-l", "64", "-t"],
    "udp1392": ["-u", "-b", "0", "-l", "1392", "-t"],
}


@contextmanager
def static_planes(left: Namespace, right: Namespace, arguments: list[str]) -> Iterator[list[int]]:
    ends = []
    for number, (here, other) in enumerate(((left, "10.99.0.2"), (right, "10.99.0.1"))):
        words = [sys.executable, str(HERE / "static_plane.py"), "wg0", str(number), other, *arguments]
        popen = subprocess.Popen(
            here.command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        ends.append(popen)
    indices = [end.stdout.readline().split()[1] for end in ends]
    for end, index in zip(ends, reversed(indices), strict=True):
        end.stdin.write(index + "\n")
        end.stdin.flush()
    said = [end.stdout.readline() for end in ends]
    print(said[0].strip())
    pids = [int(Path(f"/proc/{end.pid}/task/{end.pid}/children").read_text()) for end in ends]
    try:
        yield pids
    finally:
        for end in ends:
            end.stdin.close()
            print("   ", end.stdout.read().strip().replace("\n", "\n    "))
            end.wait(10)


@contextmanager
def wireguard_go(left: Namespace, right: Namespace, program: str) -> Iterator[list[int]]:
    keys = [subprocess.run(["wg", "genkey"], capture_output=True, text=True, check=True).stdout for _ in "12"]
    public = [
        subprocess.run(["wg", "pubkey"], input=key, capture_output=True, text=True, check=True).stdout.strip()
        for key in keys
    ]
    daemons = []
    with ExitStack() as stack:
        for number, here in enumerate((left, right)):
            daemon = here.spawn(program, "-f", "wg0")
            stack.callback(daemon.stop)
            daemons.append(daemon)
            wait_until(lambda h=here: h.ok("wg", "show", "wg0"), 5, "wireguard-go")
            other = f"10.99.0.{2 - number}:51820"
            here.run(
                "sh", "-c",
                f"wg set wg0 listen-port 51820 private-key /dev/stdin peer {public[1 - number]} "
                f"endpoint {other} allowed-ips 10.0.0.0/24,fd00::/64",
                stdin=keys[number],
            )  # fmt: skip
            here.add_address("wg0", f"10.0.0.{number + 1}/24", f"fd00::{number + 1}/64")
            here.ip("link set wg0 mtu 1420 up")
        yield [daemon.pid for daemon in daemons]


def measure(
    left: Namespace, right: Namespace, pids: list[int], trial: str, seconds: int
) -> tuple[float, float]:
    """Return Gbit/s delivered (packets per second for udp64, mean ms for ping) and CPU seconds per GB."""
    left.run("ping", "-c", "2", "-i", "0.2", "-W", "3", INNER)
    before = sum(cpu_seconds(pid) for pid in pids)
    if trial == "ping":
        out = left.run("ping", "-q", "-f", "-c", "20000", INNER, timeout=120)
        return float(out.split(" = ")[1].split("/")[1]), 0.0
    server = right.spawn("iperf3", "-s", "-1")
    wait_until(lambda: right.ok("sh", "-c", "ss -Hlnt 'sport = :5201' | grep -q ."), 5, "iperf3")
    out = left.run("iperf3", "-J", "-c", INNER, *TRIALS[trial], str(seconds), timeout=seconds + 30)
    server.wait(10)
    used = sum(cpu_seconds(pid) for pid in pids) - before
    end = json.loads(out)["end"]
    if trial.startswith("udp"):
        total = end["sum"]
        share = 1 - total["lost_percent"] / 100
        bits = total["bits_per_second"] * share
        rate = total["packets"] * share / total["seconds"] if trial == "udp64" else bits / 1e9
        return rate, used / (bits * total["seconds"] / 8e9)
    bits = end["sum_received"]["bits_per_second"] + end.get("sum_received_bidir_reverse", {}).get(
        "bits_per_second", 0
    )
    return bits / 1e9, used / (bits * end["sum_received"]["seconds"] / 8e9)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--go", default=None)
    parser.add_argument("--only", default="tcp,udp64,ping")
    parser.add_argument("--features", default="0x7f")
    parser.add_argument("--aead", default="0")
    options = parser.parse_args()
    results = defaultdict(list)
    for _ in range(options.rounds):
        for name in ["wgpy", *(["go"] if options.go else [])]:
            with Namespace("a") as left, Namespace("b") as right:
                join(left, right)
                tunnel = (
                    static_planes(left, right, [options.features, options.aead])
                    if name == "wgpy"
                    else wireguard_go(left, right, options.go)
                )
                with tunnel as pids:
                    for trial in options.only.split(","):
                        value, cpu = measure(left, right, pids, trial, options.seconds)
                        results[trial, name].append((value, cpu))
                        print(f"{trial:8} {name:5} {value:12.3f}  cpu/GB {cpu:.3f}", flush=True)
    for (trial, name), values in sorted(results.items()):
        value, cpu = (statistics.median(column) for column in zip(*values, strict=True))
        line = f"{trial:8} {name:5} median {value:12.3f}  cpu/GB {cpu:.3f}"
        if name == "wgpy" and (trial, "go") in results:
            other = [statistics.median(column) for column in zip(*results[trial, "go"], strict=True)]
            line += f"  ratio {value / other[0]:.2f}  cpu ratio {cpu / other[1] if other[1] else 0:.2f}"
        print(line)


main()
