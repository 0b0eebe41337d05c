from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import vectors
from support.seeded import seeded_bytes

from wgpy import crypto, noise
from wgpy.constants import LABEL_MAC1
from wgpy.errors import AuthenticationError, MalformedMessage
from wgpy.messages import Initiation, Response
from wgpy.noise import (
    Arithmetic,
    ReceivedInitiation,
    SentInitiation,
    StaticIdentity,
    SymmetricState,
    TransportKeys,
)
from wgpy.noise_native import NativeNoise

unhex = bytes.fromhex


@pytest.fixture(scope="module", params=["reference", "native"])
def arithmetic(request: pytest.FixtureRequest) -> Arithmetic:
    """Every claim below holds for both."""
    return noise if request.param == "reference" else NativeNoise()


def sessions() -> list[dict[str, Any]]:
    found = list(vectors.shared("wireguard/handshake_captures.json")["sessions"])
    found += vectors.shared("wireguard/handshake_dissector.json")["sessions"]
    generated = vectors.shared("wireguard/handshake_generated.json")
    return [*found, generated, *vectors.own("handshakes.json")["sessions"]]


def mac1(receiver_static: bytes, body: bytes) -> bytes:
    return crypto.mac(crypto.hash_(LABEL_MAC1, receiver_static), body)


def replay(arithmetic: Arithmetic, session: dict[str, Any]) -> tuple[TransportKeys, TransportKeys]:
    """Both sides with the recorded randomness; every byte on the wire is compared."""
    initiator = StaticIdentity.from_private(unhex(session["initiator_static_private"]))
    responder = StaticIdentity.from_private(unhex(session["responder_static_private"]))
    wire1, wire2 = unhex(session["initiation"]), unhex(session["response"])
    psk = unhex(session["preshared_key"])
    shared = initiator.shared_with(responder.public_key)
    assert shared is not None
    assert shared.hex() == session["trace"]["dh_ss"]

    sent, initiation = arithmetic.create_initiation(
        initiator,
        responder.public_key,
        shared,
        bytearray(unhex(session["initiator_ephemeral_private"])),
        int.from_bytes(wire1[4:8], "little"),
        unhex(session["timestamp"]),
    )
    assert initiation.pack() == wire1[:116]
    assert mac1(responder.public_key, wire1[:116]) == wire1[116:132]

    claimed = arithmetic.open_initiation(responder, Initiation.unpack(wire1))
    assert claimed.remote_static == initiator.public_key
    received = arithmetic.consume_initiation(claimed, shared)
    assert received.timestamp.hex() == session["timestamp"]
    theirs, response = arithmetic.create_response(
        received,
        bytearray(unhex(session["responder_ephemeral_private"])),
        psk,
        int.from_bytes(wire2[4:8], "little"),
    )
    assert response.pack() == wire2[:60]
    assert mac1(initiator.public_key, wire2[:60]) == wire2[60:76]

    position, ours = arithmetic.consume_response(
        initiator, sent, Response.unpack(wire2), [bytes(31) + b"x", psk]
    )
    assert position == 1
    assert ours.send_key.hex() == session["trace"]["initiator_send_key"]
    assert ours.receive_key.hex() == session["trace"]["initiator_recv_key"]
    return ours, theirs


def test_recorded_handshakes_replay_bit_for_bit(arithmetic: Arithmetic) -> None:
    for session in sessions():
        ours, theirs = replay(arithmetic, session)
        assert (ours.send_key, ours.receive_key) == (theirs.receive_key, theirs.send_key)
        assert (ours.local_index, ours.remote_index) == (theirs.remote_index, theirs.local_index)


def test_own_vectors_replay_without_the_shared_ones(arithmetic: Arithmetic) -> None:
    for session in vectors.own("handshakes.json")["sessions"]:
        replay(arithmetic, session)


