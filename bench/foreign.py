"""Whether somebody else was using the machine while we measured.

Foreign load is the processor time the kernel gave to anybody but our own process tree, plus what a hypervisor
stole, per second of wall time: 1.0 is one core kept busy by others.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")
TOLERATED = 0.15


def _machine() -> float:
    """Seconds in user, nice, system and steal, all cores. Interrupt work is ours as much as anybody's."""
    columns = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, steal = (int(columns[n]) for n in (0, 1, 2, 7))
    return (user + nice + system + steal) / TICKS


def _own() -> float:
    """Seconds of this process and all below it, the ended ones too."""
    parents, times = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        times[pid] = sum(int(fields[n]) for n in (11, 12, 13, 14)) / TICKS
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    total, waiting = 0.0, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        total += times.get(pid, 0.0)
        waiting += children.get(pid, [])
    return total


@dataclass
class ForeignLoad:
    """A context; afterwards `cores` says how many cores others kept busy meanwhile."""

    cores: float = 0.0

    def __enter__(self) -> Self:
        self._start = time.monotonic(), _machine(), _own()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        began, machine, own = self._start
        others = (_machine() - machine) - (_own() - own)
        self.cores = max(0.0, others / (time.monotonic() - began))
