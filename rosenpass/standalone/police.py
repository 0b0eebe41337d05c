"""Who sends more than his share to a socket of the exchange is thinned out by the kernel, before it costs us.

An InitHello costs its receiver far more than its sender, and reading one in Python costs more than making
one. So while a socket brings more than anybody honest sends, a socket filter drops most of what comes from
the shares of the address space that send so much: a source falls into one of 32 shares by a keyed hash, and
the other shares pass untouched. The filter's rate follows what still comes through, once a second, until
nothing needs to be dropped any more. No release of Rosenpass understands cookies, so a source cannot be
asked for one here.

Knows no messages. The filter is classic BPF: any process may attach one to its own socket.
"""

import ctypes
import secrets
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import Final

SHARES: Final = 32
FLOOD: Final = 4000  # datagrams a second of one socket; an exchange is two or three, 120 s apart
LET_THROUGH: Final = 200  # a second, of all shares that flood
WINDOW_S: Final = 0.25  # how long counting takes before the first look
LOOK_S: Final = 1.0
RELAX_MOST: Final = 8.0  # a flood that pauses is not let in at once
WHOLE: Final = 1 << 32

_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
_SO_MEMINFO: Final = 55
_MEMINFO_DROPS: Final = 8
_IP_HEADER: Final = 0xFFF00000  # SKF_NET_OFF
_RANDOM: Final = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
# Instructions, as in linux/filter.h
_LOAD, _LOAD_BYTE, _LOAD_NUMBER = 0x20, 0x30, 0x00
_NUMBER_TO_X, _TO_X = 0x01, 0x07
_MULTIPLY, _SHIFT_RIGHT, _SHIFT_LEFT_X, _AND, _XOR_X = 0x24, 0x74, 0x6C, 0x54, 0xAC
_IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x15, 0x35, 0x06
_EVERYTHING: Final = 0x40000

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


class Police:
    """Watches one socket; `saw` every datagram that is read from it.

    Args:
        watched: a UDP socket, not closed before this is forgotten.
    """

    def __init__(self, watched: socket.socket) -> None:
        self._socket = watched
        self._keys = (secrets.randbits(32) | 1, secrets.randbits(32) | 1)
        self._counts = [0] * SHARES
        self._since: float | None = None
        self._flooding = 0  # a bit for each share
        self._keep = 1.0  # of what these shares send

    @property
    def is_thinning(self) -> bool:
        """Whether a filter is attached."""
        return self._flooding != 0

    @property
    def dropped(self) -> int:
        """Datagrams the kernel dropped at this socket, by the filter or for want of room."""
        with suppress(OSError):
            found = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * 9)
            return int(struct.unpack("9I", found)[_MEMINFO_DROPS])
        return 0

    def share_of(self, source: IPv4Address | IPv6Address) -> int:
        """Which of the 32; by the whole IPv4 address, or the /64."""
        word = int(source)
        if source.version == 6:
            upper, lower = word >> 96, word >> 64 & 0xFFFFFFFF
            word = lower ^ upper * self._keys[1] % WHOLE
        mixed = word * self._keys[0] % WHOLE
        # Both multiplications are needed: after one alone, neighbours share a fate with one key in a hundred.
        return (mixed ^ mixed >> 16) * self._keys[1] % WHOLE * SHARES // WHOLE

    def saw(self, source: IPv4Address | IPv6Address, now: float) -> None:
        """One datagram was read; `now` in seconds of any clock."""
        self._counts[self.share_of(source)] += 1
        if self._since is None:
            self._since = now
        elif now - self._since >= (LOOK_S if self.is_thinning else WINDOW_S):
            self.look(now)

    def look(self, now: float) -> None:
        """Judge what was counted; also when nothing comes any more, a second after the last look."""
        elapsed = now - self._since if self._since is not None else LOOK_S
        counts, self._counts = self._counts, [0] * SHARES
        self._since = now
        if elapsed <= 0:
            return
        flooding = self._flooding | _flooding(counts, elapsed)
        if not flooding:
            return
        through = sum(count for share, count in enumerate(counts) if flooding >> share & 1) / elapsed
        keep = min(self._keep * RELAX_MOST, self._keep * LET_THROUGH / max(through, 1.0), 1.0)
        self._set(flooding if keep < 1.0 else 0, keep)

    def _set(self, flooding: int, keep: float) -> None:
        self._flooding, self._keep = flooding, keep
        with suppress(OSError):
            if flooding:
                self._attach(program(self._keys, flooding, keep))
            else:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)

    def _attach(self, instructions: Sequence[Instruction]) -> None:
        code = b"".join(struct.pack("=HBBI", *one) for one in instructions)
        buffer = ctypes.create_string_buffer(code, len(code))
        pointer = struct.pack("@HP", len(instructions), ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)


def _flooding(counts: Sequence[int], elapsed: float) -> int:
    """The shares that send much too much, if there is a flood at all; several may make it up together."""
    if sum(counts) / elapsed < FLOOD:
        return 0
    return sum(1 << share for share, count in enumerate(counts) if count / elapsed > FLOOD / SHARES)


def program(keys: tuple[int, int], flooding: int, keep: float) -> list[Instruction]:
    """Drops all but `keep` of what the shares in the bit mask send; `share_of` in the kernel's words."""
    most = min(int(keep * WHOLE), WHOLE - 1)
    return [
        (_NUMBER_TO_X, 0, 0, 0),
        (_LOAD_BYTE, 0, 0, _IP_HEADER),
        (_SHIFT_RIGHT, 0, 0, 4),
        (_IF_EQUAL, 0, 3, 6),
        (_LOAD, 0, 0, _IP_HEADER + 8),  # IPv6 has one word more
        (_MULTIPLY, 0, 0, keys[1]),
        (_TO_X, 0, 0, 0),
        (_LOAD, 0, 0, _IP_HEADER + 12),
        (_XOR_X, 0, 0, 0),
        (_MULTIPLY, 0, 0, keys[0]),
        (_TO_X, 0, 0, 0),
        (_SHIFT_RIGHT, 0, 0, 16),
        (_XOR_X, 0, 0, 0),
        (_MULTIPLY, 0, 0, keys[1]),
        (_SHIFT_RIGHT, 0, 0, 27),
        (_TO_X, 0, 0, 0),
        (_LOAD_NUMBER, 0, 0, 1),
        (_SHIFT_LEFT_X, 0, 0, 0),
        (_AND, 0, 0, flooding),
        (_IF_EQUAL, 2, 0, 0),
        (_LOAD, 0, 0, _RANDOM),
        (_IF_AT_LEAST, 1, 0, most),
        (_RETURN, 0, 0, _EVERYTHING),
        (_RETURN, 0, 0, 0),
    ]
