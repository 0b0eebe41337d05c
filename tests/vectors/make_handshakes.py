"""Writes handshakes.json: whole handshakes with every intermediate key, from labels.

Deliberately written straight down from the paper with hashlib, hmac and `cryptography`, sharing no line with
wgpy.noise. Run it as `python tests/vectors/make_handshakes.py`; the file is in the tree.
"""

import hmac
import json
from hashlib import blake2s
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305


def digest(data: bytes) -> bytes:
    return blake2s(data).digest()


def private(label: str) -> X25519PrivateKey:
    scalar = bytearray(digest(b"wgpy vector " + label.encode()))
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    return X25519PrivateKey.from_private_bytes(bytes(scalar))


def kdf(key: bytes, data: bytes, count: int) -> list[bytes]:
    prk = hmac.new(key, data, blake2s).digest()
    outputs, last = [], b""
    for number in range(1, count + 1):
        last = hmac.new(prk, last + bytes([number]), blake2s).digest()
        outputs.append(last)
    return outputs


def seal(key: bytes, plaintext: bytes, ad: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(bytes(12), plaintext, ad)


def with_macs(receiver: bytes, body: bytes) -> bytes:
    key = digest(b"mac1----" + receiver)
    return body + blake2s(body, key=key, digest_size=16).digest() + bytes(16)


def session(name: str, psk: bytes, stamp: bytes) -> dict[str, object]:
    s_i, s_r, e_i, e_r = (private(f"{name} {part}") for part in ("s_i", "s_r", "e_i", "e_r"))
    public = {key: key.public_key().public_bytes_raw() for key in (s_i, s_r, e_i, e_r)}

    def dh(one: X25519PrivateKey, other: X25519PrivateKey) -> bytes:
        return one.exchange(X25519PublicKey.from_public_bytes(public[other]))

    index_i, index_r = digest(f"{name} i".encode())[:4], digest(f"{name} r".encode())[:4]
    c = digest(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
    h = digest(digest(c + b"WireGuard v1 zx2c4 Jason@zx2c4.com") + public[s_r])

    h = digest(h + public[e_i])
    (c,) = kdf(c, public[e_i], 1)
    c, k = kdf(c, dh(e_i, s_r), 2)
    static = seal(k, public[s_i], h)
    h = digest(h + static)
    ss = dh(s_i, s_r)
    c, k = kdf(c, ss, 2)
    timestamp = seal(k, stamp, h)
    h = digest(h + timestamp)
    initiation = with_macs(public[s_r], b"\x01\0\0\0" + index_i + public[e_i] + static + timestamp)

    h = digest(h + public[e_r])
    (c,) = kdf(c, public[e_r], 1)
    (c,) = kdf(c, dh(e_r, e_i), 1)
    (c,) = kdf(c, dh(e_r, s_i), 1)
    c, tau, k = kdf(c, psk, 3)
    h = digest(h + tau)
    empty = seal(k, b"", h)
    response = with_macs(public[s_i], b"\x02\0\0\0" + index_r + index_i + public[e_r] + empty)
    send, receive = kdf(c, b"", 2)

    return {
        "name": name,
        "initiator_static_private": s_i.private_bytes_raw().hex(),
        "responder_static_private": s_r.private_bytes_raw().hex(),
        "initiator_ephemeral_private": e_i.private_bytes_raw().hex(),
        "responder_ephemeral_private": e_r.private_bytes_raw().hex(),
        "preshared_key": psk.hex(),
        "timestamp": stamp.hex(),
        "initiation": initiation.hex(),
        "response": response.hex(),
        "trace": {"dh_ss": ss.hex(), "initiator_send_key": send.hex(), "initiator_recv_key": receive.hex()},
    }


def main() -> None:
    stamp = bytes.fromhex("400000006553f10a1d000000")
    sessions = [
        session("plain", bytes(32), stamp),
        session("preshared", digest(b"wgpy vector psk"), stamp),
        session("epoch", digest(b"wgpy vector psk 2"), bytes.fromhex("400000000000000a00000000")),
    ]
    path = Path(__file__).with_name("handshakes.json")
    path.write_text(json.dumps({"sessions": sessions}, indent=1) + "\n")


if __name__ == "__main__":
    main()
