"""The four wire messages: lengths, layouts, pack and unpack.

Knows no cryptography. The last 32 bytes of the first two are mac1 and mac2: incoming ones are checked in C
before a message gets here, outgoing ones are appended by wgpy.cookie to the `body` that `pack` gives.

    initiation 148    type 1 | sender 4 | ephemeral 32 | static 32+16 | timestamp 12+16 | mac1 16 | mac2 16
    response    92    type 2 | sender 4 | receiver 4 | ephemeral 32 | empty 16 | mac1 16 | mac2 16
    cookie      64    type 3 | receiver 4 | nonce 24 | cookie 16+16
    transport  32+    type 4 | receiver 4 | counter 8 | packet, padded, +16                       (C only)

Paper: WireGuard §5.4.
"""

import struct
from dataclasses import dataclass
from typing import Final, Self

from wgpy.constants import COOKIE_REPLY_LEN, INITIATION_LEN, MACS_LEN, RESPONSE_LEN
from wgpy.errors import MalformedMessage

TYPE_INITIATION: Final = 1
TYPE_RESPONSE: Final = 2
TYPE_COOKIE_REPLY: Final = 3
TYPE_TRANSPORT: Final = 4

# The type is read as a 32-bit word: its three reserved bytes must be zero.
_INITIATION: Final = struct.Struct("<II32s48s28s")
_RESPONSE: Final = struct.Struct("<III32s16s")
_COOKIE_REPLY: Final = struct.Struct("<II24s32s")


@dataclass(frozen=True, slots=True)
class Initiation:
    """Message 1 without its macs."""

    sender_index: int
    ephemeral: bytes
    encrypted_static: bytes
    encrypted_timestamp: bytes

    def pack(self) -> bytes:
        """The 116-byte body."""
        return _INITIATION.pack(
            TYPE_INITIATION,
            self.sender_index,
            self.ephemeral,
            self.encrypted_static,
            self.encrypted_timestamp,
        )

    @classmethod
    def unpack(cls, datagram: bytes) -> Self:
        """Raises MalformedMessage on a wrong length or type."""
        _require(datagram, TYPE_INITIATION, INITIATION_LEN)
        return cls(*_INITIATION.unpack(datagram[:-MACS_LEN])[1:])


@dataclass(frozen=True, slots=True)
class Response:
    """Message 2 without its macs."""

    sender_index: int
    receiver_index: int
    ephemeral: bytes
    encrypted_empty: bytes

    def pack(self) -> bytes:
        """The 60-byte body."""
        return _RESPONSE.pack(
            TYPE_RESPONSE, self.sender_index, self.receiver_index, self.ephemeral, self.encrypted_empty
        )

    @classmethod
    def unpack(cls, datagram: bytes) -> Self:
        """Raises MalformedMessage on a wrong length or type."""
        _require(datagram, TYPE_RESPONSE, RESPONSE_LEN)
        return cls(*_RESPONSE.unpack(datagram[:-MACS_LEN])[1:])


@dataclass(frozen=True, slots=True)
class CookieReply:
    """Message 3; it has no macs."""

    receiver_index: int
    nonce: bytes
    encrypted_cookie: bytes

    def pack(self) -> bytes:
        """All 64 bytes."""
        return _COOKIE_REPLY.pack(TYPE_COOKIE_REPLY, self.receiver_index, self.nonce, self.encrypted_cookie)

    @classmethod
    def unpack(cls, datagram: bytes) -> Self:
        """Raises MalformedMessage on a wrong length or type."""
        _require(datagram, TYPE_COOKIE_REPLY, COOKIE_REPLY_LEN)
        return cls(*_COOKIE_REPLY.unpack(datagram)[1:])


def unpack(datagram: bytes) -> Initiation | Response | CookieReply:
    """A handshake message of any kind; MalformedMessage for everything else, transport data included."""
    match int.from_bytes(datagram[:4], "little"):
        case 1:
            return Initiation.unpack(datagram)
        case 2:
            return Response.unpack(datagram)
        case 3:
            return CookieReply.unpack(datagram)
        case other:
            raise MalformedMessage(f"type {other}, {len(datagram)} bytes")


def _require(datagram: bytes, kind: int, length: int) -> None:
    if len(datagram) != length:
        raise MalformedMessage(f"type {kind} of {len(datagram)} bytes, wanted {length}")
    if int.from_bytes(datagram[:4], "little") != kind:
        raise MalformedMessage(f"not of type {kind}")
