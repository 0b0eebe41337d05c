"""A static public key in 32 characters, to compare by voice or to print beside a peer.

    sha256sum, first 20 bytes, base32 in small letters, groups of four: k7ab-3xyz-...

160 bits: nobody finds a second key with it. Unlike the peer id it does not depend on the suite.
"""

import base64
import hashlib


def fingerprint(spk: bytes) -> str:
    """Return the fingerprint of a static public key."""
    text = base64.b32encode(hashlib.sha256(spk).digest()[:20]).decode().lower()
    return "-".join(text[i : i + 4] for i in range(0, len(text), 4))


def is_fingerprint_of(spk: bytes, told: str) -> bool:
    """Whether this is what the other end told, whatever the letters' case and the grouping."""
    return "".join(filter(str.isalnum, told.lower())) == fingerprint(spk).replace("-", "")
