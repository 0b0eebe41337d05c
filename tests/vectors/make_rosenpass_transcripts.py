"""Writes rosenpass_transcripts.json beside itself: one handshake of fresh keys in all four suites.

Run: .venv/bin/python tests/vectors/make_rosenpass_transcripts.py. The transcript is computed here from the
specification with hashlib, cryptography and the reference Classic McEliece of tests/support, none of it
through the rosenpass package. Public keys of half a MiB are not stored: the reference recomputes them from
the secret keys.
"""

import hashlib
import json
import os
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from pqcrypto.kem import mceliece_460896, ml_kem_512

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from support import mceliece_reference as reference  # noqa: E402

Hash = Callable[[bytes, bytes], bytes]
PROTOCOL = {
    name: f"Rosenpass v1 mceliece460896 Kyber512 ChaChaPoly1305 {end}".encode()
    for name, end in (("BLAKE2b", "BLAKE2s"), ("SHAKE256", "SHAKE256"))
}


def blake2b(key: bytes, data: bytes) -> bytes:
    def once(pad: int, text: bytes) -> bytes:
        return hashlib.blake2b(text, key=bytes(k ^ pad for k in key), digest_size=32).digest()

    return once(0x5C, once(0x36, data))


def shake256(key: bytes, data: bytes) -> bytes:
    return hashlib.shake_256(key + data).digest(32)


HASHES: dict[str, Hash] = {"BLAKE2b": blake2b, "SHAKE256": shake256}


def xchacha(key: bytes, nonce: bytes, plaintext: bytes, ad: bytes) -> bytes:
    return nonce + ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], plaintext, ad)


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    s = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[x] = (s[x] + s[y]) & 0xFFFFFFFF
            s[z] ^= s[x]
            s[z] = (s[z] << turn | s[z] >> (32 - turn)) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            quarter(column, column + 4, column + 8, column + 12)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<8I", *s[:4], *s[12:])


