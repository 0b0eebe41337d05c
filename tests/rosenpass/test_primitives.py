"""Keyed hashes, ciphers and the label tree against vectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.vectors import shared

from rosenpass.constants import HashVariant
from rosenpass.errors import AuthenticationError
from rosenpass.hash_domains import DOMAINS, WIREGUARD_PSK
from rosenpass.primitives import (
    aead_decrypt,
    aead_encrypt,
    blake2b_hash,
    hchacha20,
    shake256_hash,
    xaead_decrypt,
    xaead_encrypt,
)

VARIANTS = {"BLAKE2b": HashVariant.BLAKE2B, "SHAKE256": HashVariant.SHAKE256}
# Printed in rosenpass documentation and computed twice here: the whole tree hangs on these two.
ROOTS = {
    "BLAKE2b": "314afa43e9d7bf60bb6d54134ab8e115cb2afd4e0a67eada460202b09e6c28f2",
    "SHAKE256": "8c428982b8811df5089e1fa31543e05b48c000b82b8f9c6752388ed1fa161ee7",
}
OSK = {
    "BLAKE2b": "0cf2591fd46ab229d5df5a72688ce75801e8e6b8673755189cc36482a7cac9c0",
    "SHAKE256": "c1ebe9d9c7da6409587dad055da222ac4bffd30ec3c99963e54231f73cdf8ebe",
}


@pytest.mark.parametrize("name", VARIANTS)
def test_protocol_string_and_osk_label_give_the_known_nodes(name: str) -> None:
    domains = DOMAINS[VARIANTS[name]]
    assert domains.protocol.hex() == ROOTS[name]
    assert domains.osk(WIREGUARD_PSK).hex() == OSK[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_node_of_the_tree_is_the_recorded_one(name: str) -> None:
    nodes = shared("rosenpass/primitives.json")["hash_tree"][name]["nodes"]
    domains = DOMAINS[VARIANTS[name]]
    compared = 0
    for path, node in nodes.items():
        if path.startswith("hash("):
            continue
        labels = [] if path == "PROTOCOL" else [label.encode() for label in path.split(" / ")]
        assert (domains.chain(domains.protocol, labels) if labels else domains.protocol).hex() == node, path
        compared += 1
    assert compared == 16


def test_keyed_hashes_of_short_inputs_are_the_recorded_ones() -> None:
    for name, keyed_hash in (("BLAKE2b", blake2b_hash), ("SHAKE256", shake256_hash)):
        nodes = shared("rosenpass/primitives.json")["hash_tree"][name]["nodes"]
        assert keyed_hash(bytes(32), b"").hex() == nodes["hash(key=00*32, data=empty)"]
        assert keyed_hash(b"\1" * 32, b"abc").hex() == nodes['hash(key=01*32, data="abc")']


def test_hchacha20_matches_the_example_of_its_draft() -> None:
    """draft-irtf-cfrg-xchacha-03, section 2.2.1."""
    key = bytes(range(32))
    nonce = bytes.fromhex("000000090000004a0000000031415927")
    want = "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    assert hchacha20(key, nonce).hex() == want


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.binary(max_size=40))
def test_aead_opens_what_it_sealed_and_nothing_else(key: bytes, text: bytes, additional: bytes) -> None:
    sealed = aead_encrypt(key, bytes(12), text, additional)
    assert aead_decrypt(key, bytes(12), sealed, additional) == text
    with pytest.raises(AuthenticationError):
        aead_decrypt(key, bytes(12), sealed[:-1] + bytes([sealed[-1] ^ 1]), additional)
    with pytest.raises(AuthenticationError):
        aead_decrypt(key, bytes(12), sealed[:15], additional)


@given(st.binary(min_size=24, max_size=24), st.binary(max_size=200), st.binary(max_size=60))
def test_xaead_opens_what_it_sealed_and_nothing_else(nonce: bytes, text: bytes, noise: bytes) -> None:
    key = bytes(range(32))
    sealed = xaead_encrypt(key, nonce, text, b"ad")
    assert sealed[:24] == nonce
    assert xaead_decrypt(key, sealed, b"ad") == text
    for wrong in (noise, sealed[:-1], sealed + b"\0"):
        with pytest.raises(AuthenticationError):
            xaead_decrypt(key, wrong, b"ad")
