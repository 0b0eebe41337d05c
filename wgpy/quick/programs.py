"""Running other people's programs: hooks, nft, resolvconf. None sees a secret or a descriptor of ours."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO

from wgpy.errors import WgpyError

# Meant for this process alone: descriptors it was handed, and who wants to hear that it is ready.
_NOT_FOR_CHILDREN = (
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "WG_TUN_FD",
    "WG_UDP_FD",
    "WG_UAPI_FD",
    "WG_PROCESS_FOREGROUND",
    "WGPY_SETUP_FD",
    "WGPY_READY_FD",
    # Arranged for the device process of this tunnel: a hook's own `wgpy up` would take it for its tunnel.
    "WGPY_LEAVE",
    "WGPY_DETACHED",
    "WGPY_READS",
)

# As wg-quick runs them: within a shell that ends at the first failing command.
_BASH = ("bash", "-e", "-o", "pipefail", "-O", "extglob", "-c")


def say(text: object) -> None:
    """Tell the person what is done, as wg-quick does."""
    _tell(f"[#] {text}")


def warn(text: object) -> None:
    """Tell the person what is not as asked."""
    _tell(f"Warning: {text}")


def _tell(line: str) -> None:
    with suppress(OSError):  # the terminal or the pipe is gone: what is being done or undone matters more
        print(line, file=sys.stderr, flush=True)  # noqa: T201


def clean_environment() -> dict[str, str]:
    """Our environment without what is meant for us alone."""
    return {key: value for key, value in os.environ.items() if key not in _NOT_FOR_CHILDREN}


def run_hook(command: str, interface: str, config: str) -> None:
    """Run one PreUp, PostUp, PreDown or PostDown.

    Raises:
        WgpyError: it failed, or there is no bash.
    """
    command = command.replace("%i", interface)
    say(command)
    environment = clean_environment() | {"INTERFACE": interface, "CONFIG_FILE": config}
    try:
        done = subprocess.run([*_BASH, command], env=environment, check=False)
    except FileNotFoundError:
        raise WgpyError("hooks are run by bash, which is not installed here") from None
    if done.returncode != 0:
        raise WgpyError(f"hook failed ({ending(done.returncode)}): {command}")


def run(argv: Sequence[str], text: str = "", environment: Mapping[str, str] | None = None) -> None:
    """Run a program to its end with `text` as its input.

    What it says goes into memory, not through a pipe, which whoever it leaves behind would hold open.

    Raises:
        WgpyError: it failed; with the first line of what it said.
    """
    with open(os.memfd_create("stderr"), "w+b") as complaint, open(os.memfd_create("stdout"), "w+b") as said:
        try:
            done = subprocess.run(
                argv,
                input=text.encode(),
                stdout=said,
                stderr=complaint,
                env={**clean_environment(), "LC_ALL": "C", **(environment or {})},
                check=False,
            )
        except OSError as error:
            raise WgpyError(f"{argv[0]}: {error.strerror}") from None
        if done.returncode != 0:
            lines = [*_lines(complaint), *_lines(said), "no word why"]
            raise WgpyError(f"{' '.join(argv)}: {ending(done.returncode)}: {lines[0]}")


def _lines(said: BinaryIO) -> list[str]:
    said.seek(0)
    lines = said.read().decode("utf-8", "replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def ending(status: int) -> str:
    """`exit 1` or `signal 9`, of a return code as subprocess gives it."""
    return f"exit {status}" if status >= 0 else f"signal {-status}"
