"""The five messages and the envelope around four of them, between bytes and values.

Checks lengths and types and nothing else: no keys, no state. All integers are little-endian. L is the Classic
McEliece ciphertext form, 188 or 156.

    InitHello    904 + L  81 0 0 0 | sidi 4 | epki 800 | sctr L | pidi_ct 48 | auth 16 | mac 16 | cookie 16
    RespHello    944 + L  82 0 0 0 | sidr 4 | sidi 4 | ecti 768 | scti L | auth 16 | biscuit 116 | mac, cookie
    InitConf     176      83 0 0 0 | sidi 4 | sidr 4 | biscuit 116 | auth 16 | mac | cookie
    EmptyData    64       84 0 0 0 | sid 4 | ctr 8 | auth 16 | mac | cookie
    CookieReply  904 + L  86 0 0 0 | sid 4 | nonce 24, encrypted cookie 16, tag 16 | padding
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from .constants import (
    BISCUIT_CT_LEN,
    COOKIE_LEN,
    EPHEMERAL_CIPHERTEXT_LEN,
    EPHEMERAL_PUBLIC_KEY_LEN,
    MAC_LEN,
    PEER_ID_LEN,
    SID_LEN,
    STATIC_CIPHERTEXT_CONFIRMED_LEN,
    STATIC_CIPHERTEXT_LEN,
    TAG_LEN,
    XNONCE_LEN,
)
from .errors import MalformedMessage

HEADER_LEN = 4
TRAILER_LEN = MAC_LEN + COOKIE_LEN
COUNTER_LEN = 8
COOKIE_BOX_LEN = XNONCE_LEN + COOKIE_LEN + TAG_LEN


class MessageType(IntEnum):
    """First byte of every datagram; all above WireGuard's 1 to 4, so both can share a port."""

    INIT_HELLO = 0x81
    RESP_HELLO = 0x82
    INIT_CONF = 0x83
    EMPTY_DATA = 0x84
    COOKIE_REPLY = 0x86


@dataclass(frozen=True, slots=True)
class InitHello:
    """Initiator to responder, the first message."""

    sidi: bytes
    epki: bytes
    sctr: bytes
    pidi_ct: bytes
    auth: bytes

    def pack(self) -> bytes:
        """Return the message without mac and cookie."""
        return _header(MessageType.INIT_HELLO) + self.sidi + self.epki + self.sctr + self.pidi_ct + self.auth

    @classmethod
    def unpack(cls, wire: bytes) -> Self:
        """Read a datagram whose length and type classify() accepted."""
        take = _Reader(wire)
        sctr_len = len(wire) - 904
        return cls(
            take(SID_LEN),
            take(EPHEMERAL_PUBLIC_KEY_LEN),
            take(sctr_len),
            take(PEER_ID_LEN + TAG_LEN),
            take(TAG_LEN),
        )


@dataclass(frozen=True, slots=True)
class RespHello:
    """Responder to initiator. Mind the order: sidr before sidi, auth before the biscuit."""

    sidr: bytes
    sidi: bytes
    ecti: bytes
    scti: bytes
    auth: bytes
    biscuit_ct: bytes

    def pack(self) -> bytes:
        """Return the message without mac and cookie."""
        head = _header(MessageType.RESP_HELLO) + self.sidr + self.sidi
        return head + self.ecti + self.scti + self.auth + self.biscuit_ct

    @classmethod
    def unpack(cls, wire: bytes) -> Self:
        """Read a datagram whose length and type classify() accepted."""
        take = _Reader(wire)
        scti_len = len(wire) - 944
        return cls(
            take(SID_LEN),
            take(SID_LEN),
            take(EPHEMERAL_CIPHERTEXT_LEN),
            take(scti_len),
            take(TAG_LEN),
            take(BISCUIT_CT_LEN),
        )


@dataclass(frozen=True, slots=True)
class InitConf:
    """Initiator to responder: the biscuit goes home."""

    sidi: bytes
    sidr: bytes
    biscuit_ct: bytes
    auth: bytes

    def pack(self) -> bytes:
        """Return the message without mac and cookie."""
        return _header(MessageType.INIT_CONF) + self.sidi + self.sidr + self.biscuit_ct + self.auth

    @classmethod
    def unpack(cls, wire: bytes) -> Self:
        """Read a datagram whose length and type classify() accepted."""
        take = _Reader(wire)
        return cls(take(SID_LEN), take(SID_LEN), take(BISCUIT_CT_LEN), take(TAG_LEN))


