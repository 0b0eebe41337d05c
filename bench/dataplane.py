"""How fast the C data plane is alone, with keys made up: the trials of `make bench` between two bare planes.

    python bench/dataplane.py [--seconds 5] [--only "TCP, one stream"] [--features N] [--aead N] [--workers N]

Prints a line per run, then medians. What is compared with wireguard-go is the whole program: bench/run.py.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "netns-tests"))

from lab import PAGE_SIZE, Namespace, cpu_seconds, two_hosts
from planes import ADDRESSES, Plane, planes
from report import human
from trials import TRIALS, Effort, Figures


@dataclass(frozen=True)
class Bare:
    """A plane as the trials see a peer, and its process."""

    plane: Plane
    address4: str

    @property
    def process(self) -> "Bare":
        return self

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.plane.pid)

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.plane.pid}/statm").read_text().split()[1]) * PAGE_SIZE


@dataclass(frozen=True)
class BareTunnel:
    """What the trials ask of a tunnel."""

    h1: Namespace
    h2: Namespace
    subject: Bare
    other: Bare


def main() -> None:
    options = arguments()
    effort = replace(Effort(), seconds=options.seconds, memory_seconds=options.seconds)
    results: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(options.rounds):
        for trial in options.only or ["TCP, one stream", "UDP, 64 bytes", "flood ping"]:
            figures = run_trial(trial, effort, options.features, options.aead, options.workers)
            shown = ", ".join(f"{name} {human(value)}" for name, value in figures.items())
            print(f"{number + 1}/{options.rounds} {trial:18} {shown}", flush=True)
            for name, value in figures.items():
                results[trial, name].append(value)
    for (trial, name), values in results.items():
        print(f"{trial + ', ' + name:48} median {human(statistics.median(values))}")


def run_trial(trial: str, effort: Effort, *words: str) -> Figures:
    """One trial between two fresh planes; `words` are static_plane.py's options."""
    with two_hosts() as (h1, h2), planes(h1, h2, options=words) as (a, b):
        h1.run("ping", "-c", "2", "-i", "0.2", "-W", "3", ADDRESSES[1])
        return TRIALS[trial](BareTunnel(h1, h2, Bare(a, ADDRESSES[0]), Bare(b, ADDRESSES[1])), effort)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="the C data plane alone")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=list(TRIALS), help="may repeat")
    parser.add_argument("--features", default="0x7f")
    parser.add_argument("--aead", default="0")
    parser.add_argument("--workers", default="1")
    return parser.parse_args()


if __name__ == "__main__":
    main()
