"""A TUN interface as a descriptor: opened or adopted, and what may be asked and set through it.

Knows nothing of packets: tun.dataplane reads and writes them, and negotiates the offloads. The interface may
be renamed or moved to another network namespace at any time, so its name and namespace are asked for anew.
"""

import errno
import fcntl
import os
import select
import socket
import struct
import threading
from dataclasses import dataclass
from typing import Final

import pytun

from .errors import DeviceGone, PermissionMissing, TunError

NAME_MAX: Final = 15
TXQUEUELEN: Final = 1000

_TUNGETIFF: Final = 0x800454D2
_TUNSETQUEUE: Final = 0x400454D9
_TUNGETDEVNETNS: Final = 0x54E3
_SIOCGIFMTU: Final = 0x8921
_IFREQ: Final = struct.Struct("16s24x")
_IFREQ_FLAGS: Final = struct.Struct("16sH22x")
_IFREQ_INT: Final = struct.Struct("16si20x")
_IFF_VNET_HDR: Final = 0x4000
_IFF_MULTI_QUEUE: Final = 0x0100
_IFF_DETACH_QUEUE: Final = 0x0400
_CLONE_NEWNET: Final = 0x40000000

_FLAGS: Final = pytun.IFF_TUN | pytun.IFF_NO_PI | pytun.IFF_VNET_HDR

# rtnetlink, for the one message of `configure`: importing a whole library would double the start time.
_NETLINK_ROUTE: Final = 0
_RTMGRP_LINK: Final = 1
_RTM_NEWLINK: Final = 16
_NLM_F_REQUEST_ACK: Final = 0x05
_NLMSG_ERROR: Final = 2
_IFLA_MTU: Final = 4
_IFLA_TXQLEN: Final = 13
_IFLA_AF_SPEC: Final = 26
_IFLA_INET6_ADDR_GEN_MODE: Final = 8
_ADDR_GEN_MODE_NONE: Final = 1


@dataclass(frozen=True, slots=True)
class Tun:
    """An attached TUN: non-blocking descriptors, closed on exec. The interface goes with the last one.

    `queues` has (read, write) descriptors for each pair of workers.
    """

    queues: tuple[tuple[int, int], ...]
    has_vnet_header: bool

    @property
    def fd(self) -> int:
        """The first queue, for what concerns the whole interface."""
        return self.queues[0][0]

    @property
    def name(self) -> str:
        """What the interface is called now.

        Raises:
            DeviceGone: it was deleted.
        """
        return _interface_of(self.fd)[0]

    @property
    def is_up(self) -> bool:
        """Whether the interface is up, in whichever namespace it is."""
        poller = select.poll()
        poller.register(self.fd, select.POLLOUT)
        return any(event & select.POLLOUT for _, event in poller.poll(0))

    def close(self) -> None:
        """Let go of the interface; unless it is persistent, it is deleted."""
        for each in {fd for queue in self.queues for fd in queue}:
            os.close(each)


class OneQueueOnly(TunError):  # noqa: N818
    """The interface was made without IFF_MULTI_QUEUE, so it cannot have several queues."""


def open_tun(name: str, workers: int = 1) -> Tun:
    """Create the interface, or attach to a persistent one that was made for us.

    With several workers each has a queue to read, and a detached one to write to: what is written to an
    attached queue makes the kernel move that flow's other direction there, which reorders it.

    Args:
        name: at most 15 bytes; "wg%d" lets the kernel number it.
        workers: how many queues to read.

    Raises:
        PermissionMissing: no CAP_NET_ADMIN, or no access to /dev/net/tun.
        OneQueueOnly: workers > 1, but the interface was made for one queue.
        TunError: EBUSY: another process holds it; EINVAL: another kind of interface has the name.
    """
    if not 0 < len(name.encode()) <= NAME_MAX or "/" in name or name.isspace():
        raise TunError(errno.EINVAL, f"{name!r} cannot be an interface's name")
    if workers == 1:
        return adopt(_open_queue(name, 0, workers))
    opened: list[int] = []
    try:
        for _ in range(2 * workers):
            opened.append(_open_queue(name, _IFF_MULTI_QUEUE, workers))
            name = _interface_of(opened[0])[0]
            os.set_blocking(opened[-1], False)
        for fd in opened[workers:]:
            fcntl.ioctl(fd, _TUNSETQUEUE, _IFREQ_FLAGS.pack(b"", _IFF_DETACH_QUEUE))
    except OSError:
        for fd in opened:
            os.close(fd)
        raise
    return Tun(tuple(zip(opened[:workers], opened[workers:], strict=True)), has_vnet_header=True)


