import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy import messages
from wgpy.errors import MalformedMessage
from wgpy.messages import CookieReply, Initiation, Response

INDEX = st.integers(min_value=0, max_value=0xFFFFFFFF)


def of(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


@given(INDEX, of(32), of(48), of(28))
def test_initiation_survives_the_wire(index: int, ephemeral: bytes, static: bytes, stamp: bytes) -> None:
    message = Initiation(index, ephemeral, static, stamp)
    assert len(message.pack()) == 116
    assert messages.unpack(message.pack() + bytes(32)) == message


@given(INDEX, INDEX, of(32), of(16))
def test_response_survives_the_wire(sender: int, receiver: int, ephemeral: bytes, empty: bytes) -> None:
    message = Response(sender, receiver, ephemeral, empty)
    assert len(message.pack()) == 60
    assert messages.unpack(message.pack() + bytes(32)) == message


@given(INDEX, of(24), of(32))
def test_cookie_reply_survives_the_wire(index: int, nonce: bytes, sealed: bytes) -> None:
    message = CookieReply(index, nonce, sealed)
    assert messages.unpack(message.pack()) == message


@pytest.mark.parametrize("length", [0, 1, 3, 4, 31, 63, 65, 91, 93, 147, 149, 1500, 65535])
@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 5, 6, 255])
def test_wrong_length_or_type_is_malformed(kind: int, length: int) -> None:
    with pytest.raises(MalformedMessage):
        messages.unpack(bytes([kind]) + bytes(length - 1) if length else b"")


@pytest.mark.parametrize("position", [1, 2, 3])
def test_a_reserved_byte_that_is_not_zero_is_malformed(position: int) -> None:
    datagram = bytearray(b"\x01" + bytes(147))
    datagram[position] = 1
    with pytest.raises(MalformedMessage):
        messages.unpack(bytes(datagram))


@given(st.binary(max_size=200))
def test_unpack_is_total(datagram: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        messages.unpack(datagram)
