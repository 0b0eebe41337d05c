"""A detached `up -f`, for a device process that gave up its privileges: somebody must clean up after it.

The command starts `wgpy up -f` in a session of its own, lends it the terminal's standard error, and returns
when it says through a pipe that the tunnel stands.
"""

import os
import signal
import subprocess
import sys

from wgpy.quick.descriptors import handed_in
from wgpy.quick.programs import clean_environment

READY = b"r"
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def detach(tunnel: str, user: str | None) -> None:
    """Start the supervisor and return when the tunnel stands.

    Raises:
        SystemExit: it did not come up; the supervisor has said why.
    """
    descriptors = handed_in(os.environ, os.getpid())
    read_end, write_end = os.pipe()
    argv = [sys.executable, "-P", "-m", "wgpy", "up", "-f"]
    argv += ["--user", user] if user is not None else []
    popen = subprocess.Popen(
        [*argv, "--", tunnel],
        stdin=subprocess.DEVNULL,
        pass_fds=(write_end, *descriptors.numbers),
        env=clean_environment() | descriptors.environment | {"WGPY_READY_FD": str(write_end)},
        start_new_session=True,
    )
    os.close(write_end)
    for number in ENDING:  # it has a session of its own: not even a Ctrl-C would reach it
        signal.signal(number, lambda _, __: popen.terminate())
    if os.read(read_end, 1) != READY:
        raise SystemExit(popen.wait() or 1)


def is_detached() -> bool:
    """Whether we are the supervisor that `detach` started."""
    return "WGPY_READY_FD" in os.environ


def report_ready() -> bool:
    """In the supervisor: the tunnel stands; let go of the terminal. False: who waited was killed."""
    number = os.environ.pop("WGPY_READY_FD", "")
    if not number:
        return True
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    if os.environ.get("LOG_LEVEL", "silent") == "silent":
        os.dup2(null, 2)
    os.dup2(null, 1)
    os.close(null)
    try:
        os.write(int(number), READY)
    except BrokenPipeError:
        return False
    finally:
        os.close(int(number))
    return True
