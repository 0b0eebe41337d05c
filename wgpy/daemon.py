"""wgpyd [-f] INTERFACE: the device as a process, in the shape wg-quick expects.

Exit 0 from the parent means that the interface exists and its UAPI socket accepts. Ends on TERM, INT, when
the interface is deleted or the socket file removed; then neither is left behind.

Environment: WG_TUN_FD, WG_UAPI_FD, WG_UDP_FD (descriptors handed in), WG_PROCESS_FOREGROUND=1, LOG_LEVEL
(verbose, debug, error, silent); WGPY_WORKERS (pairs of packet workers, 1 to 8; else one up to three
processors, beyond that half of them, at most four); WGPY_DISABLE (a comma list of offloads), WGPY_AEAD;
WGPY_TIMINGS and WGPY_ROSENPASS_TIMERS for test labs; WGPY_KEY_LOG is in wgpy.key_log, what `wgpy up` arranges
in wgpy.quick.handover, WGPY_SANDBOX in wgpy.sandbox.

Most imports wait until they are needed: numpy starts threads, and neither the fork nor the giving up of
privileges may happen beside any.

Digest: section 17.
"""

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wgpy.distribution import check_one_distribution
from wgpy.errors import PermissionMissing, UsageError, WgpyError

if TYPE_CHECKING:
    from tun.device import Tun
    from tun.udp import UdpSockets
    from wgpy.device import Device, Options
    from wgpy.quick.handover import Handover

logger = logging.getLogger(__name__)

USAGE: Final = "usage: wgpyd [-f|--foreground] INTERFACE"
READY: Final = b"r"


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line and what the environment adds to it."""

    interface: str
    foreground: bool


def main() -> None:
    """Entry point of `wgpyd`; ends with the process's exit status."""
    try:
        check_one_distribution()
        arguments = parse(sys.argv[1:], os.environ)
        sys.exit(_run(arguments) if arguments.foreground else _detach(arguments))
    except WgpyError as error:
        print(f"wgpyd: {error}", file=sys.stderr)  # noqa: T201  (told to the person)
        sys.exit(error.exit_code)


def parse(argv: list[str], environment: Mapping[str, str]) -> Arguments:
    """Read the arguments.

    Raises:
        UsageError: not `[-f|--foreground] INTERFACE`.
    """
    words = [word for word in argv if word not in ("-f", "--foreground")]
    if len(words) != 1 or words[0].startswith("-") or not words[0]:
        raise UsageError(USAGE)
    foreground = len(words) < len(argv) or environment.get("WG_PROCESS_FOREGROUND") == "1"
    return Arguments(words[0], foreground)