def handshake(hash_name: str, form: int, keys: dict[str, bytes], d: dict[str, bytes]) -> dict[str, str]:
    h = HASHES[hash_name]
    out: dict[str, bytes] = {}

    def lhash(*pieces: bytes) -> bytes:
        node = h(bytes(32), PROTOCOL[hash_name])
        for piece in pieces:
            node = h(node, piece)
        return node

    def leaf(*names: str) -> bytes:
        return lhash(b"chaining key extract", *(name.encode() for name in names))

    def mac(spk: bytes, payload: bytes) -> bytes:
        return payload + lhash(b"mac", spk, payload)[:16]

    def step(name: str, *pieces: bytes) -> None:
        nonlocal ck
        for piece in pieces:
            ck = h(h(ck, leaf("mix")), piece)
        out[f"ck_after_{name}"] = ck

    def seal(plaintext: bytes) -> bytes:
        return ChaCha20Poly1305(h(ck, leaf("handshake encryption"))).encrypt(bytes(12), plaintext, None)

    spki, spkr = keys["initiator_static_pk"], keys["responder_static_pk"]
    sidi, sidr, epki = d["sidi"], d["sidr"], d["epki"]
    out["sctr"], out["sptr"] = reference.encaps(spkr, d["e_for_sctr"], form)
    out["scti"], out["spti"] = reference.encaps(spki, d["e_for_scti"], form)
    out["pidi"], out["pidr"] = lhash(b"peer id", spki), lhash(b"peer id", spkr)

    ck = lhash(b"chaining key init", spkr)
    step("IHI1")
    step("IHI4", sidi, epki)
    step("IHI5", spkr, out["sptr"], out["sctr"])
    out["pidi_ct"] = seal(out["pidi"])
    step("IHI6", out["pidi_ct"])
    step("IHI7", spki, d["psk"])
    out["ih_auth"] = seal(b"")
    step("IHI8", out["ih_auth"])
    sealed = mac(spkr, b"\x81\0\0\0" + sidi + epki + out["sctr"] + out["pidi_ct"] + out["ih_auth"])
    out["initiator_cookie_value"] = d["cookie_value"]
    cookie = shake256(bytes(32), PROTOCOL["SHAKE256"])
    for piece in (b"cookie", d["cookie_value"], sealed):
        cookie = shake256(cookie, piece)
    out["msg_InitHello_cookie_zero"], out["msg_InitHello_cookie_set"] = (
        sealed + bytes(16),
        sealed + cookie[:16],
    )

    step("RHR3", sidr, sidi)
    step("RHR4", epki, d["epti"], d["ecti"])
    step("RHR5", spki, out["spti"], out["scti"])
    out["biscuit_pt"] = out["pidi"] + (1).to_bytes(12, "little") + ck
    out["biscuit_ad"] = lhash(b"biscuit additional data", spkr, sidi, sidr)
    out["biscuit_ct"] = xchacha(
        d["biscuit_key"], d["biscuit_nonce_used"], out["biscuit_pt"], out["biscuit_ad"]
    )
    step("RHR6", out["biscuit_ct"])
    out["rh_auth"] = seal(b"")
    step("RHR7", out["rh_auth"])
    resp = b"\x82\0\0\0" + sidr + sidi + d["ecti"] + out["scti"] + out["rh_auth"] + out["biscuit_ct"]
    out["msg_RespHello"] = mac(spki, resp) + bytes(16)

    step("ICI3", sidi, sidr)
    out["ic_auth"] = seal(b"")
    step("ICI4", out["ic_auth"])
    conf = b"\x83\0\0\0" + sidi + sidr + out["biscuit_ct"] + out["ic_auth"]
    out["msg_InitConf"] = mac(spkr, conf) + bytes(16)

    out["txki"] = h(ck, leaf("initiator handshake encryption"))
    out["txkr"] = h(ck, leaf("responder handshake encryption"))
    out["osk_wireguard_psk"] = h(ck, leaf("user", "rosenpass.eu", "wireguard psk"))
    labels = ("My Custom Messenger app", "Backend VPN Example Subusecase")
    out["osk_custom_myorg_com"] = h(ck, leaf("user", "myorg.com", *labels))
    empty = ChaCha20Poly1305(out["txkr"]).encrypt(bytes(12), b"", None)
    out["msg_EmptyData_ctr0"] = mac(spki, b"\x84\0\0\0" + sidi + bytes(8) + empty) + bytes(16)
    return {name: value.hex() for name, value in out.items()}


def draws() -> dict[str, bytes]:
    epki, eski = ml_kem_512.keygen()
    ecti, inner = ml_kem_512.encaps(epki)
    nonce = bytearray(os.urandom(24))
    nonce[0] |= 0x80  # key slot 1
    return {
        "psk": os.urandom(32),
        "sidi": os.urandom(4),
        "sidr": os.urandom(4),
        "epki": epki,
        "eski": eski,
        "ecti": ecti,
        "epti": hashlib.shake_256(inner + hashlib.sha3_256(ecti).digest()).digest(32),
        "e_for_sctr": error_vector(),
        "e_for_scti": error_vector(),
        "biscuit_key": os.urandom(32),
        "biscuit_nonce_used": bytes(nonce),
        "cookie_value": os.urandom(16),
    }


def error_vector() -> bytes:
    e = bytearray(576)
    for position in random.SystemRandom().sample(range(4608), 96):
        e[position // 8] |= 1 << position % 8
    return bytes(e)


def main() -> None:
    keys, secrets = {}, {}
    for role in ("initiator", "responder"):
        public, secret = mceliece_460896.keygen()
        keys[f"{role}_static_pk"] = public
        secrets[f"{role}_static_sk"] = (secret[13032:] + secret[40:13032]).hex()
    drawn = draws()
    written: dict[str, Any] = {
        "_note": "Made by make_rosenpass_transcripts.py. Test keys: never use them.",
        "keys": secrets,
        "injected": {name: value.hex() for name, value in drawn.items()},
        "suites": {
            f"{name}_ct{form}": handshake(name, form, keys, drawn) for name in HASHES for form in (188, 156)
        },
    }
    (HERE / "rosenpass_transcripts.json").write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