def test_recorded_data_opens_with_the_derived_keys(arithmetic: Arithmetic) -> None:
    for session in vectors.shared("wireguard/handshake_captures.json")["sessions"]:
        ours, _ = replay(arithmetic, session)
        for data in session["data"]:
            packet = unhex(data["packet"])
            key = ours.send_key if data["dir"] == "i2r" else ours.receive_key
            counter = int.from_bytes(packet[8:16], "little")
            assert crypto.aead_open(key, counter, packet[16:], b"").hex() == data["plaintext"]


def test_initial_values_are_those_of_the_paper() -> None:
    table = vectors.shared("wireguard/constants.json")
    assert noise.INITIAL_CHAINING_KEY.hex() == table["initial_chaining_key"]
    assert noise.INITIAL_HASH.hex() == table["initial_hash"]


def test_symmetric_state_speaks_generic_noise() -> None:
    """The published IKpsk2 vector: other prologue, other payloads, the same state machine."""
    for vector in vectors.shared("wireguard/noise_ikpsk2_cacophony.json")["vectors"]:
        replay_cacophony({name: value for name, value in vector.items()})


def replay_cacophony(vector: dict[str, Any]) -> None:
    static_i, static_r, e_i, e_r = (
        unhex(vector[name]) for name in ("init_static", "resp_static", "init_ephemeral", "resp_ephemeral")
    )
    public_r = unhex(vector["init_remote_static"])
    psk = unhex(vector["init_psks"][0])
    wires = [unhex(message["ciphertext"]) for message in vector["messages"]]
    payloads = [unhex(message["payload"]) for message in vector["messages"]]

    state = SymmetricState(noise.INITIAL_CHAINING_KEY, noise.INITIAL_CHAINING_KEY)
    state.mix_hash(unhex(vector["init_prologue"]))
    state.mix_hash(public_r)
    first = crypto.public_key(e_i)
    state.mix_ephemeral(first)  # a psk pattern: e enters the chaining key as well
    first += state.seal(state.derive_key(crypto.dh(e_i, public_r)), crypto.public_key(static_i))
    first += state.seal(state.derive_key(crypto.dh(static_i, public_r)), payloads[0])
    assert first == wires[0]

    second = crypto.public_key(e_r)
    state.mix_ephemeral(second)
    state.mix_key(crypto.dh(e_r, crypto.public_key(e_i)))
    state.mix_key(crypto.dh(e_r, crypto.public_key(static_i)))
    second += state.seal(state.mix_psk(psk), payloads[1])
    assert second == wires[1]
    assert state.hash.hex() == vector["handshake_hash"]
    assert static_r  # only its public half enters here

    keys = state.split()
    for number, (payload, wire) in enumerate(zip(payloads[2:], wires[2:], strict=True)):
        assert crypto.aead_seal(keys[number % 2], number // 2, payload, b"") == wire


# -- properties, with keys of our own


class Two:
    def __init__(self, arithmetic: Arithmetic, seed: int = 1) -> None:
        self.arithmetic = arithmetic
        self.random = seeded_bytes(seed)
        self.initiator = StaticIdentity.from_private(self.random(32))
        self.responder = StaticIdentity.from_private(self.random(32))
        shared = self.initiator.shared_with(self.responder.public_key)
        assert shared is not None
        self.shared = shared

    def ephemeral(self) -> bytearray:
        return crypto.generate_private_key(self.random)

    def initiate(self) -> tuple[SentInitiation, Initiation]:
        return self.arithmetic.create_initiation(
            self.initiator, self.responder.public_key, self.shared, self.ephemeral(), 7, bytes(12)
        )

    def receive(self, message: Initiation) -> ReceivedInitiation:
        claimed = self.arithmetic.open_initiation(self.responder, message)
        return self.arithmetic.consume_initiation(claimed, self.shared)


def test_any_of_several_preshared_keys_may_fit(arithmetic: Arithmetic) -> None:
    two = Two(arithmetic)
    keys = [two.random(32) for _ in range(4)]
    for position, key in enumerate(keys):
        sent, initiation = two.initiate()
        theirs, response = arithmetic.create_response(two.receive(initiation), two.ephemeral(), key, 9)
        found, ours = arithmetic.consume_response(two.initiator, sent, response, keys)
        assert found == position
        assert ours.send_key == theirs.receive_key


def test_a_response_under_an_unknown_key_changes_nothing(arithmetic: Arithmetic) -> None:
    two = Two(arithmetic)
    sent, initiation = two.initiate()
    received = two.receive(initiation)
    before = (bytes(sent.state.chaining_key), sent.state.hash, bytes(sent.ephemeral_private))
    _, wrong = arithmetic.create_response(two.receive(initiation), two.ephemeral(), two.random(32), 8)
    with pytest.raises(AuthenticationError):
        arithmetic.consume_response(two.initiator, sent, wrong, [bytes(32)])
    assert before == (bytes(sent.state.chaining_key), sent.state.hash, bytes(sent.ephemeral_private))
    _, right = arithmetic.create_response(received, two.ephemeral(), bytes(32), 9)
    assert arithmetic.consume_response(two.initiator, sent, right, [bytes(32)])[0] == 0


@settings(max_examples=60)
@given(position=st.integers(min_value=0, max_value=147), flip=st.integers(min_value=1, max_value=255))
def test_a_flipped_bit_of_an_initiation_never_authenticates(
    arithmetic: Arithmetic, position: int, flip: int
) -> None:
    two = Two(arithmetic)
    _, initiation = two.initiate()
    wire = bytearray(initiation.pack() + bytes(32))
    wire[position] ^= flip
    harmless = position in range(4, 8) or position >= 116  # sender index and macs are not under the AEAD
    try:
        two.receive(Initiation.unpack(bytes(wire)))
    except (AuthenticationError, MalformedMessage):
        assert not harmless
    else:
        # bit 255 of an X25519 public key is ignored by DH, but the hash catches it
        assert harmless


@settings(max_examples=40)
@given(tail=st.binary(min_size=144, max_size=144))
def test_arbitrary_initiations_raise_nothing_else(arithmetic: Arithmetic, tail: bytes) -> None:
    with pytest.raises(AuthenticationError):
        Two(arithmetic).receive(Initiation.unpack(b"\x01\0\0\0" + tail))


@settings(max_examples=40)
@given(tail=st.binary(min_size=88, max_size=88))
def test_arbitrary_responses_raise_nothing_else(arithmetic: Arithmetic, tail: bytes) -> None:
    two = Two(arithmetic)
    sent, _ = two.initiate()
    with pytest.raises(AuthenticationError):
        arithmetic.consume_response(two.initiator, sent, Response.unpack(b"\x02\0\0\0" + tail), [bytes(32)])


def test_an_initiation_for_another_static_key_does_not_open(arithmetic: Arithmetic) -> None:
    two = Two(arithmetic)
    _, initiation = two.initiate()
    with pytest.raises(AuthenticationError):
        arithmetic.open_initiation(two.initiator, initiation)


def test_secrets_are_wiped_and_never_shown(arithmetic: Arithmetic) -> None:
    two = Two(arithmetic)
    sent, initiation = two.initiate()
    received = two.receive(initiation)
    ephemeral = two.ephemeral()
    keys, response = arithmetic.create_response(received, ephemeral, bytes(32), 9)
    assert ephemeral == bytes(32)
    assert received.state.chaining_key == bytes(32)
    assert keys.send_key.hex() not in repr(keys)
    assert two.initiator.private_key.hex() not in repr(two.initiator)
    arithmetic.consume_response(two.initiator, sent, response, [bytes(32)])
    sent.wipe()
    assert sent.ephemeral_private == bytes(32)
    assert sent.state.chaining_key == bytes(32)
    keys.wipe()
    assert keys.send_key == keys.receive_key == bytes(32)
