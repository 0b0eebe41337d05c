"""The symmetric primitives: two keyed hashes, the AEAD and the extended-nonce AEAD.

Knows no labels, no messages and no state. Section 2 of the white paper.
"""

import hashlib
import struct
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from .constants import HASH_LEN, NONCE_LEN, TAG_LEN, XNONCE_LEN, HashVariant
from .errors import AuthenticationError

Buffer = bytes | bytearray | memoryview
KeyedHash = Callable[[Buffer, Buffer], bytes]

_INNER = bytes(byte ^ 0x36 for byte in range(256))  # tables for bytes.translate: xor with a pad
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_CHACHA_CONSTANT = b"expand 32-byte k"


def blake2b_hash(key: Buffer, data: Buffer) -> bytes:
    """Hash `data` under a 32-byte key with upstream's "incorrect HMAC" over keyed BLAKE2b; 32 bytes.

    It is not RFC 2104: BLAKE2b's own keyed mode stands where HMAC concatenates, and the pads are 32 bytes.
    """
    key = bytes(key)
    inner = hashlib.blake2b(data, key=key.translate(_INNER), digest_size=HASH_LEN).digest()
    return hashlib.blake2b(inner, key=key.translate(_OUTER), digest_size=HASH_LEN).digest()


def shake256_hash(key: Buffer, data: Buffer) -> bytes:
    """Hash `data` under a 32-byte key: SHAKE256(key || data), 32 bytes."""
    state = hashlib.shake_256(key)
    state.update(data)
    return state.digest(HASH_LEN)


KEYED_HASHES: dict[HashVariant, KeyedHash] = {
    HashVariant.BLAKE2B: blake2b_hash,
    HashVariant.SHAKE256: shake256_hash,
}


def aead_encrypt(key: Buffer, nonce: bytes, plaintext: Buffer, additional: Buffer) -> bytes:
    """ChaCha20-Poly1305 with a 12-byte nonce: ciphertext, then a 16-byte tag."""
    return ChaCha20Poly1305(bytes(key)).encrypt(nonce, plaintext, additional)


def aead_decrypt(key: Buffer, nonce: bytes, ciphertext: Buffer, additional: Buffer) -> bytes:
    """Open what aead_encrypt made.

    Raises:
        AuthenticationError: the tag does not verify.
    """
    try:
        return ChaCha20Poly1305(bytes(key)).decrypt(nonce, ciphertext, additional)
    except InvalidTag:
        raise AuthenticationError("a tag does not verify") from None


def xaead_encrypt(key: Buffer, nonce: bytes, plaintext: Buffer, additional: Buffer) -> bytes:
    """XChaCha20-Poly1305: the 24-byte nonce, the ciphertext, then a 16-byte tag."""
    subkey, short_nonce = _extend(key, nonce)
    return nonce + aead_encrypt(subkey, short_nonce, plaintext, additional)


def xaead_decrypt(key: Buffer, ciphertext: Buffer, additional: Buffer) -> bytes:
    """Open what xaead_encrypt made.

    Raises:
        AuthenticationError: too short, or the tag does not verify.
    """
    if len(ciphertext) < XNONCE_LEN + TAG_LEN:
        raise AuthenticationError("too short for a nonce and a tag")
    subkey, short_nonce = _extend(key, bytes(ciphertext[:XNONCE_LEN]))
    return aead_decrypt(subkey, short_nonce, ciphertext[XNONCE_LEN:], additional)


def hchacha20(key: Buffer, nonce: bytes) -> bytes:
    """Derive a 32-byte subkey from a key and the first 16 bytes of an extended nonce.

    A ChaCha20 block is its permuted state plus the initial state; HChaCha20 is words 0-3 and 12-15 of the
    permuted state alone. Those initial words are public (the constant and the nonce), so subtract them again.
    """
    block = Cipher(ChaCha20(bytes(key), nonce), mode=None).encryptor().update(bytes(64))
    words = struct.unpack("<16I", block)
    initial = struct.unpack("<8I", _CHACHA_CONSTANT + nonce)
    permuted = (words[i] - initial[j] & 0xFFFFFFFF for j, i in enumerate((0, 1, 2, 3, 12, 13, 14, 15)))
    return struct.pack("<8I", *permuted)


def _extend(key: Buffer, nonce: bytes) -> tuple[bytes, bytes]:
    return hchacha20(key, nonce[:16]), bytes(NONCE_LEN - 8) + nonce[16:]
