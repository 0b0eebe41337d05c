"""wgpy beside the newest wireguard-go: the same namespaces, the same minute, in turns.

    python bench/run.py [--quick] [--rounds 3] [--only "TCP, one stream"] [--contestants wgpy,wireguard-go]

A pair is one run of each, one after the other; what is printed and kept in bench/out/ is said in report.py. A
pair during which others used the machine, or that failed, is repeated, and left out if that does not help. A
trial with more than a third of its pairs left out has no figures, and the exit status is 1
(--even-if-disturbed reports disturbed ones all the same, and says so).
"""

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "netns-tests"))

from foreign import TOLERATED, ForeignLoad  # noqa: E402
from lab import LabError  # noqa: E402
from report import human, machine, results, table, write  # noqa: E402
from trials import QUICK, TRIALS, Effort, Figures  # noqa: E402
from tunnel import tunnel  # noqa: E402
from wgpeer import Peer, by_name  # noqa: E402

REPEATS = 2  # of a disturbed pair
FAILED = float("inf")  # worse than any disturbance


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
    found, foreign, left_out = results(), [0.0], []
    rounds = options.rounds or (2 if options.quick else 3)
    for trial, pairs in measure(contestants, options.only or list(TRIALS), effort, rounds).items():
        limit = FAILED if options.even_if_disturbed else TOLERATED
        clean = [pair for pair in pairs if pair.foreign <= limit and pair.figures]
        if len(clean) * 3 < len(pairs) * 2:
            left_out.append(f"{trial}: {len(pairs) - len(clean)} of {len(pairs)} pairs disturbed or failed")
            continue
        foreign += [pair.foreign for pair in clean]
        for pair in clean:
            for name, figures in pair.figures.items():
                for figure, value in figures.items():
                    found[trial, figure][name].append(value)
    about = machine() | {"foreign load": f"at most {max(foreign):.2f} cores in the pairs that count"}
    if found:
        print("\n" + table(found, contestants, about))
        write("run", found, contestants, about | {"effort": asdict(effort), "rounds": rounds})
    for line in left_out:
        print(f"bench: {line}, so no figures", file=sys.stderr)
    if left_out:
        print("bench: try --only of these in a quieter hour, or --even-if-disturbed", file=sys.stderr)
    return 1 if left_out else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="wgpy beside wireguard-go, in turns")
    parser.add_argument("--quick", action="store_true", help="about two minutes")
    parser.add_argument("--rounds", type=int, help="3; --quick: 2")
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
                print(f"{number + 1}/{rounds} {trial:24} {name:22} {shown}{noise}", flush=True)
            if not pair.figures:
                print(f"{number + 1}/{rounds} {trial:24} failed", flush=True)
    return pairs


def run_pair(order: list[str], trial: str, effort: Effort) -> Pair:
    """Each in a fresh tunnel; repeated while others use the machine, the quietest attempt counts."""
    attempts: list[Pair] = []
    while len(attempts) <= REPEATS and not (attempts and attempts[-1].foreign <= TOLERATED):
        try:
            attempts.append(attempt(order, trial, effort))
        except (LabError, RuntimeError) as error:
            print(f"bench: {trial}: {error}", file=sys.stderr)
            attempts.append(Pair({}, FAILED))
    return min(attempts, key=lambda attempt: attempt.foreign)


def attempt(order: list[str], trial: str, effort: Effort) -> Pair:
    figures, foreign = {}, 0.0
    for name in order:
        try:
            figures[name], cores = run_one(by_name(name), trial, effort)
            foreign = max(foreign, cores)
        except (LabError, RuntimeError):
            if name != "boringtun":  # which is here for company
                raise
    return Pair(figures, foreign)


def run_one(kind: type[Peer], trial: str, effort: Effort) -> tuple[Figures, float]:
    """Its figures, and how many cores others kept busy meanwhile."""
    with tunnel(kind, subject=kind) as made:
        made.subject.ping(made.other.address4)
        with ForeignLoad() as load:
            figures = TRIALS[trial](made, effort)
    return figures, load.cores


if __name__ == "__main__":
    sys.exit(main())
