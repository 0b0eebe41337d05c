"""Both mechanisms against shared vectors, our own, an independent reference and whatever library is here."""

import hashlib
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pqcrypto.kem import mceliece_460896, ml_kem_512
from support import mceliece_reference as reference
from support.seeded import seeded_bytes
from support.vectors import own, shared

from rosenpass import kem, liboqs
from rosenpass.errors import KemUnavailable, MalformedMessage
from rosenpass.kem import EphemeralKem, KyberFromMlKem, StaticKem, StaticSecretKey

FORMS = (188, 156)


class Keys:
    """One static key pair in every shape a test may want."""

    def __init__(self, public_key: bytes, secret_key: bytes) -> None:
        self.public_key = public_key
        self.rust = secret_key if len(secret_key) == 13568 else secret_key[13032:] + secret_key[40:13032]
        self.go = bytes(32) + b"\xff" * 4 + bytes(4) + self.rust[576:] + self.rust[:576]
        self.loaded = StaticSecretKey(self.rust)


@pytest.fixture(scope="session")
def fresh() -> Keys:
    return Keys(*mceliece_460896.keygen())


@pytest.fixture(scope="session")
def own_keys() -> Keys:
    secret_key = bytes.fromhex(own("rosenpass_kem.json")["mceliece460896"]["secret_key_13568"])
    return Keys(reference.SecretKey(secret_key).public_key(), secret_key)


@pytest.fixture(scope="session")
def shared_keys() -> Keys:
    entries = shared("rosenpass/upstream_crypto_server_1.json")["entries"]
    return Keys(
        bytes.fromhex(entries["responder_static_pk"]["hex"]),
        bytes.fromhex(entries["responder_static_sk"]["hex"]),
    )


def static(form: int) -> StaticKem:
    return StaticKem(form, os.urandom)


def changed(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]


# Classic McEliece: shared vectors


@pytest.mark.parametrize("form", FORMS)
def test_shared_error_vector_gives_the_shared_ciphertext_and_secret(shared_keys: Keys, form: int) -> None:
    v = shared("rosenpass/primitives.json")["mceliece460896"]
    ciphertext, secret = static(form).encaps_error(shared_keys.public_key, bytes.fromhex(v["error_vector_e"]))
    assert (ciphertext.hex(), secret.hex()) == (v[f"ct{form}"], v[f"ss{form}"])


@pytest.mark.parametrize("form", FORMS)
def test_shared_ciphertexts_open_with_keys_of_both_layouts(shared_keys: Keys, form: int) -> None:
    v = shared("rosenpass/primitives.json")["mceliece460896"]
    for key in (shared_keys.loaded, shared_keys.rust, shared_keys.go):
        assert static(form).decaps(key, bytes.fromhex(v[f"ct{form}"])).hex() == v[f"ss{form}"]
        tampered = v[f"tampered_ct{form}"]
        assert static(form).decaps(key, bytes.fromhex(tampered["ct"])).hex() == tampered["ss"]


def test_recorded_ciphertexts_of_the_upstream_run_open(shared_keys: Keys) -> None:
    entries = shared("rosenpass/upstream_crypto_server_1.json")["entries"]
    initiator = StaticSecretKey(bytes.fromhex(entries["initiator_static_sk"]["hex"]))
    kem156 = static(156)
    assert (
        kem156.decaps(shared_keys.loaded, bytes.fromhex(entries["sctr"]["hex"])).hex()
        == entries["sptr"]["hex"]
    )
    assert kem156.decaps(initiator, bytes.fromhex(entries["scti"]["hex"])).hex() == entries["spti"]["hex"]


# Classic McEliece: own vectors and the reference


@pytest.mark.parametrize("form", FORMS)
def test_own_vectors_hold(own_keys: Keys, form: int) -> None:
    v = own("rosenpass_kem.json")["mceliece460896"]
    assert hashlib.sha256(own_keys.public_key).hexdigest() == v["public_key_sha256"]
    ciphertext, secret = static(form).encaps_error(own_keys.public_key, bytes.fromhex(v["e"]))
    assert {"ct": ciphertext.hex(), "ss": secret.hex()} == v[f"ct{form}"]
    for case in [v[f"ct{form}"], *v[f"ct{form}_rejected"]]:
        assert static(form).decaps(own_keys.loaded, bytes.fromhex(case["ct"])).hex() == case["ss"]