def _open_queue(name: str, more_flags: int, workers: int) -> int:
    try:
        device = pytun.TunTapDevice(name, flags=_FLAGS | more_flags)
    except OSError as error:
        raise _open_error(name, error, workers) from None
    try:
        return fcntl.fcntl(device.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        device.close()


def adopt(fd: int) -> Tun:
    """Take over an attached descriptor that was handed in.

    Raises:
        TunError: EINVAL: it is no attached TUN.
    """
    try:
        _, flags = _interface_of(fd)
    except OSError as error:
        raise TunError(errno.EINVAL, f"descriptor {fd} is not an attached TUN: {error.strerror}") from None
    os.set_inheritable(fd, False)
    os.set_blocking(fd, False)
    return Tun(((fd, fd),), bool(flags & _IFF_VNET_HDR))


def configure(name: str, mtu: int) -> None:
    """MTU, queue length, and no IPv6 link-local address: its router solicitations would wake handshakes.

    Raises:
        OSError: the interface is not in our namespace, or we may not.
    """
    mode = _attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_MODE_NONE]))
    _set_link(name, _attribute(_IFLA_MTU, mtu) + _attribute(_IFLA_TXQLEN, TXQUEUELEN))
    try:
        _set_link(name, _attribute(_IFLA_AF_SPEC, _attribute(socket.AF_INET6, mode)))
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP):
            raise  # else there is no IPv6 here, or no such mode: nothing that could talk


class LinkWatch:
    """Tells when the interface may have changed, from inside the namespace where it is.

    `fileno` is readable after link messages; `mtu` asks for the present one. `follow` looks whether the
    interface was moved, and moves along; without CAP_NET_ADMIN it stays where it was.
    """

    def __init__(self, tun: Tun) -> None:
        self._tun = tun
        self._namespace: tuple[int, int] | None = None
        self._control: socket.socket | None = None
        self._messages: socket.socket | None = None

    def fileno(self) -> int:
        """The netlink socket; -1 without one."""
        return self._messages.fileno() if self._messages is not None else -1

    def follow(self) -> bool:
        """Whether the descriptor of `fileno` is another one now."""
        try:
            descriptor = fcntl.ioctl(self._tun.fd, _TUNGETDEVNETNS)
        except OSError:
            if self._control is not None:
                return False
            self._use(_open_watchers())
            return True
        try:
            found = os.fstat(descriptor)
            identity = (found.st_dev, found.st_ino)
            if identity == self._namespace:
                return False
            self._use(_open_in(descriptor, identity))
            self._namespace = identity
        finally:
            os.close(descriptor)
        return True

    def drain(self) -> None:
        """Forget the messages that woke us: what is true now is asked for."""
        while self._messages is not None:
            try:
                if not self._messages.recv(1 << 16):
                    return
            except BlockingIOError:
                return
            except OSError:
                continue  # ENOBUFS: some were lost, which does not matter here

    def mtu(self) -> int | None:
        """The interface's MTU; None where it cannot be asked."""
        if self._control is None:
            return None
        try:
            request = _IFREQ_INT.pack(self._tun.name.encode(), 0)
            answer = fcntl.ioctl(self._control, _SIOCGIFMTU, request)
        except OSError:
            return None
        return int(_IFREQ_INT.unpack(answer)[1])

    def close(self) -> None:
        """Close both sockets."""
        for each in (self._control, self._messages):
            if each is not None:
                each.close()
        self._control = self._messages = None

    def _use(self, sockets: tuple[socket.socket, socket.socket]) -> None:
        self.close()
        self._control, self._messages = sockets


