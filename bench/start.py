"""How long from typing `wgpyd wg0` until it passes packets, and what it then holds, beside wireguard-go.

    python bench/start.py [--rounds 7] [--contestants wgpy,wireguard-go]

Both detach, and the command returns when the interface is there and its socket answers; then the workers run.
"""

import argparse
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "netns-tests"))

from foreign import ForeignLoad  # noqa: E402
from lab import PAGE_SIZE, Namespace  # noqa: E402
from report import machine, results, table, write  # noqa: E402
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
    found = results()
    with ForeignLoad() as load:
        for _ in range(options.rounds):
            for name in names:
                seconds, mebibytes = start(PROGRAMS[name])
                found["start", "ready after, s"][name].append(seconds)
                found["start", "resident, MiB"][name].append(mebibytes)
    about = machine() | {"foreign load": f"{load.cores:.2f} cores"}
    print(table(found, names, about))
    write("start", found, names, about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