@pytest.mark.parametrize("form", FORMS)
def test_fresh_secrets_arrive(fresh: Keys, form: int) -> None:
    for _ in range(50):
        ciphertext, secret = static(form).encaps(fresh.public_key)
        assert len(ciphertext) == form
        assert static(form).decaps(fresh.loaded, ciphertext) == secret


def test_forged_ciphertexts_get_what_the_reference_answers(fresh: Keys) -> None:
    slow, random = reference.SecretKey(fresh.rust), seeded_bytes("forged")
    genuine, _ = static(188).encaps(fresh.public_key)
    forged = [random(156), random(188), bytes(156), bytes(188), b"\xff" * 156, b"\xff" * 188]
    forged += [changed(genuine, 0), changed(genuine, 100), changed(genuine, 187), genuine[:156] + bytes(32)]
    for ciphertext in forged:
        assert fresh.loaded.decaps(ciphertext) == slow.decaps(ciphertext)


@pytest.mark.parametrize("weight", [0, 1, 50, 94, 95, 97, 98, 192])
def test_an_error_of_another_weight_is_rejected(fresh: Keys, weight: int) -> None:
    """Up to 95 errors decode, so only the count keeps a sender from learning about the key."""
    e = np.zeros(4608, np.uint8)
    e[np.random.default_rng(weight).choice(4608, weight, replace=False)] = 1
    for form in FORMS:
        ciphertext, secret = static(form).encaps_error(
            fresh.public_key, np.packbits(e, bitorder="little").tobytes()
        )
        answer = static(form).decaps(fresh.loaded, ciphertext)
        assert answer != secret
        assert answer == reference.shake(b"\0" + fresh.rust[:576] + ciphertext)


@pytest.mark.parametrize("zero_too", [True, False])
def test_the_point_zero_is_an_error_only_where_it_was_one(own_keys: Keys, zero_too: bool) -> None:
    """A locator of degree 95, read backwards, has a root at zero that must not pass as the 96th error."""
    support = reference.SecretKey(own_keys.rust).support
    e = (support == 0).astype(np.uint8) * zero_too
    e[np.random.default_rng(0).choice(np.flatnonzero(support), 95, replace=False)] = 1
    packed = np.packbits(e, bitorder="little").tobytes()
    ciphertext, secret = static(156).encaps_error(own_keys.public_key, packed)
    assert (static(156).decaps(own_keys.loaded, ciphertext) == secret) == zero_too


def test_cut_ciphertext_opens_to_another_secret(fresh: Keys) -> None:
    ciphertext, secret = static(188).encaps(fresh.public_key)
    assert static(156).decaps(fresh.loaded, ciphertext[:156]) != secret


# Classic McEliece: other libraries


def test_pqcrypto_opens_what_we_make_and_we_what_it_makes(fresh: Keys) -> None:
    for _ in range(3):
        ciphertext, secret = static(156).encaps(fresh.public_key)
        assert mceliece_460896.decaps(fresh.go, ciphertext) == secret
        ciphertext, theirs = mceliece_460896.encaps(fresh.public_key)
        assert static(156).decaps(fresh.loaded, ciphertext) == theirs
        forged = changed(ciphertext, 7)
        assert static(156).decaps(fresh.loaded, forged) == mceliece_460896.decaps(fresh.go, forged)


def test_liboqs_opens_what_we_make_and_we_what_it_makes() -> None:
    for form, secret_len in ((156, 13608), (188, 13568)):
        lengths = liboqs.Lengths(524160, secret_len, form, 32)
        if (oqs := liboqs.find("Classic-McEliece-460896", lengths)) is None:
            continue
        public_key, secret_key = oqs.keypair()
        ciphertext, secret = static(form).encaps(public_key)
        assert oqs.decaps(secret_key, ciphertext) == secret
        ciphertext, secret = oqs.encaps(public_key)
        assert static(form).decaps(secret_key, ciphertext) == secret
        return
    pytest.skip("no liboqs with Classic McEliece 460896")


