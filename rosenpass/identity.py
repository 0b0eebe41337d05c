"""A static public key with everything hashed from it, and this end's own pair.

Hashing half a MiB costs 0.4 ms with BLAKE2b and 1 ms with SHAKE256, so each node of the label tree that
hangs on a public key is computed once, when it is first asked for.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from .constants import COOKIE_LEN, DEFAULT_SUITE, MAC_LEN, HashVariant
from .erasure import wipe
from .hash_domains import COOKIE_DOMAINS, DOMAINS
from .kem import STATIC_CIPHERTEXT_LENS, EphemeralKem, Kem, StaticKem, StaticSecretKey
from .randomness import RandomBytes


class KeyHashes:
    """One static public key under one hash variant; the bytes of the key are shared, never copied."""

    def __init__(self, spk: bytes, variant: HashVariant) -> None:
        self.spk = spk
        self.domains = DOMAINS[variant]

    @cached_property
    def mac_key(self) -> bytes:
        """Keys the mac of messages to this key's owner."""
        return self.domains.hash(self.domains.mac, self.spk)

    @cached_property
    def peer_id(self) -> bytes:
        """Names the owner."""
        return self.domains.hash(self.domains.peer_id, self.spk)

    @cached_property
    def ck_init(self) -> bytes:
        """First chaining key of a handshake with the owner as responder."""
        return self.domains.hash(self.domains.ck_init, self.spk)

    @cached_property
    def cookie_key(self) -> bytes:
        """Encrypts the owner's cookie replies."""
        return COOKIE_DOMAINS.hash(COOKIE_DOMAINS.cookie_key, self.spk)

    @cached_property
    def _biscuit_ad(self) -> bytes:
        return self.domains.hash(self.domains.biscuit_ad, self.spk)

    def seal(self, payload: bytes) -> bytes:
        """Add the mac that the owner looks for, and an empty cookie."""
        return payload + self.domains.hash(self.mac_key, payload)[:MAC_LEN] + bytes(COOKIE_LEN)

    def biscuit_ad(self, sidi: bytes, sidr: bytes) -> bytes:
        """Additional data of the owner's biscuit for this handshake."""
        return self.domains.chain(self._biscuit_ad, [sidi, sidr])


class StaticIdentity:
    """This end's static key pair, under both hash variants.

    Args:
        spkm: the public key.
        sskm: the secret key; whoever made it wipes it.
    """

    def __init__(self, spkm: bytes, sskm: StaticSecretKey) -> None:
        self.spkm = spkm
        self.sskm = sskm
        self.hashes = {variant: KeyHashes(spkm, variant) for variant in HashVariant}

    def is_pair(self, random: RandomBytes) -> bool:
        """One encapsulation tells a pair from two strangers, before a peer's silence has to."""
        kem = StaticKem(DEFAULT_SUITE.static_ciphertext_len, random)
        ciphertext, sent = kem.encaps(self.spkm)
        received = kem.decaps(self.sskm, ciphertext)
        same = hmac.compare_digest(sent, received)
        wipe(sent, received)
        return same


@dataclass(frozen=True)
class Kems:
    """The key encapsulation mechanisms a server works with.

    Attributes:
        static: Classic McEliece 460896 by ciphertext length, 188 and 156.
        ephemeral: Kyber512, round 3.
    """

    static: Mapping[int, Kem]
    ephemeral: Kem

    @property
    def public_key_len(self) -> int:
        """Length of every static public key."""
        return next(iter(self.static.values())).public_key_len

    @classmethod
    def real(cls, random: RandomBytes) -> "Kems":
        """Return the mechanisms of the protocol.

        Raises:
            KemUnavailable: no library here offers Kyber512.
        """
        return cls({form: StaticKem(form, random) for form in STATIC_CIPHERTEXT_LENS}, EphemeralKem())
