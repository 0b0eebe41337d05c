"""How long from typing `wgpyd wg0` until it passes packets, and what it then holds, beside wireguard-go.

    python bench/start.py [--rounds 7] [--contestants wgpy,wireguard-go]

Both detach, and the command returns when the interface is there and its socket answers; then the workers run.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "netns-tests"))

from foreign import TOLERATED, ForeignLoad  # noqa: E402
from lab import PAGE_SIZE, Namespace  # noqa: E402
from wgpeer import PEERS, wgpy_program  # noqa: E402

PROGRAMS = {"wgpy": wgpy_program("wgpyd"), "wireguard-go": PEERS / "wireguard-go"}
SETTLED_S = 1.0


def start(program: Path) -> tuple[float, float]:
    """Seconds until the command returned, and MiB resident a second later."""
    with Namespace("h1") as host:
        began = time.perf_counter()
        host.run(str(program), "wg0")
        took = time.perf_counter() - began
        assert host.ok("wg", "show", "wg0")
        time.sleep(SETTLED_S)
        mebibytes = resident(host) / 2**20
        return took, mebibytes


def resident(host: Namespace) -> int:
    """Of the process that serves wg0."""
    pid = host.run("sh", "-c", "pgrep -f ' wg0$' | head -n 1").strip()
    return int(host.run("cat", f"/proc/{pid}/statm").split()[1]) * PAGE_SIZE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--contestants", default="wgpy,wireguard-go")
    options = parser.parse_args()
    names = options.contestants.split(",")
    for name in names:
        start(PROGRAMS[name])  # the files are read
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with ForeignLoad() as load:
        for _ in range(options.rounds):
            for name in names:
                found[name].append(start(PROGRAMS[name]))
    for name, values in found.items():
        seconds, memory = (sorted(column) for column in zip(*values, strict=True))
        print(
            f"{name:14} ready after {statistics.median(seconds):.3f} s ({seconds[0]:.3f}-{seconds[-1]:.3f}), "
            f"{statistics.median(memory):.1f} MiB resident"
        )
    if load.cores > TOLERATED:
        print(f"others used {load.cores:.2f} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
