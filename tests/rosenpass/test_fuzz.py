"""Any datagram, of any length and content, neither raises out of the core nor changes it."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.rosenpass_lab import START
from support.rosenpass_stages import remac, stage, untouched

from rosenpass.errors import MalformedMessage
from rosenpass.msgs import (
    CookieReply,
    EmptyData,
    InitConf,
    InitHello,
    MessageType,
    RespHello,
    classify,
)

LENGTHS = (0, 1, 3, 4, 63, 64, 65, 175, 176, 177, 1060, 1091, 1092, 1093, 1100, 1131, 1132, 1133, 2500, 65535)
UNPACK = {
    MessageType.INIT_HELLO: InitHello,
    MessageType.RESP_HELLO: RespHello,
    MessageType.INIT_CONF: InitConf,
    MessageType.EMPTY_DATA: EmptyData,
    MessageType.COOKIE_REPLY: CookieReply,
}
anything = st.one_of(
    st.binary(max_size=1200),
    st.builds(
        lambda kind, length, fill: bytes([kind])[:length] + (fill * length)[: max(0, length - 1)],
        st.sampled_from([*range(0x80, 0x88), 0, 1, 255]),
        st.sampled_from(LENGTHS),
        st.binary(min_size=1, max_size=64),
    ),
)


@given(anything)
@example(b"")
@example(b"\x81")
def test_classify_accepts_exact_lengths_only_and_messages_round_trip(wire: bytes) -> None:
    try:
        kind, form = classify(wire)
    except MalformedMessage:
        return
    message = UNPACK[kind].unpack(wire)
    packed = message.pack()
    trailer = b"" if kind is MessageType.COOKIE_REPLY else wire[-32:]
    assert packed[:1] + packed[4:] + trailer == wire[:1] + wire[4:]
    assert form in (188, 156, None)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 3), anything)
def test_arbitrary_datagrams_change_nothing(number: int, wire: bytes) -> None:
    receiver, sender, _ = stage(number)
    untouched(receiver, sender, wire)


@settings(max_examples=600, deadline=None)
@given(
    st.integers(0, 3), st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 255)), min_size=1, max_size=4)
)
def test_mutated_messages_with_good_macs_change_nothing(number: int, edits: list[tuple[int, int]]) -> None:
    receiver, sender, genuine = stage(number)
    wire = bytearray(genuine)
    for offset, change in edits:
        wire[offset % (len(wire) - 32)] ^= change
    if wire[4:-32] == genuine[4:-32]:
        return  # only reserved bytes, which anybody may set; or nothing
    untouched(receiver, sender, remac(receiver, bytes(wire)))


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_other_buffers_are_read_as_bytes(kind: type) -> None:
    receiver, sender, genuine = stage(1)
    untouched(receiver, sender, kind(bytearray(genuine[:-40] + b"x" + genuine[-39:])))
    untouched(receiver, sender, kind(bytearray(b"\x84" * 64)))


def test_every_length_of_every_type_is_survived() -> None:
    receiver, sender, _ = stage(0)
    for kind in range(256):
        for length in range(0, 200, 7):
            receiver.server.receive(bytes([kind]) * length, sender.address, START)
    for length in range(1300):
        receiver.server.receive(b"\x81" + bytes(length), sender.address, START)
    assert receiver.server.take_actions() == []
