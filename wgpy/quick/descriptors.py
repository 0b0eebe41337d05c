"""Descriptors somebody handed to `up` for the device process: a TUN, UDP sockets, a UAPI socket.

They come named in WG_TUN_FD, WG_UDP_FD and WG_UAPI_FD (decimal; WG_UDP_FD a comma list), or by systemd's
socket activation, whose sockets are sorted by what they are and then named the same way. The numbers stay.
"""

import fcntl
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from wgpy.errors import UsageError

LISTEN_FDS_START = 3
TUNGETIFF = 0x800454D2
IFREQ = struct.Struct("16s24x")


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What was handed in; passed on with `environment` and `numbers`."""

    tun: int | None = None
    udp: tuple[int, ...] = ()
    uapi: int | None = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """All of them."""
        single = (number for number in (self.tun, self.uapi) if number is not None)
        return (*single, *self.udp)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that name them to the device process."""
        named = {}
        if self.tun is not None:
            named["WG_TUN_FD"] = str(self.tun)
        if self.udp:
            named["WG_UDP_FD"] = ",".join(str(number) for number in self.udp)
        if self.uapi is not None:
            named["WG_UAPI_FD"] = str(self.uapi)
        return named

    def close(self) -> None:
        """Close our copies: the device process has its own."""
        for number in self.numbers:
            os.close(number)


def handed_in(environment: Mapping[str, str], pid: int) -> Descriptors:
    """Read what was handed to process `pid`.

    Raises:
        UsageError: a variable names no open descriptor, or a socket of systemd's is of no use here.
    """
    tun = _numbers(environment, "WG_TUN_FD")
    uapi = _numbers(environment, "WG_UAPI_FD")
    if len(tun) > 1 or len(uapi) > 1:
        raise UsageError("WG_TUN_FD and WG_UAPI_FD name one descriptor each")
    udp = list(_numbers(environment, "WG_UDP_FD"))
    if environment.get("LISTEN_PID") == str(pid):
        count = (_words(environment, "LISTEN_FDS") or (0,))[0]
        for number in range(LISTEN_FDS_START, LISTEN_FDS_START + count):
            match _kind(number):
                case (socket.AF_INET | socket.AF_INET6, socket.SOCK_DGRAM):
                    udp.append(number)
                case (socket.AF_UNIX, socket.SOCK_STREAM) if not uapi:
                    uapi = (number,)
                case _:
                    raise UsageError(
                        f"descriptor {number} of socket activation is neither a UDP socket nor the one UAPI "
                        "socket; correct ListenDatagram= and ListenStream="
                    )
    return Descriptors(tun[0] if tun else None, tuple(udp), uapi[0] if uapi else None)


def tun_name(number: int) -> str:
    """The interface a TUN descriptor is attached to.

    Raises:
        UsageError: it is not an attached TUN descriptor.
    """
    request = bytearray(IFREQ.size)
    try:
        fcntl.ioctl(number, TUNGETIFF, request)
    except OSError as error:
        raise UsageError(f"WG_TUN_FD={number} is not an attached TUN descriptor: {error.strerror}") from None
    name: bytes = IFREQ.unpack(request)[0]
    return name.rstrip(b"\0").decode()


def _numbers(environment: Mapping[str, str], variable: str) -> tuple[int, ...]:
    numbers = _words(environment, variable)
    for number in numbers:
        try:
            os.fstat(number)
        except OSError as error:
            raise UsageError(f"{variable}={number}: {error.strerror}; nothing was handed in there") from None
    return numbers


def _words(environment: Mapping[str, str], variable: str) -> tuple[int, ...]:
    text = environment.get(variable, "")
    if not text:
        return ()
    words = text.split(",")
    if not all(word.isascii() and word.isdigit() and len(word) < 8 for word in words):
        raise UsageError(f"{variable}={text} is not a number")
    return tuple(int(word) for word in words)


def _kind(number: int) -> tuple[int, int]:
    try:
        with socket.socket(fileno=os.dup(number)) as handed:
            return handed.family, handed.type
    except OSError as error:
        raise UsageError(f"descriptor {number} of socket activation: {error.strerror}") from None
