"""wgpy beside wireguard-go under floods: what a tunnel keeps, and whether somebody new still gets in.

    python bench/flood.py [--rounds 3] [--seconds 4] [--only "wrong mac1"] [--contestants wgpy,wireguard-go]

Every run has fresh namespaces: a tunnel whose TCP stream comes into the attacked end, a stranger who floods
that end, and a newcomer whose handshake has to come about meanwhile. The generator, both ends of the stream
and both ends of the tunnel share the machine's processors; the rate that the generator reached is printed.
Written to bench/out/flood-*.json.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "netns-tests"))

from floods import (  # noqa: E402
    EXTRA_KINDS,
    HYBRID_KINDS,
    KINDS,
    PER_SECOND,
    Attacked,
    Flood,
    LoopWatch,
    attacked,
    attacked_hybrid,
    build_generator,
)
from foreign import TOLERATED, ForeignLoad  # noqa: E402
from lab import LabError  # noqa: E402
from report import human, machine, results, table, write  # noqa: E402
from trials import GIGA, iperf3  # noqa: E402
from wgpeer import Peer, WgpyPeer, by_name  # noqa: E402

CALM = "no flood"
ALL_KINDS = {**KINDS, **HYBRID_KINDS, **EXTRA_KINDS}
LATEST_S = 30.0


@dataclass
class Run:
    """One contestant under one flood."""

    reached: float  # datagrams a second
    gbits: float
    handshake_s: float  # inf: not within LATEST_S
    growth_mib: float
    stall_ms: float
    drops: dict[str, int]
    foreign: float  # cores that others kept busy


def main() -> int:
    options = arguments()
    contestants = options.contestants.split(",")
    for name in contestants:
        if missing := by_name(name).missing():
            print(f"bench: {name} is not there: {missing}", file=sys.stderr)
            return 1
    kinds = options.only or [CALM, *KINDS, *HYBRID_KINDS]
    found, runs, foreign = results(), [], [0.0]
    with tempfile.TemporaryDirectory() as directory:
        program = build_generator(Path(directory))
        for number in range(options.rounds):
            for kind in kinds:
                for name in contestants if number % 2 == 0 else contestants[::-1]:
                    run = measure(by_name(name), kind, program, options)
                    runs.append({"flood": kind, "contestant": name, **asdict(run)})
                    foreign.append(run.foreign)
                    for figure, value in figures(run).items():
                        found[kind, figure][name].append(value)
                    print(f"{number + 1}/{options.rounds} {kind:24} {name:14} {line(run)}", flush=True)
    about = machine() | {"foreign load": f"at most {max(foreign):.2f} cores", "seconds": options.seconds}
    print("\n" + table(found, contestants, about))
    write("flood", found, contestants, about | {"runs": runs})
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="wgpy beside wireguard-go under floods")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of TCP under each flood")
    parser.add_argument("--per-second", type=int, default=PER_SECOND)
    parser.add_argument("--only", action="append", choices=[CALM, *ALL_KINDS], help="may repeat")
    parser.add_argument("--contestants", default="wgpy,wireguard-go")
    return parser.parse_args()


def measure(kind: type[Peer], flood: str, program: Path, options: argparse.Namespace) -> Run:
    with ExitStack() as stack:
        if flood in HYBRID_KINDS and kind is WgpyPeer:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            at = stack.enter_context(attacked_hybrid(Path(directory)))
        else:
            at = stack.enter_context(attacked(kind))
        iperf3(at.h1, at.h2, at.target, 1, "-R")  # what a first use costs is no growth
        if flood == CALM:
            return observe(at, None, options)
        what = ALL_KINDS[flood]
        made = Flood(
            at.stranger,
            program,
            what.make(at),
            port=at.port,
            per_second=options.per_second,
            spoofed=what.spoofed,
        )
        return observe(at, made, options)


def observe(at: Attacked, flood: Flood | None, options: argparse.Namespace) -> Run:
    resident, before, took = at.resident_bytes(), at.drops(), [float("inf")]

    def join() -> None:
        with suppress(LabError):
            took.append(at.time_to_join(LATEST_S))

    with ForeignLoad() as load, flood or nullcontext():
        time.sleep(0.3)
        joining = Thread(target=join)
        joining.start()
        try:
            end = iperf3(at.h1, at.h2, at.target, options.seconds, "-R")
            gbits = end["sum_received"]["bits_per_second"] / GIGA
        except LabError:  # it could not even be told to stop
            gbits = 0.0
        joining.join()
        with LoopWatch(at) as watch:
            time.sleep(1.5)
    after = at.drops()
    return Run(
        reached=flood.sent.per_second if flood else 0.0,
        gbits=gbits,
        handshake_s=took[-1],
        growth_mib=(at.resident_bytes() - resident) / 2**20,
        stall_ms=watch.longest * 1000,
        drops={name: grown for name, count in after.items() if (grown := count - before.get(name, 0)) > 20},
        foreign=load.cores,
    )


def line(run: Run) -> str:
    counted = ", ".join(f"{name} {human(count)}" for name, count in run.drops.items())
    noise = f" (others used {run.foreign:.2f} cores)" if run.foreign > TOLERATED else ""
    return (
        f"{human(run.reached):>8}/s  {run.gbits:5.2f} Gbit/s  new session {run.handshake_s:5.2f} s"
        f"  {run.growth_mib:+5.1f} MiB  longest wait {run.stall_ms:5.1f} ms{noise}  {counted}"
    )


def figures(run: Run) -> dict[str, float]:
    """What is put side by side."""
    return {
        "Gbit/s": run.gbits,
        "new session, s": run.handshake_s,
        "growth, MiB": run.growth_mib,
        "longest wait, ms": run.stall_ms,
        "reached, 1/s": run.reached,
    }


if __name__ == "__main__":
    sys.exit(main())
