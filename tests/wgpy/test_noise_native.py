"""The arithmetic in C beside its reference: one goes on where the other stopped, and leaves nothing behind.

That it does what the paper says is in test_noise.py, whose claims hold for both.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.seeded import seeded_bytes

from wgpy import crypto, noise
from wgpy.errors import AuthenticationError
from wgpy.model import PublicKey
from wgpy.noise import Arithmetic, StaticIdentity
from wgpy.noise_native import NativeNoise

NATIVE = NativeNoise()
SMALL_ORDER = [
    bytes(32),
    bytes([1]) + bytes(31),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
]


def story(who: tuple[Arithmetic, ...], seed: int) -> tuple[bytes, ...]:
    """All that a handshake shows, with its five steps done by these five."""
    create, open_, consume, respond, finish = who
    random = seeded_bytes(seed)
    alice, bob = (StaticIdentity.from_private(random(32)) for _ in "ab")
    shared = alice.shared_with(bob.public_key)
    assert shared is not None
    psk = random(32)
    sent, initiation = create.create_initiation(
        alice, bob.public_key, shared, crypto.generate_private_key(random), 7, random(12)
    )
    received = consume.consume_initiation(open_.open_initiation(bob, initiation), shared)
    theirs, response = respond.create_response(received, crypto.generate_private_key(random), psk, 9)
    position, ours = finish.consume_response(alice, sent, response, [random(32), psk])
    assert (ours.send_key, ours.receive_key) == (theirs.receive_key, theirs.send_key)
    assert (ours.local_index, ours.remote_index, theirs.local_index, theirs.remote_index) == (7, 9, 9, 7)
    return (
        initiation.pack(),
        received.timestamp,
        received.remote_static,
        response.pack(),
        bytes(ours.send_key),
        bytes(ours.receive_key),
        bytes([position]),
    )


@pytest.mark.parametrize("native_steps", range(32))
def test_either_continues_what_the_other_began(native_steps: int) -> None:
    who = tuple(NATIVE if native_steps >> step & 1 else noise for step in range(5))
    assert story(who, native_steps) == story((noise,) * 5, native_steps)


@settings(max_examples=25)
@given(st.integers(min_value=0))
def test_both_say_the_same_whatever_the_keys(seed: int) -> None:
    assert story((NATIVE,) * 5, seed) == story((noise,) * 5, seed)


@pytest.mark.parametrize(("arithmetic", "point"), list(product((noise, NATIVE), SMALL_ORDER)))
def test_points_of_small_order_are_refused(arithmetic: Arithmetic, point: bytes) -> None:
    random = seeded_bytes(3)
    alice, bob = (StaticIdentity.from_private(random(32)) for _ in "ab")
    ephemeral = crypto.generate_private_key(random)
    with pytest.raises(AuthenticationError):
        arithmetic.create_initiation(alice, PublicKey(point), bytes(32), ephemeral, 1, bytes(12))
    _, initiation = arithmetic.create_initiation(alice, bob.public_key, bytes(32), ephemeral, 1, bytes(12))
    received = arithmetic.consume_initiation(arithmetic.open_initiation(bob, initiation), bytes(32))
    for field in ("remote_ephemeral", "remote_static"):
        values = {name: getattr(received, name) for name in received.__slots__}
        with pytest.raises(AuthenticationError):
            arithmetic.create_response(
                type(received)(**{**values, field: point}), bytearray(ephemeral), bytes(32), 2
            )


def secrets(native: NativeNoise) -> Iterator[bytes]:
    for name in ("_ephemeral", "_state", "_keys"):
        yield bytes(getattr(native, name).bytes)


def steps(native: NativeNoise) -> Iterator[Any]:
    """After each call, good or refused."""
    random = seeded_bytes(5)
    alice, bob = (StaticIdentity.from_private(random(32)) for _ in "ab")
    shared = alice.shared_with(bob.public_key)
    assert shared is not None
    ephemeral = crypto.generate_private_key(random)
    yield (made := native.create_initiation(alice, bob.public_key, shared, ephemeral, 1, bytes(12)))
    with pytest.raises(AuthenticationError):
        native.create_initiation(alice, PublicKey(bytes(32)), shared, ephemeral, 1, bytes(12))
    yield None
    yield (claimed := native.open_initiation(bob, made[1]))
    with pytest.raises(AuthenticationError):
        native.open_initiation(alice, made[1])
    yield None
    with pytest.raises(AuthenticationError):
        native.consume_initiation(claimed, bytes(32))
    yield None
    yield (received := native.consume_initiation(claimed, shared))
    _, response = native.create_response(received, crypto.generate_private_key(random), bytes(32), 2)
    yield None
    with pytest.raises(AuthenticationError):
        native.consume_response(alice, made[0], response, [random(32)])
    yield None
    yield native.consume_response(alice, made[0], response, [bytes(32)])


def test_no_call_leaves_a_secret_in_its_structs() -> None:
    native = NativeNoise()
    for _ in steps(native):
        assert not any(map(any, secrets(native)))
    assert any(native._static.bytes)
    native.wipe()
    assert not any(native._static.bytes)


def test_a_new_identity_replaces_the_old_one() -> None:
    random = seeded_bytes(6)
    native = NativeNoise()
    alice, bob, carol = (StaticIdentity.from_private(random(32)) for _ in "abc")
    for end in (bob, carol, bob):
        shared = alice.shared_with(end.public_key)
        assert shared is not None
        _, initiation = noise.create_initiation(
            alice, end.public_key, shared, crypto.generate_private_key(random), 1, bytes(12)
        )
        assert native.open_initiation(end, initiation).remote_static == alice.public_key
