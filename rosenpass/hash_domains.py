"""The tree of labels that keeps every use of the keyed hash apart.

A leaf is a 32-byte constant of its hash variant. What hangs on a static public key (half a MiB each time) is
in peers.KeyHashes, once per key.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .constants import KEY_LEN, HashVariant
from .primitives import KEYED_HASHES, Buffer, KeyedHash

_PROTOCOL = "Rosenpass v1 mceliece460896 Kyber512 ChaChaPoly1305 "


@dataclass(frozen=True, slots=True)
class OskLabel:
    """Who an output key is for: an organisation's domain, then its own labels (protocol extensions)."""

    organization: str
    labels: tuple[str, ...]


WIREGUARD_PSK = OskLabel("rosenpass.eu", ("wireguard psk",))


class HashDomains:
    """Every leaf of one hash variant. Names as in the white paper's key tree."""

    def __init__(self, variant: HashVariant) -> None:
        self.hash: KeyedHash = KEYED_HASHES[variant]
        self.protocol = self.hash(bytes(KEY_LEN), (_PROTOCOL + variant.value).encode())
        self.mac = self._leaf("mac")
        self.cookie = self._leaf("cookie")
        self.cookie_value = self._leaf("cookie-value")
        self.cookie_key = self._leaf("cookie-key")
        self.peer_id = self._leaf("peer id")
        self.biscuit_ad = self._leaf("biscuit additional data")
        self.ck_init = self._leaf("chaining key init")
        self.mix = self._leaf("chaining key extract", "mix")
        self.hs_enc = self._leaf("chaining key extract", "handshake encryption")
        self.ini_enc = self._leaf("chaining key extract", "initiator handshake encryption")
        self.res_enc = self._leaf("chaining key extract", "responder handshake encryption")

    def osk(self, label: OskLabel) -> bytes:
        """Return the leaf under which an output key for `label` is extracted."""
        return self._leaf("chaining key extract", "user", label.organization, *label.labels)

    def chain(self, key: Buffer, data: Sequence[Buffer]) -> bytes:
        """hash(hash(key, data[0]), data[1])..., at least one piece of data."""
        result = bytes(key)
        for piece in data:
            result = self.hash(result, piece)
        return result

    def _leaf(self, *labels: str) -> bytes:
        return self.chain(self.protocol, [label.encode() for label in labels])


DOMAINS = {variant: HashDomains(variant) for variant in HashVariant}
COOKIE_DOMAINS = DOMAINS[HashVariant.SHAKE256]  # cookies use SHAKE256 with every peer
