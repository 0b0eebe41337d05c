"""HandshakeState: the chaining key and what may be done to it.

Knows neither messages nor peers. `ck` changes with every step; the zero nonces below are safe only because
each encryption is followed by mixing its ciphertext, so no key is used for a second, different plaintext.
"""

from typing import Self

from .constants import NONCE_LEN
from .erasure import wipe
from .hash_domains import HashDomains
from .kem import Kem, SecretKey
from .primitives import Buffer, aead_decrypt, aead_encrypt

_ZERO_NONCE = bytes(NONCE_LEN)


class HandshakeState:
    """A chaining key of one hash variant. White paper, section 2.5 and the `mix` family of functions."""

    __slots__ = ("ck", "domains")

    def __init__(self, domains: HashDomains, ck: Buffer) -> None:
        self.domains = domains
        self.ck = bytearray(ck)

    def copy(self) -> Self:
        """Return an independent state to compute on while the original waits."""
        return type(self)(self.domains, self.ck)

    def wipe(self) -> None:
        """Overwrite ck; the state is of no use afterwards."""
        wipe(self.ck)

    def mix(self, *pieces: Buffer) -> None:
        """Fold each piece into ck, in order."""
        for piece in pieces:
            key = self.domains.hash(self.ck, self.domains.mix)
            self.ck[:] = self.domains.hash(key, piece)

    def extract(self, label: bytes) -> bytearray:
        """Derive 32 bytes from ck under a leaf of the label tree; ck stays as it is."""
        return bytearray(self.domains.hash(self.ck, label))

    def encrypt_and_mix(self, plaintext: Buffer) -> bytes:
        """Encrypt under the handshake key of this moment, mix the ciphertext, return it."""
        key = self.extract(self.domains.hs_enc)
        ciphertext = aead_encrypt(key, _ZERO_NONCE, plaintext, b"")
        wipe(key)
        self.mix(ciphertext)
        return ciphertext

    def decrypt_and_mix(self, ciphertext: bytes) -> bytes:
        """Open what encrypt_and_mix made at the same point of the other end.

        Raises:
            AuthenticationError: the tag does not verify; ck is unchanged.
        """
        key = self.extract(self.domains.hs_enc)
        try:
            plaintext = aead_decrypt(key, _ZERO_NONCE, ciphertext, b"")
        finally:
            wipe(key)
        self.mix(ciphertext)
        return plaintext

    def encaps_and_mix(self, kem: Kem, public_key: bytes) -> bytes:
        """Encapsulate to `public_key`; mix the key, the shared secret and the ciphertext, in this order.

        Raises:
            MalformedMessage: no honest peer has such a public key.
        """
        ciphertext, shared = kem.encaps(public_key)
        self.mix(public_key, shared, ciphertext)
        wipe(shared)
        return ciphertext

    def decaps_and_mix(self, kem: Kem, secret_key: SecretKey, public_key: bytes, ciphertext: bytes) -> None:
        """Mirror encaps_and_mix. A forged ciphertext is not reported here: the next tag fails."""
        shared = kem.decaps(secret_key, ciphertext)
        self.mix(public_key, shared, ciphertext)
        wipe(shared)
