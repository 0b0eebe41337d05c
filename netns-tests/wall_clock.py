"""A wall clock of the devices' own, which a test sets; every other clock of theirs stays true.

wall_clock.c is preloaded for it. libfaketime would do more than is good: with it a thread that waits for
Python's lock does not sleep, and on a busy machine a device then needs seconds for what takes milliseconds.
"""

import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


class WallClock:
    """Shared by all devices that are started with its environment."""

    def __init__(self, directory: Path) -> None:
        library = directory / "wall_clock.so"
        self._offset = directory / "wall_clock"
        self._offset.write_bytes(bytes(8))
        flags = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror")
        subprocess.run(["gcc", *flags, "-o", library, SOURCE], check=True)
        self.variables = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(self._offset)}

    @property
    def environment(self) -> dict[str, str]:
        """For `wgpy up`, which is to start its device with `variables`."""
        words = " ".join(f"{name}={value}" for name, value in self.variables.items())
        return {"WGPY_USERSPACE_IMPLEMENTATION": f"env {words} {sys.executable} -P -m wgpy.daemon"}

    def set(self, seconds: int) -> None:
        """So far from the true time, from now on."""
        with self._offset.open("r+b", buffering=0) as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))
