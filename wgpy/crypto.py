"""Hash, Mac, Hmac, Kdf, Dh, Aead and Xaead under the paper's names, over hashlib and `cryptography`.

Knows no message and no state. Secrets come and go as bytes-like objects: what lives longer than a call is
kept in a bytearray by its owner and wiped with `wipe`. CPython and the libraries may leave copies of
shorter-lived values behind; that much cannot be promised here.

Paper: WireGuard §5.4, RFC 7748, RFC 8439, draft-irtf-cfrg-xchacha.
"""

import hmac
from collections.abc import Callable
from hashlib import blake2s
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from rosenpass.erasure import wipe as wipe
from rosenpass.primitives import hchacha20
from wgpy.constants import MAC_LEN, TAG_LEN, XNONCE_LEN
from wgpy.errors import AuthenticationError
from wgpy.model import KEY_LEN

RandomBytes = Callable[[int], bytes]
Buffer = bytes | bytearray

_ZERO_KEY: Final = bytes(KEY_LEN)


def hash_(*parts: Buffer) -> bytes:
    """BLAKE2s-256 of the concatenated parts."""
    state = blake2s()
    for part in parts:
        state.update(part)
    return state.digest()


def mac(key: Buffer, data: Buffer) -> bytes:
    """Keyed BLAKE2s with a 16-byte digest; the key has 32 bytes, or 16 where it is a cookie."""
    return blake2s(data, key=key, digest_size=MAC_LEN).digest()


def hmac_(key: Buffer, data: Buffer) -> bytes:
    """RFC 2104 over BLAKE2s-256."""
    return hmac.digest(key, data, "blake2s")


def kdf1(chaining_key: Buffer, data: Buffer) -> bytes:
    """The first output of the HKDF."""
    return hmac_(hmac_(chaining_key, data), b"\x01")


def kdf2(chaining_key: Buffer, data: Buffer) -> tuple[bytes, bytes]:
    """The first two outputs."""
    prk = hmac_(chaining_key, data)
    t1 = hmac_(prk, b"\x01")
    return t1, hmac_(prk, t1 + b"\x02")


def kdf3(chaining_key: Buffer, data: Buffer) -> tuple[bytes, bytes, bytes]:
    """The first three outputs."""
    prk = hmac_(chaining_key, data)
    t1 = hmac_(prk, b"\x01")
    t2 = hmac_(prk, t1 + b"\x02")
    return t1, t2, hmac_(prk, t2 + b"\x03")


def clamp(private_key: Buffer) -> bytes:
    """The X25519 scalar that these 32 bytes stand for."""
    scalar = bytearray(private_key)
    scalar[0] &= 248
    scalar[31] = (scalar[31] & 127) | 64
    return bytes(scalar)


def generate_private_key(random: RandomBytes) -> bytearray:
    """A fresh clamped X25519 private key; the caller wipes it."""
    return bytearray(clamp(random(KEY_LEN)))


def public_key(private_key: Buffer) -> bytes:
    """The X25519 public key of a private key."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def dh(private_key: Buffer, public: Buffer) -> bytes:
    """X25519.

    Raises:
        AuthenticationError: the result is all zero, the public key being of small order.
    """
    try:
        shared = X25519PrivateKey.from_private_bytes(private_key).exchange(
            X25519PublicKey.from_public_bytes(bytes(public))
        )
    except ValueError as error:  # OpenSSL refuses the all-zero result itself
        raise AuthenticationError("public key of small order") from error
    if hmac.compare_digest(shared, _ZERO_KEY):
        raise AuthenticationError("public key of small order")
    return shared


def aead_seal(key: Buffer, counter: int, plaintext: Buffer, ad: Buffer) -> bytes:
    """ChaCha20-Poly1305; the nonce is four zero bytes and the counter, little-endian."""
    return ChaCha20Poly1305(key).encrypt(_nonce(counter), plaintext, ad)


def aead_open(key: Buffer, counter: int, sealed: Buffer, ad: Buffer) -> bytes:
    """The plaintext.

    Raises:
        AuthenticationError: the tag does not verify.
    """
    return _open(key, _nonce(counter), sealed, ad)


def xaead_seal(key: Buffer, nonce: bytes, plaintext: Buffer, ad: Buffer) -> bytes:
    """XChaCha20-Poly1305 with a 24-byte nonce."""
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(
        bytes(4) + nonce[16:XNONCE_LEN], plaintext, ad
    )


def xaead_open(key: Buffer, nonce: bytes, sealed: Buffer, ad: Buffer) -> bytes:
    """The plaintext.

    Raises:
        AuthenticationError: the tag does not verify.
    """
    return _open(hchacha20(key, nonce[:16]), bytes(4) + nonce[16:XNONCE_LEN], sealed, ad)


def _nonce(counter: int) -> bytes:
    return bytes(4) + counter.to_bytes(8, "little")


def _open(key: Buffer, nonce: bytes, sealed: Buffer, ad: Buffer) -> bytes:
    if len(sealed) < TAG_LEN:
        raise AuthenticationError("shorter than its tag")
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, ad)
    except InvalidTag as error:
        raise AuthenticationError("tag does not verify") from error