# Classic McEliece: the seam


def test_same_randomness_makes_the_same_ciphertext_and_other_randomness_another(fresh: Keys) -> None:
    first, second, third = (StaticKem(188, seeded_bytes(seed)).encaps(fresh.public_key) for seed in (1, 1, 2))
    assert first == second
    assert first[0] != third[0]


def test_error_vectors_spread_evenly() -> None:
    """Each of 4608 positions is hit 96/4608 of the time; a chi-square far off means a biased draw."""
    draws, hits = 4000, np.zeros(4608)
    random = seeded_bytes("spread")
    error = kem.ffi.new("uint8_t[]", 576)
    for _ in range(draws):
        kem.lib.mceliece_error_from_random(error, random(768))
        one = reference.bits(bytes(error))
        assert one.sum() == 96
        hits += one
    expected = draws * 96 / 4608
    variance = expected * (1 - 96 / 4608)
    chi = float(((hits - expected) ** 2 / variance).sum())
    assert abs(chi - 4608) < 5 * (2 * 4608) ** 0.5


@pytest.mark.parametrize("random", [bytes(768), b"\xff" * 768], ids=["zeros", "ones"])
def test_extreme_randomness_still_has_weight_96(random: bytes) -> None:
    error = kem.ffi.new("uint8_t[]", 576)
    kem.lib.mceliece_error_from_random(error, random)
    assert int(reference.bits(bytes(error)).sum()) == 96


@pytest.mark.parametrize("length", [0, 1, 13567, 13569, 13607, 524160])
def test_a_secret_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="13568 or 13608"):
        StaticSecretKey(bytes(length))


@pytest.mark.parametrize("length", [13568, 13608])
def test_bytes_that_are_no_secret_key_are_refused(length: int) -> None:
    for data in (bytes(length), b"\xff" * length, seeded_bytes("noise")(length)):
        with pytest.raises(ValueError, match="no Classic McEliece"):
            StaticSecretKey(data)


def test_a_wiped_key_opens_nothing(fresh: Keys) -> None:
    key = StaticSecretKey(fresh.rust)
    key.wipe()
    key.wipe()
    with pytest.raises(ValueError, match="wiped"):
        key.decaps(bytes(188))


def test_a_secret_key_neither_prints_nor_pickles(fresh: Keys) -> None:
    assert repr(fresh.loaded) == "StaticSecretKey(...)"
    with pytest.raises(TypeError):
        pickle.dumps(fresh.loaded)


@pytest.mark.parametrize("length", [0, 155, 157, 187, 189, 1024])
def test_ciphertexts_of_another_length_are_refused(fresh: Keys, length: int) -> None:
    for form in FORMS:
        with pytest.raises(ValueError, match="bytes"):
            static(form).decaps(fresh.loaded, bytes(length))
    with pytest.raises(ValueError, match="bytes"):
        fresh.loaded.decaps(bytes(length))


def test_public_keys_and_forms_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="524160"):
        static(188).encaps(bytes(524159))
    with pytest.raises(ValueError, match="form"):
        StaticKem(157, os.urandom)


def test_generated_keys_work(fresh: Keys) -> None:
    public_key, secret_key = static(188).keypair()
    ciphertext, secret = static(188).encaps(public_key)
    assert static(188).decaps(secret_key, ciphertext) == secret
    assert fresh.loaded.decaps(ciphertext) != secret


def test_one_key_serves_many_threads(fresh: Keys) -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            ciphertext, secret = static(188).encaps(fresh.public_key)
            if fresh.loaded.decaps(ciphertext) != secret:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Kyber512 of round 3


def backends() -> list[Any]:
    lengths = liboqs.Lengths(800, 1632, 768, 32)
    return [b for b in (KyberFromMlKem(), liboqs.find("Kyber512", lengths)) if b is not None]


