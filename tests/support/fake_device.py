"""A device in memory that does what a set=1 says: the reference for the control socket's tests."""

import errno
import json
from collections.abc import Iterator
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from wgpy.model import (
    NO_PRESHARED_KEY,
    DeviceState,
    DeviceUpdate,
    PeerState,
    PeerUpdate,
    PrivateKey,
    PublicKey,
    WallTime,
)
from wgpy.uapi import format_get, format_status


def public_key(private_key: bytes) -> PublicKey:
    return PublicKey(X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw())


class FakeDevice:
    """Holds one DeviceState; `busy_ports` refuse with EADDRINUSE."""

    def __init__(self, listen_port: int = 40000) -> None:
        self.current = DeviceState(None, listen_port, 0, ())
        self.busy_ports: set[int] = set()
        self.updates: list[DeviceUpdate] = []
        self.extra: dict[str, object] = {"schema": 1}

    def state(self) -> DeviceState:
        return self.current

    def answer_get(self) -> Iterator[bytes]:
        yield format_get(self.current)

    def answer_status(self) -> Iterator[bytes]:
        yield format_status(json.dumps(self.extra, separators=(",", ":")))

    def apply(self, update: DeviceUpdate) -> None:
        self.updates.append(update)
        if update.listen_port in self.busy_ports:
            raise OSError(errno.EADDRINUSE, "port in use")
        state = self.current
        if update.private_key is not None:
            state = replace(state, private_key=update.private_key if any(update.private_key) else None)
        if update.listen_port is not None:
            state = replace(state, listen_port=update.listen_port or 40000)
        if update.fwmark is not None:
            state = replace(state, fwmark=update.fwmark)
        peers = {} if update.replace_peers else {peer.public_key: peer for peer in state.peers}
        own = self._own(state.private_key)
        peers.pop(own, None)
        for peer in update.peers:
            if peer.public_key != own:
                self._apply_peer(peers, peer)
        self.current = replace(state, peers=tuple(peers.values()))

    def _own(self, private_key: PrivateKey | None) -> PublicKey:
        return public_key(private_key) if private_key is not None else PublicKey(b"")

    def _apply_peer(self, peers: dict[PublicKey, PeerState], update: PeerUpdate) -> None:
        key = update.public_key
        if update.remove:
            peers.pop(key, None)
            return
        if key not in peers:
            if update.update_only:
                return
            peers[key] = PeerState(key, NO_PRESHARED_KEY, None, WallTime(0), 0, 0, 0, ())
        peer = peers[key]
        if update.preshared_key is not None:
            peer = replace(peer, preshared_key=update.preshared_key)
        if update.endpoint is not None:
            peer = replace(peer, endpoint=update.endpoint)
        if update.persistent_keepalive is not None:
            peer = replace(peer, persistent_keepalive=update.persistent_keepalive)
        if update.replace_allowed_ips:
            peer = replace(peer, allowed_ips=())
        peers[key] = peer
        for change in update.allowed_ips:
            if change.remove:
                kept = tuple(prefix for prefix in peers[key].allowed_ips if prefix != change.prefix)
                peers[key] = replace(peers[key], allowed_ips=kept)
                continue
            for other, state in peers.items():
                kept = tuple(prefix for prefix in state.allowed_ips if prefix != change.prefix)
                peers[other] = replace(state, allowed_ips=kept)
            peers[key] = replace(peers[key], allowed_ips=(*peers[key].allowed_ips, change.prefix))
