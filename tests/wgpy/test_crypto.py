import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import vectors

from rosenpass.primitives import hchacha20
from wgpy import crypto
from wgpy.errors import AuthenticationError

KEY = st.binary(min_size=32, max_size=32)
unhex = bytes.fromhex


def test_blake2s_matches_the_official_table() -> None:
    table = vectors.shared("wireguard/blake2s.json")
    data = bytes(range(256))
    for length, expected in enumerate(table["unkeyed"]):
        assert crypto.hash_(data[:length]).hex() == expected


def test_hash_of_parts_is_the_hash_of_their_concatenation() -> None:
    assert crypto.hash_(b"ab", b"", b"c") == crypto.hash_(b"abc")


def test_mac_is_the_native_keyed_mode_not_hmac() -> None:
    assert crypto.mac(b"k" * 32, b"m") != crypto.hmac_(b"k" * 32, b"m")[:16]
    assert len(crypto.mac(b"c" * 16, b"m")) == 16


def test_kdf_matches_the_vectors() -> None:
    for vector in vectors.shared("wireguard/kdf.json")["vectors"]:
        chaining_key, data = unhex(vector["chaining_key"]), unhex(vector["input"])
        expected = tuple(unhex(vector[name]) for name in ("t1", "t2", "t3"))
        assert crypto.kdf3(chaining_key, data) == expected
        assert crypto.kdf2(chaining_key, data) == expected[:2]
        assert crypto.kdf1(chaining_key, data) == expected[0]


def test_x25519_matches_the_vectors_and_refuses_a_zero_result() -> None:
    for vector in vectors.shared("wireguard/x25519.json")["vectors"]:
        private, public = unhex(vector["private"]), unhex(vector["public"])
        if vector["valid"]:
            assert crypto.dh(private, public).hex() == vector["shared"]
        else:
            with pytest.raises(AuthenticationError):
                crypto.dh(private, public)


def test_every_point_of_small_order_is_refused() -> None:
    for point in vectors.shared("wireguard/low_order_points.json")["points"]:
        with pytest.raises(AuthenticationError):
            crypto.dh(b"\x42" * 32, base64.b64decode(point))


def test_aead_matches_the_vectors_that_have_a_counter_for_a_nonce() -> None:
    tested = 0
    table = vectors.shared("wireguard/chacha20poly1305.json")
    for vector in table["encrypt"] + table["decrypt"]:
        if len(vector["nonce"]) != 16:
            continue
        tested += 1
        counter = int.from_bytes(unhex(vector["nonce"]), "little")
        key, ad = unhex(vector["key"]), unhex(vector["aad"])
        sealed = unhex(vector["ciphertext_tag"])
        if vector.get("valid", True):
            assert crypto.aead_open(key, counter, sealed, ad).hex() == vector["plaintext"]
            assert crypto.aead_seal(key, counter, unhex(vector["plaintext"]), ad) == sealed
        else:
            with pytest.raises(AuthenticationError):
                crypto.aead_open(key, counter, sealed, ad)
    assert tested > 20


def test_xaead_and_hchacha20_match_the_vectors() -> None:
    table = vectors.shared("wireguard/xchacha20poly1305.json")
    for vector in table["hchacha20"]:
        assert hchacha20(unhex(vector["key"]), unhex(vector["nonce"])).hex() == vector["out"]
    for vector in table["vectors"]:
        key, nonce, ad = unhex(vector["key"]), unhex(vector["nonce"]), unhex(vector["aad"])
        sealed = unhex(vector["ciphertext_tag"])
        if vector["valid"]:
            assert crypto.xaead_open(key, nonce, sealed, ad).hex() == vector["plaintext"]
            assert crypto.xaead_seal(key, nonce, unhex(vector["plaintext"]), ad) == sealed
        else:
            with pytest.raises(AuthenticationError):
                crypto.xaead_open(key, nonce, sealed, ad)


@given(KEY, st.binary(max_size=80), st.binary(max_size=20))
def test_opening_arbitrary_bytes_raises_nothing_but_authentication_error(
    key: bytes, sealed: bytes, ad: bytes
) -> None:
    with pytest.raises(AuthenticationError):
        crypto.aead_open(key, 0, sealed, ad)
    with pytest.raises(AuthenticationError):
        crypto.xaead_open(key, bytes(24), sealed, ad)


@given(KEY)
def test_clamping_is_idempotent_and_keeps_the_public_key(private: bytes) -> None:
    clamped = crypto.clamp(private)
    assert crypto.clamp(clamped) == clamped
    assert crypto.public_key(clamped) == crypto.public_key(private)


def test_wipe_leaves_zeros_of_the_same_length() -> None:
    secret = bytearray(b"secret")
    crypto.wipe(secret)
    assert secret == bytes(6)
