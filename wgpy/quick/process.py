"""The device process: starting it, waiting until it answers, and seeing that it is gone.

The same program as wgpyd, run in the foreground of a session of its own, so that a Ctrl-C for `up -f` does
not reach it first. What `up` arranges with it goes by environment; wgpy.quick.handover is the other end.
"""

import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from wgpy.errors import PermissionMissing, WgpyError
from wgpy.quick.descriptors import Descriptors
from wgpy.quick.handover import DONE, GO
from wgpy.quick.journal import Process
from wgpy.quick.programs import clean_environment, ending
from wgpy.socket_file import answers, remove_unnamed, socket_path

READY_WITHIN_S = 20.0
GONE_WITHIN_S = 5.0
POLL_S = 0.01
LOOK_S = 0.2
_WAITER = f"""
import os, sys
if os.read(int(os.environ["WGPY_SETUP_FD"]), 1) == {GO!r}:
    os.execvp(sys.argv[1], sys.argv[1:])
"""


class DeviceProcess:
    """A started device process, which waits at its end of the setup pipe until `go`."""

    def __init__(
        self, interface: str, popen: "subprocess.Popen[bytes]", setup_pipe: int, behind_waiter: bool
    ) -> None:
        self.interface = interface
        self._popen = popen
        self._setup_pipe = setup_pipe
        self._behind_waiter = behind_waiter
        self._may_go = False

    @property
    def identity(self) -> Process:
        """What the journal keeps of it."""
        return Process(self._popen.pid, start_ticks(self._popen.pid) or 0)

    def wait_ready(self) -> None:
        """Return when its UAPI socket accepts.

        Raises:
            WgpyError: it ended, or did not answer in time.
        """
        path = socket_path(self.interface)
        deadline = time.monotonic() + READY_WITHIN_S
        while not answers(path, GONE_WITHIN_S):
            status = self._popen.poll()
            if status is not None:
                raise _ended(self.interface, status)
            if time.monotonic() >= deadline:
                raise WgpyError(
                    f"{self.interface}: the device process does not answer after {READY_WITHIN_S:.0f} s"
                )
            time.sleep(POLL_S)

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._popen.poll()

    def end(self) -> None:
        """See that it is gone, where `down` did not come so far."""
        if self._popen.poll() is None:
            end(self.interface, self.identity)

    def go(self) -> None:
        """It is in the journal: it may create its interface."""
        self._may_go = True
        self._tell(GO * 2 if self._behind_waiter else GO)  # what it becomes may be a wgpyd, which waits too

    def cancel(self) -> None:
        """End it if it was not told to go, so that it has done nothing yet."""
        if not self._may_go:
            self._popen.kill()
            self._popen.wait()

    def set_up_done(self) -> None:
        """Tell it that the host is ready: it drops what it needs no longer."""
        self._tell(DONE)

    def _tell(self, word: bytes) -> None:
        with suppress(BrokenPipeError):  # it died, or is another implementation; its exit status says so
            os.write(self._setup_pipe, word)


def start(
    interface: str, descriptors: Descriptors, arranged: dict[str, str], detached: bool
) -> DeviceProcess:
    """Start the device process, which waits for `go`: ours when it has loaded what it needs, others before.

    Raises:
        WgpyError: there is no such program.
    """
    override = shlex.split(os.environ.get("WGPY_USERSPACE_IMPLEMENTATION", ""))
    program = _other(override) if override else [sys.executable, "-P", "-m", "wgpy.daemon"]
    read_end, write_end = os.pipe()  # not inheritable
    quiet = bool(override) and detached and os.environ.get("LOG_LEVEL", "silent") == "silent"
    environment = clean_environment() | descriptors.environment | arranged
    environment |= {"WGPY_SETUP_FD": str(read_end)}
    try:
        popen = subprocess.Popen(
            [*program, "-f", interface],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if detached else None,
            stderr=subprocess.DEVNULL if quiet else None,
            env=environment,
            pass_fds=(*descriptors.numbers, read_end),
            start_new_session=True,
        )
    except OSError as error:
        os.close(write_end)
        raise WgpyError(f"{program[0]}: {error.strerror}") from None
    finally:
        os.close(read_end)
    return DeviceProcess(interface, popen, write_end, behind_waiter=bool(override))


def _other(program: list[str]) -> list[str]:
    """Another implementation, behind a small program that waits in its place and becomes it."""
    if shutil.which(program[0]) is None:
        raise WgpyError(f"WGPY_USERSPACE_IMPLEMENTATION: {program[0]}: no such program")
    return [sys.executable, "-I", "-S", "-c", _WAITER, *program]


def is_alive(process: Process) -> bool:
    """Whether this very process still runs."""
    return start_ticks(process.pid) == process.start_ticks


def end(interface: str, process: Process | None) -> None:
    """See that the device process and its socket are gone, now that its interface is."""
    if process is not None and is_alive(process):
        _see_off(interface, process)
    _remove_stale_socket(interface)


def _see_off(interface: str, process: Process) -> None:
    """A device process ends when its socket goes; the last resort is SIGKILL."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + GONE_WITHIN_S
    try:
        while is_alive(process) and time.monotonic() < deadline:
            with suppress(OSError):
                socket_path(interface).unlink(missing_ok=True)  # it may have made one only now
            if _exits(descriptor, LOOK_S):
                return
        if is_alive(process):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            _exits(descriptor, GONE_WITHIN_S)
    finally:
        os.close(descriptor)


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None where it does not run (a zombie does not)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _exits(descriptor: int, within_s: float) -> bool:
    ready, _, _ = select.select([descriptor], [], [], within_s)
    return bool(ready)


def _remove_stale_socket(interface: str) -> None:
    """The socket of a killed device process refuses everybody."""
    path = socket_path(interface)
    remove_unnamed(path)
    if path.is_socket() and not answers(path, GONE_WITHIN_S):
        path.unlink(missing_ok=True)


def _ended(interface: str, status: int) -> WgpyError:
    message = f"{interface}: the device process ended before it was ready ({ending(status)})"
    return PermissionMissing(message) if status == PermissionMissing.exit_code else WgpyError(message)
