"""wgpy beside the newest wireguard-go: the same namespaces, the same minute, in turns.

    python bench/run.py [--quick] [--rounds 3] [--only "TCP, one stream"] [--contestants wgpy,wireguard-go]

A pair is one run of each, one after the other; the ratio is taken per pair, and the medians of figures and
ratios are printed and written to bench/out/. Only ratios travel: absolute figures of a small virtual machine
drift by a third from hour to hour. A pair during which others used the machine is repeated, and left out if
that does not help; a trial with more than a third of its pairs left out ends without figures
(--even-if-disturbed reports all the same, and says so).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "netns-tests"))

from foreign import TOLERATED, ForeignLoad  # noqa: E402
from trials import QUICK, TRIALS, Effort, Figures  # noqa: E402
from tunnel import tunnel  # noqa: E402
from wgpeer import by_name  # noqa: E402

REPEATS = 2  # of a disturbed pair
Results = dict[tuple[str, str], dict[str, list[float]]]  # (trial, figure) -> contestant -> one per round


def main() -> int:
    options = arguments()
    effort = QUICK if options.quick else Effort()
    if options.seconds:
        effort = replace(effort, seconds=options.seconds)
    contestants = options.contestants.split(",") if options.contestants else usual(options.quick)
    for name in contestants:
        if missing := by_name(name).missing():
            print(f"bench: {name} is not there: {missing}", file=sys.stderr)
            return 1
    results: Results = defaultdict(lambda: defaultdict(list))
    foreign: list[float] = []
    for trial, pairs in measure(contestants, options.only or list(TRIALS), effort, options.rounds).items():
        clean = [pair for pair in pairs if pair.foreign <= TOLERATED]
        if options.even_if_disturbed:
            clean = pairs
        elif len(clean) * 3 < len(pairs) * 2:
            left_out = f"others used the machine in {len(pairs) - len(clean)} of {len(pairs)} pairs"
            remedy = "try again in a quieter hour, or with --even-if-disturbed"
            print(f"bench: {trial}: {left_out}, so no figures; {remedy}", file=sys.stderr)
            return 1
        foreign += [pair.foreign for pair in clean]
        for pair in clean:
            for name, figures in pair.figures.items():
                for figure, value in figures.items():
                    results[trial, figure][name].append(value)
    about = machine() | {"foreign load": f"at most {max(foreign):.2f} cores in the pairs that count"}
    print("\n" + table(results, contestants, about))
    write(results, contestants, about | {"effort": asdict(effort), "rounds": options.rounds})
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="wgpy beside wireguard-go, in turns")
    parser.add_argument("--quick", action="store_true", help="about two minutes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, help="per iperf3 run")
    parser.add_argument("--only", action="append", choices=list(TRIALS), help="may repeat")
    parser.add_argument("--contestants", help="default: all there are; --quick: two")
    parser.add_argument("--even-if-disturbed", action="store_true")
    return parser.parse_args()


def usual(quick: bool) -> list[str]:
    """Who runs when nobody is named."""
    third = [] if quick or by_name("boringtun").missing() else ["boringtun"]
    return ["wgpy", "wireguard-go", *third]


@dataclass(frozen=True)
class Pair:
    """One run of each contestant, one after the other."""

    figures: dict[str, Figures]
    foreign: float  # cores that others kept busy, in the worse of the runs


def measure(contestants: list[str], trials: list[str], effort: Effort, rounds: int) -> dict[str, list[Pair]]:
    """All rounds of all trials; who begins changes from round to round."""
    pairs: dict[str, list[Pair]] = {trial: [] for trial in trials}
    for number in range(rounds):
        for trial in trials:
            pair = run_pair(contestants if number % 2 == 0 else contestants[::-1], trial, effort)
            pairs[trial].append(pair)
            for name, figures in pair.figures.items():
                shown = ", ".join(f"{key} {human(value)}" for key, value in list(figures.items())[:2])
                noise = " (disturbed)" if pair.foreign > TOLERATED else ""
                print(f"{number + 1}/{rounds} {trial:24} {name:14} {shown}{noise}", flush=True)
    return pairs


def run_pair(order: list[str], trial: str, effort: Effort) -> Pair:
    """Each in a fresh tunnel; repeated while others use the machine, the quietest attempt counts."""
    attempts: list[Pair] = []
    while len(attempts) <= REPEATS and not (attempts and attempts[-1].foreign <= TOLERATED):
        figures, foreign = {}, 0.0
        for name in order:
            kind = by_name(name)
            with tunnel(kind, subject=kind) as made:
                made.subject.ping(made.other.address4)
                with ForeignLoad() as load:
                    figures[name] = TRIALS[trial](made, effort)
            foreign = max(foreign, load.cores)
        attempts.append(Pair(figures, foreign))
    return min(attempts, key=lambda attempt: attempt.foreign)


def human(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def table(results: Results, contestants: list[str], about: dict[str, str]) -> str:
    """Least, median and greatest of each, and what the first contestant has of the others."""
    ours, others = contestants[0], contestants[1:]
    lines = [f"{key}: {value}" for key, value in about.items()]
    head = "".join(f"{name + ': least, median, most':>36}" for name in contestants)
    lines += ["", f"{'':48}{head}" + "".join(f"{'of ' + name:>20}   of each pair" for name in others)]
    for (trial, figure), values in results.items():
        cells = "".join(f"{spread(values[name]):>36}" for name in contestants)
        for other in others:
            pairs = ratios(values[ours], values[other])
            cells += f"{statistics.median(pairs):20.2f}   {min(pairs):.2f}-{max(pairs):.2f} " if pairs else ""
        lines.append(f"{trial + ', ' + figure:48}{cells}".rstrip())
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    return "  ".join(human(value) for value in (min(values), statistics.median(values), max(values)))


def ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [mine / other for mine, other in zip(ours, theirs, strict=True) if other]


def machine() -> dict[str, str]:
    """What a figure means nothing without."""
    processor = "unknown"
    with suppress(StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": f"{processor}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "wgpy": said("git", "describe", "--always", "--dirty", "--tags"),
        "wireguard-go": wireguard_go_version(),
        "iperf3": said("iperf3", "--version").split("\n", 1)[0],
    }


def wireguard_go_version() -> str:
    module = (HERE.parent / "netns-tests/peers/wireguard-go/go.mod").read_text()
    return next(line.split()[-1] for line in module.splitlines() if "golang.zx2c4.com/wireguard " in line)


def said(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True, cwd=HERE).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write(results: Results, contestants: list[str], about: dict[str, object]) -> None:
    """bench/out/run-DATE.json with every single value."""
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    path = out / time.strftime("run-%Y%m%d-%H%M%S.json", time.gmtime())
    rows = [
        {"trial": trial, "figure": figure, "values": dict(values)}
        for (trial, figure), values in results.items()
    ]
    path.write_text(
        json.dumps({"about": about, "contestants": contestants, "results": rows}, indent=1) + "\n"
    )
    print(f"\nwritten: {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    sys.exit(main())
