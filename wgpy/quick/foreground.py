"""`up -f`: stays as the parent of the device process, and leaves like `down` with it.

Also fit to be the first process of a container, which must bury everybody's orphans, and to be systemd's main
process, which says when it is ready.
"""

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

from wgpy.errors import WgpyError
from wgpy.quick.down import NotUp, down
from wgpy.quick.process import DeviceProcess
from wgpy.quick.programs import ending, say, warn
from wgpy.quick.reload import reload
from wgpy.quick.signals import handled

WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def stay(name: str, device: DeviceProcess) -> None:
    """Return when the tunnel was taken down, by TERM or INT or by somebody's `wgpy down`.

    Raises:
        WgpyError: the device process ended on its own account; the host was cleaned up.
    """
    with _arriving_signals() as arriving:
        notify("READY=1")
        for number in arriving:
            if number == signal.SIGHUP:
                _reload(name)
            if number in (signal.SIGTERM, signal.SIGINT):
                notify("STOPPING=1")
                say(f"{signal.Signals(number).name}: taking {device.interface} down")
                _leave(name, device)
                return
            status = device.poll()
            if status is not None:
                _after_the_end(name, device.interface, status)
                return
            _bury_orphans()


def _leave(name: str, device: DeviceProcess) -> None:
    try:
        down(name, leaving_anyway=True)
    except NotUp:
        if device.poll() is None:
            raise
        # somebody's `wgpy down` came first
    finally:
        device.end()  # also where `down` fails: nobody is left to tell it


def _after_the_end(name: str, interface: str, status: int) -> None:
    try:
        down(name, leaving_anyway=True)
    except NotUp:
        return  # somebody's `wgpy down` ended it
    except WgpyError as failure:
        warn(failure)
    raise WgpyError(f"{interface}: the device process ended ({ending(status)})")


def notify(state: str) -> None:
    """Tell systemd, where it listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.connect(address)
        manager.sendall(state.encode())


def _reload(name: str) -> None:
    notify("RELOADING=1")
    try:
        with handled((signal.SIGTERM, signal.SIGINT), _interrupt):
            reload(name)
    except WgpyError as error:
        warn(f"{error}; going on as before")
    notify("READY=1")


def _interrupt(number: int, _: FrameType | None) -> None:
    """TERM and INT do not wait for a name server; that they came is noted all the same."""
    raise WgpyError(f"{signal.Signals(number).name} came while the file was re-read")


def _bury_orphans() -> None:
    """As process 1, wait for whoever died and was left to us; the device process is waited for elsewhere."""
    if os.getpid() != 1:
        return
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@contextmanager
def _arriving_signals() -> Iterator[Iterator[int]]:
    """The watched signals, one number after the other, beginning with a SIGCHLD that may have come before."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    with ExitStack() as undo:
        undo.callback(os.close, write_end)
        undo.callback(os.close, read_end)
        undo.enter_context(handled(WATCHED, _take_note))
        undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(write_end, warn_on_full_buffer=False))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)  # `up` keeps them back once the tunnel stands
        yield _numbers(read_end)


def _take_note(_: int, __: FrameType | None) -> None:
    """The number goes through the wakeup descriptor."""


def _numbers(read_end: int) -> Iterator[int]:
    yield signal.SIGCHLD
    while True:
        select.select([read_end], [], [])
        yield from os.read(read_end, 4096)
