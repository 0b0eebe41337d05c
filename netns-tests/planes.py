"""A tunnel of two bare data planes with static keys (bench/static_plane.py) between two namespaces."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab import PROJECT, Namespace

PROGRAM = str(PROJECT / "bench" / "static_plane.py")
ADDRESSES = ("10.0.0.1", "10.0.0.2")
ADDRESSES6 = ("fd00::1", "fd00::2")


class Plane:
    """One end; `finish` ends it and returns what it has to say."""

    def __init__(self, here: Namespace, number: int, other: str, *options: str) -> None:
        words = here.command(sys.executable, PROGRAM, "wg0", str(number), other, *options)
        self._popen = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.index = self._read().split()[1]
        self._said: dict[str, object] | None = None

    def _read(self) -> str:
        assert self._popen.stdout is not None
        return self._popen.stdout.readline()

    def begin(self, other_index: str) -> None:
        """Tell it the other end's index: the session stands."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(other_index + "\n")
        self._popen.stdin.flush()

    def ready(self) -> str:
        """Wait until its interface is up; which AEAD it uses."""
        return self._read().split()[1]

    @property
    def pid(self) -> int:
        return int(Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children").read_text())

    def finish(self) -> dict[str, object]:
        if self._said is None:
            assert self._popen.stdin is not None
            self._popen.stdin.close()
            self._said = json.loads(self._read() or "{}")
            self._popen.wait(10)
            assert self._popen.stdout is not None
            self._popen.stdout.close()
        return self._said


@contextmanager
def planes(
    left: Namespace, right: Namespace, *, version: int = 4, options: tuple[str, ...] = ()
) -> Iterator[tuple[Plane, Plane]]:
    """Two ends over eth0 (lab.join's addresses), up and with a session."""
    outer = ("10.99.0.1", "10.99.0.2") if version == 4 else ("fd99::1", "fd99::2")
    with ExitStack() as stack:
        a = Plane(left, 0, outer[1], *options)
        stack.callback(a.finish)
        b = Plane(right, 1, outer[0], *options)
        stack.callback(b.finish)
        a.begin(b.index)
        b.begin(a.index)
        a.ready()
        b.ready()
        yield a, b