def test_shared_kyber_vector_opens() -> None:
    v = shared("rosenpass/primitives.json")["kyber512_r3_from_mlkem512"]
    secret_key = bytearray.fromhex(v["sk"])
    for backend in backends():
        opened = EphemeralKem(backend).decaps(secret_key, bytes.fromhex(v["ct"]))
        assert opened.hex() == v["kyber_K"]
    assert kem.kyber_secret(bytearray.fromhex(v["mlkem_K"]), bytes.fromhex(v["ct"])).hex() == v["kyber_K"]


def test_shared_tampered_kyber_ciphertext_gets_an_unpredictable_secret() -> None:
    v = shared("rosenpass/primitives.json")["kyber512_r3_from_mlkem512"]
    tampered = v["tampered_ct_first_byte_xor_1"]
    secret_key, ciphertext = bytearray.fromhex(v["sk"]), bytes.fromhex(tampered["ct"])
    assert KyberFromMlKem().decaps(secret_key, ciphertext).hex() == tampered["wrapper_on_mlkem_reject"]
    if oqs := liboqs.find("Kyber512", liboqs.Lengths(800, 1632, 768, 32)):
        assert oqs.decaps(secret_key, ciphertext).hex() == tampered["kyber_r3_implicit_reject"]


def test_own_kyber_vector_holds() -> None:
    v = own("rosenpass_kem.json")["kyber512"]
    for backend in backends():
        assert backend.decaps(bytearray.fromhex(v["secret_key"]), bytes.fromhex(v["ct"])).hex() == v["ss"]
    tampered = KyberFromMlKem().decaps(bytearray.fromhex(v["secret_key"]), bytes.fromhex(v["tampered_ct"]))
    assert tampered.hex() == v["tampered_ss"]


def test_every_pair_of_backends_agrees() -> None:
    for maker in backends():
        public_key, secret_key = maker.keypair()
        assert (len(public_key), len(secret_key)) == (800, 1632)
        for sender in backends():
            ciphertext, secret = sender.encaps(public_key)
            for opener in backends():
                assert opener.decaps(secret_key, ciphertext) == secret


def test_kyber_is_not_ml_kem() -> None:
    public_key, secret_key = KyberFromMlKem().keypair()
    ciphertext, secret = KyberFromMlKem().encaps(public_key)
    assert ml_kem_512.decaps(bytes(secret_key), ciphertext) != secret


@pytest.mark.parametrize("epki", [b"\xff" * 800, bytes(799), b""], ids=["out of range", "short", "empty"])
def test_a_bad_epki_is_a_malformed_message(epki: bytes) -> None:
    with pytest.raises(MalformedMessage):
        EphemeralKem(KyberFromMlKem()).encaps(epki)


def test_decapsulation_leaves_the_callers_key_alone() -> None:
    """The wrapper overwrites the copy it gave away; a bytes argument must not be that copy."""
    public_key, secret_key = KyberFromMlKem().keypair()
    ciphertext, secret = KyberFromMlKem().encaps(public_key)
    immutable = bytes(secret_key)
    for key in (immutable, secret_key, memoryview(secret_key)):
        assert KyberFromMlKem().decaps(key, ciphertext) == secret
    assert immutable == secret_key


def test_a_library_that_is_none_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WGPY_LIBOQS", "/nonexistent/liboqs.so")
    liboqs.library.cache_clear()
    try:
        with pytest.raises(KemUnavailable, match="WGPY_LIBOQS=/nonexistent/liboqs"):
            liboqs.library()
        monkeypatch.setenv("WGPY_LIBOQS", "")
        liboqs.library.cache_clear()
        assert liboqs.library() is None
    finally:
        liboqs.library.cache_clear()


@pytest.mark.parametrize(("mode", "ours"), [(0o644, True), (0o666, False), (0o620, False)])
def test_a_library_others_could_have_put_there_is_not_used(tmp_path: Path, mode: int, ours: bool) -> None:
    path = tmp_path / "liboqs.so"
    path.touch()
    path.chmod(mode)
    assert liboqs._is_ours(path) == ours
    assert not liboqs._is_ours(tmp_path / "nowhere")