def _open_watchers() -> tuple[socket.socket, socket.socket]:
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    messages = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
    messages.bind((0, _RTMGRP_LINK))
    messages.setblocking(False)
    return control, messages


def _open_in(namespace: int, identity: tuple[int, int]) -> tuple[socket.socket, socket.socket]:
    """The watchers, opened inside a namespace: by a thread that enters it and ends there."""
    here = os.stat("/proc/thread-self/ns/net")
    if (here.st_dev, here.st_ino) == identity:
        return _open_watchers()
    opened: list[tuple[socket.socket, socket.socket]] = []

    def enter() -> None:
        import ctypes

        if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) == 0:
            opened.append(_open_watchers())

    thread = threading.Thread(target=enter, name="wgpy-netns")
    thread.start()
    thread.join()
    return opened[0] if opened else _open_watchers()


def _interface_of(fd: int) -> tuple[str, int]:
    try:
        answer = fcntl.ioctl(fd, _TUNGETIFF, bytes(_IFREQ.size))
    except OSError as error:
        if error.errno == errno.EBADFD:
            raise DeviceGone(error.errno, "the interface is gone") from None
        raise
    name, flags = _IFREQ_FLAGS.unpack(answer)
    return name.rstrip(b"\0").decode(), flags


def _opens_with(name: str, more_flags: int) -> bool:
    """Whether it was the wrong kind of TUN: sysfs knows only the namespace it was mounted in."""
    try:
        pytun.TunTapDevice(name, flags=_FLAGS | more_flags).close()
    except OSError:
        return False
    return True


def _open_error(name: str, error: OSError, workers: int) -> TunError:
    # pytun puts errno and text into args, whichever way it raises.
    number = error.errno or (error.args[0] if error.args and isinstance(error.args[0], int) else errno.EIO)
    if number in (errno.EPERM, errno.EACCES):
        return PermissionMissing(
            number, f"{name}: creating an interface needs CAP_NET_ADMIN and /dev/net/tun"
        )
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return PermissionMissing(number, f"{name}: there is no /dev/net/tun here")
    if number == errno.EINVAL and workers > 1 and _opens_with(name, 0):
        return OneQueueOnly(
            number,
            f"{name} was made for one queue, so it cannot have {workers} pairs of workers: set Workers = 1, "
            f"or delete it and make it again with `ip tuntap add {name} mode tun multi_queue`",
        )
    if number == errno.EINVAL and workers == 1 and _opens_with(name, _IFF_MULTI_QUEUE):
        return TunError(
            number,
            f"{name} was made with multi_queue, so one pair of workers cannot open it: set Workers = 2, or "
            f"delete it and make it again with `ip tuntap add {name} mode tun`",
        )
    if number == errno.EBUSY:
        return TunError(number, f"{name}: another process holds this interface")
    return TunError(number, f"{name}: cannot create the interface: {os.strerror(number)}")


def _attribute(kind: int, value: int | bytes) -> bytes:
    payload = struct.pack("=I", value) if isinstance(value, int) else value
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + bytes(-length % 4)


def _set_link(name: str, attributes: bytes) -> None:
    index = socket.if_nametoindex(name)
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, 0, 0) + attributes
    header = struct.pack("=IHHII", 16 + len(body), _RTM_NEWLINK, _NLM_F_REQUEST_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as netlink:
        netlink.settimeout(5)
        netlink.bind((0, 0))
        netlink.send(header + body)
        answer = netlink.recv(4096)
    kind = struct.unpack_from("=H", answer, 4)[0]
    number = -struct.unpack_from("=i", answer, 16)[0] if kind == _NLMSG_ERROR else 0
    if number:
        raise OSError(number, f"{name}: {os.strerror(number)}")
