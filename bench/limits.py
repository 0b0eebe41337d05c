"""How far the data plane is from its two limits: no encryption at all, and encryption alone.

    python bench/limits.py [--seconds 5] [--rounds 3]

The first is the same data plane with bench/limits/aead_none.c in the place of the cipher, built into a
directory of its own; both carry one TCP stream between bare planes, in turns. The second is the cipher's cost
of one full packet, from bench/units. Neither is in what is installed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dataplane import run_trial
from foreign import TOLERATED, ForeignLoad
from report import keep, machine, ratios, spread
from trials import Effort

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
COMPILE = "from tun.ffi_build import ffi; ffi.compile(tmpdir='.')"
FULL_PACKET = 1420  # bytes


def main() -> int:
    parser = argparse.ArgumentParser(description="the data plane beside its limits")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--even-if-disturbed", action="store_true")
    options = parser.parse_args()
    effort = replace(Effort(), seconds=options.seconds)
    found: dict[str, list[float]] = {"ours": [], "without encryption": []}
    with tempfile.TemporaryDirectory() as directory, ForeignLoad() as load:
        build_without_encryption(Path(directory))
        for number in range(options.rounds):
            turns = list(zip(found, (None, directory), strict=True))
            for name, path in turns if number % 2 == 0 else turns[::-1]:
                with python_path(path):
                    found[name].append(run_trial("TCP, one stream", effort)["Gbit/s"])
                print(f"{number + 1}/{options.rounds} {name:20} {found[name][-1]:.2f} Gbit/s", flush=True)
    if load.cores > TOLERATED and not options.even_if_disturbed:
        print(f"bench: others kept {load.cores:.2f} cores busy, so no figures", file=sys.stderr)
        return 1
    seal, opened = cipher_alone()
    report(found, seal, opened, load.cores)
    return 0


def build_without_encryption(directory: Path) -> None:
    """A copy of tun/ with another aead.c, compiled where it lies."""
    shutil.copytree(PROJECT / "tun", directory / "tun", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(HERE / "limits" / "aead_none.c", directory / "tun" / "csrc" / "aead.c")
    subprocess.run([sys.executable, "-c", COMPILE], cwd=directory, check=True, capture_output=True)


@contextmanager
def python_path(path: str | None) -> Iterator[None]:
    """For the programs started meanwhile."""
    if path is None:
        yield
        return
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = path
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


def cipher_alone() -> tuple[float, float]:
    """Gbit/s of sealing and of opening full packets, one processor doing nothing else."""
    said = subprocess.run(
        ["make", "-s", "-C", str(HERE / "units"), "run"], capture_output=True, text=True, check=True
    ).stdout
    chosen = re.search(r"^chosen: (.*)$", said, re.MULTILINE)
    assert chosen is not None
    rates = []
    for verb in ("seal", "open"):
        name = re.escape(f"{chosen[1]}: {verb} {FULL_PACKET} bytes")
        line = re.search(rf"^{name} +([0-9.]+) ns", said, re.MULTILINE)
        assert line is not None, said
        rates.append(FULL_PACKET * 8 / float(line[1]))
    return rates[0], rates[1]


def report(found: dict[str, list[float]], seal: float, opened: float, foreign: float) -> None:
    ours, limit = found.values()
    both = 1 / (1 / seal + 1 / opened)
    rows = {
        "ours, Gbit/s": ours,
        "without encryption, Gbit/s": limit,
        "ours / without encryption": ratios(ours, limit),
        "cipher alone, seal, Gbit/s a processor": [seal],
        "cipher alone, open, Gbit/s a processor": [opened],
        "ours / cipher alone, both on one processor": [value / both for value in ours],
    }
    about = machine() | {"foreign load": f"{foreign:.2f} cores"}
    for name, value in about.items():
        print(f"{name}: {value}")
    print(f"\n{'least, median, most':>72}")
    for name, values in rows.items():
        print(f"{name:44} {spread(values):>28}")
    keep("limits", {"about": about, "rows": rows})


if __name__ == "__main__":
    sys.exit(main())
