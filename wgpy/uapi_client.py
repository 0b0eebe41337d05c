"""Asks a running device, ours or another userspace implementation's, over its socket. Edge, blocking.

Interfaces are the sockets in the directory that accept a connection, as `wg` sees them; one that refuses is
stale and is removed. Kernel interfaces are not looked for: this tool is for hosts that have none.
"""

import errno
import json
import math
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from wgpy.errors import PermissionMissing, WgpyError
from wgpy.model import DeviceState, DeviceUpdate
from wgpy.resolve import zone_index
from wgpy.rosenpass_settings import RosenpassSettings, to_lines
from wgpy.socket_file import DIRECTORY, refuses, socket_path
from wgpy.uapi_ask import ReplyError, format_set, parse_errno, parse_get

REPLY_MAX = 256 << 20  # bytes
TIMEOUT_S = 30.0


class NoSuchInterface(WgpyError):  # noqa: N818
    """Nobody serves an interface of this name."""


class Refused(WgpyError):  # noqa: N818
    """The interface answered with an errno.

    Args:
        interface: its name.
        number: the positive errno.
    """

    def __init__(self, interface: str, number: int) -> None:
        why = os.strerror(number)
        if number == errno.EADDRINUSE:
            why += "; choose another ListenPort"
        elif number == errno.ENOANO:  # what implementations in userspace say of their own mistakes
            why = "it failed within; its log may say how"
        super().__init__(f"{interface}: the interface refused this: {why}")
        self.errno = number


def interfaces(directory: Path = DIRECTORY) -> list[str]:
    """The names of the interfaces that answer, in the order of the directory; stale sockets are removed.

    Raises:
        PermissionMissing: the directory may not be read.
    """
    try:
        with os.scandir(directory) as entries:
            names = [entry.name.removesuffix(".sock") for entry in entries if entry.name.endswith(".sock")]
    except FileNotFoundError:
        return []
    except PermissionError:
        raise PermissionMissing(f"{directory} may not be read; run as root") from None
    return [name for name in names if name and _answers(socket_path(name, directory))]


def _answers(path: Path) -> bool:
    try:
        if not path.is_socket():
            return False
        stale = refuses(path, TIMEOUT_S)
    except PermissionError:
        raise PermissionMissing(f"{path} may not be opened; run as root") from None
    except OSError:
        return False
    if stale:
        with suppress(OSError):
            path.unlink()
    return not stale


def get(interface: str, directory: Path = DIRECTORY) -> DeviceState:
    """The interface's configuration and state.

    Raises:
        NoSuchInterface, PermissionMissing, Refused, ReplyError: in words.
    """
    reply = _ask(interface, b"get=1\n\n", directory)
    try:
        return parse_get(reply, zone_index)
    except OSError as error:
        raise Refused(interface, error.errno or errno.EIO) from None


def apply(interface: str, update: DeviceUpdate, directory: Path = DIRECTORY) -> None:
    """Send a whole update as one set=1; errors as get."""
    number = parse_errno(_ask(interface, format_set(update), directory))
    if number:
        raise Refused(interface, number)


def status(interface: str, directory: Path = DIRECTORY) -> Mapping[str, object] | None:
    """Our own extra state; None where the interface is another implementation's.

    Raises:
        NoSuchInterface, PermissionMissing, Refused, ReplyError: in words.
    """
    return read_status_reply(interface, _ask(interface, b"wgpy=1\n\n", directory))


def status_text(interface: str, directory: Path = DIRECTORY) -> str | None:
    """The same as the JSON text that came, not yet looked into; errors likewise."""
    return _status_text(interface, _ask(interface, b"wgpy=1\n\n", directory))


def read_status_reply(interface: str, reply: str) -> Mapping[str, object] | None:
    """What an interface answered to wgpy=1; as status."""
    text = _status_text(interface, reply)
    return parse_status(interface, text) if text is not None else None


def _status_text(interface: str, reply: str) -> str | None:
    if not reply:
        return None  # others hang up on a line they do not know
    number = parse_errno(reply)
    if number == errno.ENOANO:  # a bug of ours, see wgpy.uapi_socket
        raise Refused(interface, number)
    if number:
        return None  # ... or answer with an errno
    return reply.partition("\n")[0].removeprefix("status=")


def parse_status(interface: str, text: str) -> Mapping[str, object]:
    """Raises ReplyError where it is not a JSON object of ours."""
    try:
        extra = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        raise ReplyError(f"{interface}: the status it answers is not what this version understands")
    return extra


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not a number that we would write")
    return number


def configure_rosenpass(
    interface: str, settings: RosenpassSettings | None, directory: Path = DIRECTORY
) -> None:
    """Have the interface run the Rosenpass exchange by these settings; None ends it.

    Raises:
        WgpyError: what stands in the way, in the interface's words; else errors as get.
    """
    request = "\n".join(["wgpy=1", *to_lines(settings)]) + "\n\n"
    reply = _ask(interface, request.encode("ascii"), directory)
    if not reply:
        raise WgpyError(f"{interface}: this implementation of WireGuard knows no Rosenpass")
    number = parse_errno(reply)
    if number and reply.startswith("message="):
        raise WgpyError(f"{interface}: {reply.partition(chr(10))[0].removeprefix('message=')}")
    if number:
        raise Refused(interface, number)


def _ask(interface: str, request: bytes, directory: Path) -> str:
    path = socket_path(interface, directory)
    if "/" in interface or not interface:
        raise NoSuchInterface(f"{interface}: this is no name of an interface")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(os.fspath(path))
        except OSError as error:
            raise _not_connected(interface, path, error) from None
        try:
            connection.sendall(request)
            return _receive(connection)
        except (ConnectionResetError, BrokenPipeError):
            return ""
        except TimeoutError:
            raise ReplyError(
                f"{interface}: no answer for {TIMEOUT_S:.0f} s; is its process stopped?"
            ) from None


def _receive(connection: socket.socket) -> str:
    """Read up to the first empty line or the end."""
    reply = bytearray()
    while len(reply) <= REPLY_MAX:
        data = connection.recv(1 << 20)
        reply += data
        if not data or reply.endswith(b"\n\n"):
            return reply.decode("ascii", "replace")
    raise ReplyError("the interface's answer does not end")


def _not_connected(interface: str, path: Path, error: OSError) -> WgpyError:
    if isinstance(error, PermissionError):
        return PermissionMissing(f"{path} may not be opened; run as root")
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return NoSuchInterface(f"{interface}: no such interface is running; `wgpy up {interface}` starts one")
    return WgpyError(f"{interface}: {path}: {error.strerror or error}")