def _detach(arguments: Arguments) -> int:
    """Fork before there is any thread; the parent leaves when the child says that it is ready."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        os.setsid()
        try:
            status = _run(arguments, write_end)
        except WgpyError as error:
            print(f"wgpyd: {error}", file=sys.stderr)  # noqa: T201
            status = error.exit_code
        sys.exit(status)
    os.close(write_end)
    if os.read(read_end, 1) == READY:
        return 0
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) or 1


def _run(arguments: Arguments, ready_fd: int = -1) -> int:
    from wgpy import log, sandbox
    from wgpy.quick.handover import Handover

    log.set_up(arguments.interface, os.environ.get("LOG_LEVEL", "error"))
    handover = Handover.take(os.environ)
    handover.prepare()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy compares here, it does no algebra
    complaint = harden(keeps_privileges=handover.user is None)
    if sandbox.is_wanted(os.environ):
        sandbox.enter(os.environ, stays_root=handover.user is None)
    # What takes long, while `up` looks around.
    import uvloop

    import wgpy.device
    import wgpy.uapi_socket  # noqa: F401

    if not handover.may_begin():
        return 1
    if complaint:
        print(f"Warning: {complaint}", file=sys.stderr)  # noqa: T201
    return uvloop.run(Daemon(arguments.interface, handover, ready_fd).run())


class Daemon:
    """One device, its control socket and the signals.

    Args:
        interface: wanted name.
        handover: what `wgpy up` arranged.
        ready_fd: told when the socket accepts; -1 = nobody waits.
    """

    def __init__(self, interface: str, handover: "Handover", ready_fd: int) -> None:
        self._interface = interface
        self._handover = handover
        self._ready_fd = ready_fd
        self._ended = asyncio.Event()

    async def run(self) -> int:
        """Until it ends; the exit status."""
        from wgpy.socket_file import socket_path
        from wgpy.uapi_socket import UapiServer, adopt_listener, open_listener

        device = self._open_device()
        try:
            name = device.name
            try:
                number = _descriptor("WG_UAPI_FD")
                listener = open_listener(name) if number is None else adopt_listener(number)
            except OSError as error:
                raise WgpyError(f"{name}: cannot open the control socket: {error.strerror}") from error
            server = UapiServer(device, listener, socket_path(name), self._ended.set)
            try:
                device.start()
                await server.start()
                gc.freeze()  # modules stay: going through them all, as a flood's garbage would, takes 20 ms
                self._listen_to_signals()
                if self._handover.setup_fd is None:
                    _seal()
                self._report_ready()
                await self._ended.wait()
            finally:
                await server.close()
        finally:
            device.close()
        return 0

    def _open_device(self) -> "Device":
        from tun.errors import PermissionMissing as NoPermission
        from wgpy.device import Device

        try:
            tun, sockets = _open_tun(self._interface), _adopt_sockets()
            return Device(tun, options_from(os.environ), sockets, self._ended.set)
        except NoPermission as error:
            raise PermissionMissing(error.strerror or str(error)) from error
        except OSError as error:
            raise WgpyError(error.strerror or str(error)) from error

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leave)
        loop.add_signal_handler(signal.SIGHUP, self._handover.reload)
        if self._handover.setup_fd is not None:
            loop.add_reader(self._handover.setup_fd, self._on_setup)

    def _leave(self) -> None:
        if self._handover.leave():
            # `wgpy down` deletes the interface in the end, and us with it; if it fails we end all the same.
            asyncio.get_running_loop().add_reader(self._handover.attendant_gone, self._on_attendant_gone)
        else:
            self._ended.set()

    def _on_attendant_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handover.attendant_gone)
        self._ended.set()

    def _on_setup(self) -> None:
        from wgpy.locked_memory import lock_present

        assert self._handover.setup_fd is not None
        asyncio.get_running_loop().remove_reader(self._handover.setup_fd)
        if not self._handover.read_setup():
            self._leave()  # `up` died: undo what it had done
            return
        try:
            if self._handover.user is not None:
                lock_present()
            self._handover.set_up_done()
            _seal()
        except WgpyError:
            logger.exception("privileges could not be dropped: leaving")
            self._ended.set()

    def _report_ready(self) -> None:
        if self._ready_fd < 0:
            return
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, 0)
        if os.environ.get("LOG_LEVEL", "silent") == "silent":
            os.dup2(null, 1)
            os.dup2(null, 2)
        os.close(null)
        os.write(self._ready_fd, READY)
        os.close(self._ready_fd)


def options_from(environment: Mapping[str, str]) -> "Options":
    """The device's options.

    Raises:
        WgpyError: an unknown feature, AEAD or timing.
    """
    from tun.records import Aead, Feature
    from wgpy.constants import timings_from
    from wgpy.device import Options
    from wgpy.key_log import key_log_from

    features = Feature.ALL
    for name in filter(None, environment.get("WGPY_DISABLE", "").lower().split(",")):
        if name.upper() not in Feature.__members__:
            raise UsageError(f"WGPY_DISABLE: no such feature: {name}")
        features &= ~Feature[name.upper()]
    aead = environment.get("WGPY_AEAD", "auto").upper()
    if aead not in Aead.__members__:
        raise UsageError(f"WGPY_AEAD: no such implementation: {aead.lower()}")
    return Options(
        timings=timings_from(environment),
        features=features,
        aead=Aead[aead],
        rosenpass_seconds=_seconds(environment.get("WGPY_ROSENPASS_TIMERS", "")),
        key_log=key_log_from(environment),
    )


def workers_from(environment: Mapping[str, str]) -> int | None:
    """How many pairs of packet workers are asked for; None = as many as suit the machine.

    Raises:
        UsageError: no number from 1 to MAX_WORKERS.
    """
    from wgpy.constants import MAX_WORKERS

    text = environment.get("WGPY_WORKERS", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 3 and 1 <= int(text) <= MAX_WORKERS):
        raise UsageError(f"WGPY_WORKERS={text} is not a number from 1 to {MAX_WORKERS}")
    return int(text)


def default_workers() -> int:
    """One pair of workers up to three processors, beyond that half of them, at most four."""
    return min(max(len(os.sched_getaffinity(0)) // 2, 1), 4)


def _seconds(text: str) -> dict[str, float]:
    """Read "rekey_after_responder=5,reject_after=9.5"."""
    found: dict[str, float] = {}
    for item in filter(None, text.split(",")):
        from rosenpass.constants import Timers  # only a test lab pays for it

        name, _, value = item.partition("=")
        if name.strip() not in Timers.__dataclass_fields__:
            raise UsageError(f"WGPY_ROSENPASS_TIMERS: no such timer: {name!r}")
        try:
            found[name.strip()] = float(value)
        except ValueError as error:
            raise UsageError(f"WGPY_ROSENPASS_TIMERS: {name}: not a number: {value!r}") from error
    return found


def harden(*, keeps_privileges: bool) -> str | None:
    """No core dump, no ptrace by equals, no swap where that is allowed; a warning where it is not."""
    from wgpy.locked_memory import lock
    from wgpy.privileges import keep_out_of_dumps

    keep_out_of_dumps()
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return lock(keeps_privileges=keeps_privileges)


def _seal() -> None:
    from wgpy import sandbox

    if sandbox.is_wanted(os.environ):
        sandbox.seal()


def _open_tun(interface: str) -> "Tun":
    from tun.device import OneQueueOnly, adopt, configure, open_tun
    from wgpy.device import DEFAULT_MTU

    number = _descriptor("WG_TUN_FD")
    wanted = workers_from(os.environ)
    if number is not None:
        if wanted is not None and wanted > 1:
            logger.warning("one queue was handed in: one pair of workers, not %d", wanted)
        return adopt(number)
    try:
        tun = open_tun(interface, wanted or default_workers())
    except OneQueueOnly as error:
        if wanted is not None:
            raise
        logger.warning("%s; going on with one pair of workers", error.strerror)
        tun = open_tun(interface, 1)
    try:
        configure(tun.name, DEFAULT_MTU)
    except OSError as error:
        logger.warning("the interface keeps its defaults: %s", error.strerror)
    return tun


def _adopt_sockets() -> "UdpSockets | None":
    from tun.udp import UdpSockets

    text = os.environ.get("WG_UDP_FD", "")
    if not text:
        return None
    numbers = tuple(_number("WG_UDP_FD", word) for word in text.split(","))
    try:
        return UdpSockets.adopt(numbers, 0)
    except OSError as error:
        raise WgpyError(f"WG_UDP_FD={text}: {error.strerror}; hand in bound UDP sockets") from error


def _descriptor(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    return _number(variable, text) if text else None


def _number(variable: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise UsageError(f"{variable}={text} is not a descriptor's number")
    return int(text)


if __name__ == "__main__":
    main()
