"""What every bench prints and keeps: least, median and most, the ratio of each pair, and on what machine.

A pair is one run of each contestant, one after the other. Only ratios travel: absolute figures of a small
virtual machine drift by a third from hour to hour.
"""

import json
import os
import platform
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"

Results = dict[tuple[str, str], dict[str, list[float]]]  # (trial, figure) -> contestant -> one per round


def results() -> Results:
    """Empty, to be filled."""
    return defaultdict(lambda: defaultdict(list))


def human(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def table(found: Results, contestants: list[str], about: Mapping[str, object]) -> str:
    """Least, median and greatest of each, and what the first contestant has of the others."""
    ours, others = contestants[0], contestants[1:]
    lines = [f"{key}: {value}" for key, value in about.items()]
    wide, ratio = (max(map(len, contestants)) + extra for extra in (24, 10))
    head = "".join(f"{name + ': least, median, most':>{wide}}" for name in contestants)
    lines += ["", f"{'':50}{head}" + "".join(f"{'of ' + name:>{ratio}}  of each pair" for name in others)]
    for (trial, figure), values in found.items():
        cells = "".join(f"{spread(values[name]):>{wide}}" for name in contestants)
        for other in others:
            pairs = ratios(values[ours], values[other])
            median = f"{statistics.median(pairs):.2f}" if pairs else ""
            extremes = f"{min(pairs):.2f}-{max(pairs):.2f}" if pairs else ""
            cells += f"{median:>{ratio}}  {extremes:12}"
        lines.append(f"{trial + ', ' + figure:50}{cells}".rstrip())
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Least, median and greatest; nothing where nothing was measured."""
    if not values:
        return ""
    return "  ".join(human(value) for value in (min(values), statistics.median(values), max(values)))


def ratios(ours: list[float], theirs: list[float]) -> list[float]:
    """Pair by pair; none where one of the two lacks the figure of a round."""
    if len(ours) != len(theirs):
        return []
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


def write(name: str, found: Results, contestants: list[str], about: Mapping[str, object]) -> None:
    """bench/out/NAME-DATE.json with every single value."""
    rows = [
        {"trial": trial, "figure": figure, "values": dict(values)}
        for (trial, figure), values in found.items()
    ]
    keep(name, {"about": dict(about), "contestants": contestants, "results": rows})


def keep(name: str, what: Mapping[str, object]) -> None:
    OUT.mkdir(exist_ok=True)
    path = OUT / time.strftime(f"{name}-%Y%m%d-%H%M%S.json", time.gmtime())
    path.write_text(json.dumps(what, indent=1) + "\n")
    print(f"\nwritten: {path.relative_to(HERE.parent)}")
