"""Writes rosenpass_kem.json beside itself: fresh keys, and answers computed without our C code.

Run: .venv/bin/python tests/vectors/make_rosenpass_kem.py. The public key of half a MiB is not stored: the
reference recomputes it from the secret key. The support holds the point zero, which not every key's does.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pqcrypto.kem import mceliece_460896, ml_kem_512

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from support import mceliece_reference as reference  # noqa: E402


def mceliece() -> dict[str, Any]:
    while True:
        public_key, go_key = mceliece_460896.keygen()
        rust_key = go_key[13032:] + go_key[40:13032]
        key = reference.SecretKey(rust_key)
        if 0 in key.support:
            break
    assert key.public_key() == public_key
    positions = np.random.default_rng(int.from_bytes(os.urandom(16))).choice(4608, 96, replace=False)
    e = np.zeros(4608, np.uint8)
    e[positions] = 1
    packed = np.packbits(e, bitorder="little").tobytes()
    out: dict[str, Any] = {
        "secret_key_13568": rust_key.hex(),
        "secret_key_13608_sha256": hashlib.sha256(bytes(32) + go_key[32:]).hexdigest(),
        "public_key_sha256": hashlib.sha256(public_key).hexdigest(),
        "e": packed.hex(),
    }
    for length in (188, 156):
        ciphertext, secret = reference.encaps(public_key, packed, length)
        assert key.decaps(ciphertext) == secret
        out[f"ct{length}"] = {"ct": ciphertext.hex(), "ss": secret.hex()}
        # One bit of each part, everything zero, everything one.
        wrong = [bytes(length), b"\xff" * length]
        wrong += [
            ciphertext[:i] + bytes([ciphertext[i] ^ 0x80]) + ciphertext[i + 1 :] for i in (0, 155, length - 1)
        ]
        out[f"ct{length}_rejected"] = [{"ct": c.hex(), "ss": key.decaps(c).hex()} for c in wrong]
    return out


def kyber() -> dict[str, str]:
    public_key, secret_key = ml_kem_512.keygen()
    ciphertext, inner = ml_kem_512.encaps(public_key)
    tampered = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]

    def outer(inner: bytes, ciphertext: bytes) -> str:
        return hashlib.shake_256(inner + hashlib.sha3_256(ciphertext).digest()).hexdigest(32)

    return {
        "public_key": public_key.hex(),
        "secret_key": secret_key.hex(),
        "ct": ciphertext.hex(),
        "ss": outer(inner, ciphertext),
        "tampered_ct": tampered.hex(),
        "tampered_ss": outer(hashlib.shake_256(secret_key[-32:] + tampered).digest(32), tampered),
    }


if __name__ == "__main__":
    text = json.dumps({"mceliece460896": mceliece(), "kyber512": kyber()}, indent=1)
    (HERE / "rosenpass_kem.json").write_text(text + "\n")
