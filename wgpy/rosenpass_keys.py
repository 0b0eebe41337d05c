"""The key files of a device's exchange, read and checked in one go. Edge; blocking, so give it a thread.

Product: section 4.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rosenpass.constants import KEY_LEN
from rosenpass.erasure import wipe
from rosenpass.errors import KeyFileError, RosenpassError
from rosenpass.fingerprint import fingerprint
from rosenpass.identity import StaticIdentity
from rosenpass.kem import StaticSecretKey
from rosenpass.keyfile import load_psk, load_public_key, load_secret_key
from wgpy.errors import WgpyError
from wgpy.model import PublicKey
from wgpy.rosenpass_settings import PeerSettings, RosenpassSettings

T = TypeVar("T")

# Its Landlock rules are for good; docs/security.md.
_CONFINED = (
    "; a device that is up reads keys beside its configuration, beneath it, and where they were at `wgpy up`:"
    " put it there, or down and up"
)


@dataclass(frozen=True, slots=True)
class PeerKeys:
    """One peer's Rosenpass public key, 524160 bytes, and the secret mixed in, 32 bytes."""

    spkt: bytes = field(repr=False)
    psk: bytearray = field(repr=False)
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class LoadedKeys:
    """Everything the settings name."""

    identity: StaticIdentity = field(repr=False)
    fingerprint: str
    peers: dict[PublicKey, PeerKeys] = field(repr=False)

    def wipe(self) -> None:
        """Overwrite what is secret; no exchange can use it afterwards."""
        self.identity.sskm.wipe()
        self.wipe_psks()

    def wipe_psks(self) -> None:
        """Overwrite the peers' preshared keys alone."""
        wipe(*(keys.psk for keys in self.peers.values()))


def load_keys(settings: RosenpassSettings) -> LoadedKeys:
    """Read every file.

    Raises:
        WgpyError: one is missing, unreadable, no key, not of the pair, or there twice; names it.
    """
    identity = _identity(settings)
    peers: dict[PublicKey, PeerKeys] = {}
    owners = {identity.spkm: "this host"}
    for peer in settings.peers:
        if peer.rosenpass_public_key is None:
            continue
        keys = _peer_keys(peer, peer.rosenpass_public_key)
        if keys.spkt in owners:
            raise WgpyError(
                f"{peer.rosenpass_public_key} is the Rosenpass key of {owners[keys.spkt]} too;"
                " every peer has one of its own"
            )
        owners[keys.spkt] = peer.rosenpass_public_key
        peers[peer.public_key] = keys
    return LoadedKeys(identity, fingerprint(identity.spkm), peers)


def _identity(settings: RosenpassSettings) -> StaticIdentity:
    public = _loaded(load_public_key, settings.public_key)
    secret = _loaded(load_secret_key, settings.secret_key)
    try:
        identity = StaticIdentity(public, StaticSecretKey(secret))
    finally:
        wipe(secret)
    if not identity.is_pair(os.urandom):
        raise WgpyError(
            f"{settings.public_key} and {settings.secret_key} are no pair;"
            " `wgpy rosenpass gen-keys` makes one"
        )
    return identity


def _peer_keys(peer: PeerSettings, path: str) -> PeerKeys:
    spkt = _loaded(load_public_key, path)
    psk = bytearray(KEY_LEN) if peer.preshared_key is None else _loaded(load_psk, peer.preshared_key)
    return PeerKeys(spkt, psk, fingerprint(spkt))


def _loaded(load: Callable[[Path], T], path: str) -> T:
    try:
        return load(Path(path))
    except (KeyFileError, RosenpassError) as error:
        hint = _CONFINED if isinstance(error.__cause__, PermissionError) else ""
        raise WgpyError(f"{error}{hint}") from None