@dataclass(frozen=True, slots=True)
class EmptyData:
    """Responder to initiator: the InitConf was accepted."""

    sid: bytes
    ctr: int
    auth: bytes

    def pack(self) -> bytes:
        """Return the message without mac and cookie."""
        return (
            _header(MessageType.EMPTY_DATA) + self.sid + self.ctr.to_bytes(COUNTER_LEN, "little") + self.auth
        )

    @classmethod
    def unpack(cls, wire: bytes) -> Self:
        """Read a datagram whose length and type classify() accepted."""
        take = _Reader(wire)
        return cls(take(SID_LEN), int.from_bytes(take(COUNTER_LEN), "little"), take(TAG_LEN))


@dataclass(frozen=True, slots=True)
class CookieReply:
    """Responder to initiator, instead of a RespHello: prove first that you receive at your address.

    Attributes:
        box: nonce 24, encrypted cookie value 16, tag 16.
        padding: random, as much as makes the reply as long as the InitHello it answers.
    """

    sid: bytes
    box: bytes
    padding: bytes

    def pack(self) -> bytes:
        """Return the whole datagram: this message has no envelope."""
        return _header(MessageType.COOKIE_REPLY) + self.sid + self.box + self.padding

    @classmethod
    def unpack(cls, wire: bytes) -> Self:
        """Read a datagram whose length and type classify() accepted."""
        take = _Reader(wire)
        return cls(
            take(SID_LEN), take(COOKIE_BOX_LEN), take(len(wire) - HEADER_LEN - SID_LEN - COOKIE_BOX_LEN)
        )


_FORMS = (STATIC_CIPHERTEXT_CONFIRMED_LEN, STATIC_CIPHERTEXT_LEN)
_LENGTHS: dict[tuple[int, int], tuple[MessageType, int | None]] = {
    (MessageType.INIT_CONF, 176): (MessageType.INIT_CONF, None),
    (MessageType.EMPTY_DATA, 64): (MessageType.EMPTY_DATA, None),
    **{(MessageType.INIT_HELLO, 904 + form): (MessageType.INIT_HELLO, form) for form in _FORMS},
    **{(MessageType.RESP_HELLO, 944 + form): (MessageType.RESP_HELLO, form) for form in _FORMS},
    **{(MessageType.COOKIE_REPLY, 904 + form): (MessageType.COOKIE_REPLY, form) for form in _FORMS},
}


def classify(wire: bytes) -> tuple[MessageType, int | None]:
    """Return type and Classic McEliece form (None where the message has no such ciphertext).

    Raises:
        MalformedMessage: empty, an unknown type, or not exactly a length this type can have.
    """
    found = _LENGTHS.get((wire[0], len(wire))) if wire else None
    if found is None:
        raise MalformedMessage(f"{len(wire)} bytes are no message of this type")
    return found


@dataclass(frozen=True, slots=True)
class Envelope:
    """A whole datagram seen as the four enveloped messages are: payload, mac, cookie."""

    wire: bytes

    @property
    def mac(self) -> bytes:
        """The 16-byte mac."""
        return self.wire[-TRAILER_LEN:-COOKIE_LEN]

    @property
    def cookie(self) -> bytes:
        """The 16-byte cookie; anything, unless the receiver is under load."""
        return self.wire[-COOKIE_LEN:]

    @property
    def before_mac(self) -> bytes:
        """What the mac covers."""
        return self.wire[:-TRAILER_LEN]

    @property
    def before_cookie(self) -> bytes:
        """What the cookie covers."""
        return self.wire[:-COOKIE_LEN]


class _Reader:
    """Consecutive fields after the four header bytes."""

    def __init__(self, wire: bytes) -> None:
        self._wire = wire
        self._offset = HEADER_LEN

    def __call__(self, length: int) -> bytes:
        start, self._offset = self._offset, self._offset + length
        return self._wire[start : self._offset]


def _header(kind: MessageType) -> bytes:
    return bytes((kind, 0, 0, 0))
