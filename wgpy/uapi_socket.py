"""The UAPI socket: stock `wg` and our own command line talk to a device. Edge; what is said is wgpy.uapi.

Only root and the user we run as are heard. A client costs at most one request and one reply of memory; beyond
CLIENTS_MAX the one that was silent longest goes. Whoever deletes the socket file asks the device to stop.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Protocol

from wgpy.errors import WgpyError
from wgpy.model import DeviceUpdate
from wgpy.resolve import zone_index
from wgpy.rosenpass_settings import RosenpassSettings
from wgpy.socket_file import DIRECTORY, listen_at, refuses, remove_unnamed, socket_path
from wgpy.uapi import (
    GetRequest,
    Hangup,
    RefusedRequest,
    Request,
    RequestParser,
    RosenpassRequest,
    SetRequest,
    StatusRequest,
    format_errno,
    format_refusal,
)

logger = logging.getLogger(__name__)

CLIENTS_MAX = 64
READ_LEN = 1 << 14  # bytes; parsing as much of a set takes some 20 ms of the event loop
BACKLOG = 64
WATCH_S = 1.0
EXHAUSTED_S = 1.0  # before the next client is tried
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Device(Protocol):
    """What the socket drives."""

    def answer_get(self) -> Iterator[bytes]:
        """The reply to get=1, in pieces between which the event loop may turn."""

    def answer_status(self) -> Iterator[bytes]:
        """The reply to wgpy=1, likewise."""

    def apply(self, update: DeviceUpdate) -> None:
        """Do a whole set=1; OSError carries the errno to answer."""

    async def configure_rosenpass(self, settings: RosenpassSettings | None) -> None:
        """Run the exchange by these settings from now on; WgpyError or OSError says why not."""


def open_listener(interface: str, directory: Path = DIRECTORY) -> socket.socket:
    """Create the listening socket, mode 0600; a stale one is replaced.

    Raises:
        OSError: EADDRINUSE where another process answers on it; EEXIST where the file is no socket; others.
    """
    path = socket_path(interface, directory)
    previous = os.umask(0o022)
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        os.umask(0o177)
        _remove_stale(path)
        try:
            return listen_at(path, BACKLOG)
        except FileExistsError:  # somebody was faster
            raise _in_use(path) from None
    finally:
        os.umask(previous)


def adopt_listener(fd: int) -> socket.socket:
    """Take over a listening socket that was handed in (WG_UAPI_FD, socket activation).

    Raises:
        OSError: EBADF and the like; EINVAL where it is not a listening Unix stream socket.
    """
    listener = socket.socket(fileno=fd)
    listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if (listener.family, listener.type, bool(listening)) != (socket.AF_UNIX, socket.SOCK_STREAM, True):
        listener.detach()
        raise OSError(errno.EINVAL, f"descriptor {fd} is not a listening Unix stream socket")
    listener.set_inheritable(False)
    listener.setblocking(False)
    return listener


def _remove_stale(path: Path) -> None:
    remove_unnamed(path)
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "a file that is no socket is in the way", str(path))
    try:
        if not refuses(path):
            raise _in_use(path)
    except FileNotFoundError:
        return
    path.unlink(missing_ok=True)


def _in_use(path: Path) -> OSError:
    return OSError(errno.EADDRINUSE, "another process serves this interface", str(path))


class UapiServer:
    """Serves one device on one listening socket.

    Args:
        device: what the requests are about; called from the event loop.
        listener: from open_listener or adopt_listener; the server owns it from now on.
        path: its file; watched while serving and removed on close.
        on_deleted: called once when somebody deleted or replaced the file.
        watch_s: how often to look, seconds.
    """

    def __init__(
        self,
        device: Device,
        listener: socket.socket,
        path: Path,
        on_deleted: Callable[[], None],
        watch_s: float = WATCH_S,
    ) -> None:
        self._device = device
        self._listener = listener
        self._path = path
        self._identity = _identity(path)
        self._on_deleted = on_deleted
        self._watch_s = watch_s
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}  # the longest silent one first
        self._door: asyncio.Task[None] | None = None
        self._watcher: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Serve until close."""
        self._door = asyncio.create_task(self._accept())
        self._watch()

    async def close(self) -> None:
        """Stop serving, hang up on every client and remove the socket file; twice is once."""
        if self._watcher is not None:
            self._watcher.cancel()
        tasks = [*self._clients, *filter(None, (self._door,))]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()
        if self._identity is not None and _identity(self._path) == self._identity:
            with contextlib.suppress(
                OSError
            ):  # after dropping to another user it stays; the next start probes it
                self._path.unlink()

    def _watch(self) -> None:
        if self._identity is not None and _identity(self._path) == self._identity:
            self._watcher = asyncio.get_running_loop().call_later(self._watch_s, self._watch)
            return
        logger.info("%s was deleted: stopping", self._path)
        self._on_deleted()

    async def _accept(self) -> None:
        """By hand: asyncio's server tries again without a pause while the process has no descriptor left."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(self._listener)
                if not _may_speak(client):
                    client.close()
                    continue
                reader, writer = await asyncio.open_unix_connection(sock=client, limit=READ_LEN)
            except OSError as error:  # or the client has left
                if error.errno in _EXHAUSTED:
                    logger.warning("no client is served: %s", error.strerror)
                    await asyncio.sleep(EXHAUSTED_S)
                continue
            task = asyncio.create_task(self._converse(reader, writer))
            self._clients[task] = writer
            task.add_done_callback(self._part_from)
            if len(self._clients) > CLIENTS_MAX:
                next(iter(self._clients)).cancel()

    def _part_from(self, task: "asyncio.Task[None]") -> None:
        self._clients.pop(task).close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        parser = RequestParser(zone_index)
        with contextlib.suppress(ConnectionError, TimeoutError):  # the client left
            while data := await reader.read(READ_LEN):
                self._clients[task] = self._clients.pop(task)
                for request in parser.feed(data):
                    if isinstance(request, Hangup):
                        return
                    async for piece in self._answer(request):
                        writer.write(piece)
                        await writer.drain()
                    if isinstance(request, RefusedRequest) and request.close:
                        return

    async def _answer(self, request: Request) -> AsyncIterator[bytes]:
        try:
            match request:
                case GetRequest():
                    pieces = self._device.answer_get()
                case StatusRequest():
                    pieces = self._device.answer_status()
                case _:
                    pieces = iter((await self._done(request),))
            for piece in pieces:
                yield piece
                await asyncio.sleep(0)
        except WgpyError as error:
            yield format_refusal(errno.EINVAL, str(error))
        except OSError as error:
            logger.info("a request was refused: %s", os.strerror(error.errno or errno.EIO))
            yield format_errno(error.errno or errno.EIO)
        except Exception:  # our bug: loud, but the tunnel goes on
            logger.exception("a request failed")
            yield format_errno(errno.ENOANO)

    async def _done(self, request: SetRequest | RosenpassRequest | RefusedRequest | Hangup) -> bytes:
        match request:
            case SetRequest():
                self._device.apply(request.update)
            case RosenpassRequest():
                await self._device.configure_rosenpass(request.settings)
            case RefusedRequest():
                return format_errno(request.errno)
            case Hangup():
                return b""
        return format_errno(0)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _may_speak(client: socket.socket) -> bool:
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    if uid in (0, os.geteuid()):
        return True
    logger.warning("user %d tried to speak to the control socket", uid)
    return False
