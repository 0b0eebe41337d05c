"""Biscuits open once, for their own handshake, while their key lives."""

import pytest
from support.seeded import seeded_bytes

from rosenpass.biscuit import MAX_BISCUIT_NO, BiscuitKeys, is_fresh
from rosenpass.constants import SECOND, Instant, Timers
from rosenpass.errors import AuthenticationError
from rosenpass.primitives import xaead_encrypt

T0 = Instant(10**15)
PIDI, CK, AD = b"i" * 32, bytearray(b"c" * 32), b"a" * 32


def keys() -> BiscuitKeys:
    return BiscuitKeys(seeded_bytes("biscuit"), Timers())


def at(seconds: float) -> Instant:
    return Instant(T0 + int(seconds * SECOND))


def test_a_biscuit_comes_back_as_it_went_out() -> None:
    mine = keys()
    first, second = mine.store(PIDI, CK, AD, T0), mine.store(PIDI, CK, AD, T0)
    assert len(first) == 116
    loaded = mine.load(first, AD, T0)
    assert (loaded.pidi, loaded.number, loaded.ck) == (PIDI, 1, CK)
    assert mine.load(second, AD, T0).number == 2


def test_no_slot_opens_anything_before_it_has_a_random_key() -> None:
    """A slot of zeros would let anybody who has both public keys choose our chaining key."""
    forged = PIDI + (9).to_bytes(12, "little") + CK
    for nonce in (bytes(24), b"\x80" + bytes(23)):
        with pytest.raises(AuthenticationError):
            keys().load(xaead_encrypt(bytes(32), nonce, forged, AD), AD, T0)
    one_in_use = keys()
    one_in_use.store(PIDI, CK, AD, T0)
    for nonce in (bytes(24), b"\x80" + bytes(23)):
        with pytest.raises(AuthenticationError):
            one_in_use.load(xaead_encrypt(bytes(32), nonce, forged, AD), AD, T0)


def test_a_biscuit_of_another_handshake_does_not_open() -> None:
    mine = keys()
    biscuit = mine.store(PIDI, CK, AD, T0)
    with pytest.raises(AuthenticationError):
        mine.load(biscuit, b"b" * 32, T0)
    with pytest.raises(AuthenticationError):
        mine.load(bytes([biscuit[0] ^ 0x80]) + biscuit[1:], AD, T0)


@pytest.mark.parametrize(
    ("age", "opens"), [(0, True), (299.9, True), (300, True), (599.9, True), (600, False)]
)
def test_a_key_opens_for_two_epochs(age: float, opens: bool) -> None:
    mine = keys()
    biscuit = mine.store(PIDI, CK, AD, T0)
    if age >= 300:
        mine.store(PIDI, CK, AD, at(300))
    if opens:
        assert mine.load(biscuit, AD, at(age)).number == 1
    else:
        with pytest.raises(AuthenticationError):
            mine.load(biscuit, AD, at(age))


def test_keys_change_every_epoch_and_old_ones_are_overwritten() -> None:
    mine = keys()
    slots = set()
    for epoch in range(6):
        biscuit = mine.store(PIDI, CK, AD, at(300 * epoch))
        slots.add(biscuit[0] >> 7)
        assert mine.load(biscuit, AD, at(300 * epoch + 299)).number == epoch + 1
    assert slots == {0, 1}
    old = [slot.key for slot in mine._slots if slot]
    mine.expire(at(300 * 5 + 600))
    assert all(not any(key) for key in old)
    assert mine.next_deadline() is None


def test_numbers_compare_as_integers() -> None:
    """Little-endian bytes would order 256 before 1."""
    assert is_fresh(256, 1)
    assert is_fresh(1, 0)
    assert is_fresh(MAX_BISCUIT_NO, 0)
    assert not is_fresh(1, 256)
    assert not is_fresh(7, 7)
    assert not is_fresh(0, MAX_BISCUIT_NO)
