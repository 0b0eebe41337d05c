"""A configuration as requests to a device: setconf, addconf, syncconf; and a state as a configuration.

Pure: names of endpoints are resolved by a callable of the caller (wgpy.resolve at the edge).
"""

from collections.abc import Callable
from dataclasses import replace

from wgpy.config import (
    HostPort,
    InterfaceSection,
    PeerRosenpass,
    PeerSection,
    QuickConfig,
    WgConfig,
)
from wgpy.errors import WgpyError
from wgpy.model import (
    KEY_LEN,
    NO_PRESHARED_KEY,
    AllowedIpChange,
    DeviceState,
    DeviceUpdate,
    IpNetwork,
    PeerState,
    PeerUpdate,
    PrivateKey,
    PublicKey,
    SocketAddress,
)

Resolve = Callable[[HostPort], SocketAddress]
"""Looks an endpoint up; raises WgpyError in words."""


def setconf(config: WgConfig, resolve: Resolve) -> DeviceUpdate:
    """The device becomes what the file says; what the file leaves out becomes zero."""
    interface = config.interface
    return DeviceUpdate(
        private_key=interface.private_key or PrivateKey(bytes(KEY_LEN)),
        listen_port=interface.listen_port or 0,
        fwmark=interface.fwmark or 0,
        replace_peers=True,
        peers=_peers(config, resolve),
    )


def addconf(config: WgConfig, resolve: Resolve) -> DeviceUpdate:
    """What the file says is added; what it leaves out stays."""
    interface = config.interface
    return DeviceUpdate(
        private_key=interface.private_key,
        listen_port=interface.listen_port,
        fwmark=interface.fwmark,
        peers=_peers(config, resolve),
    )


def syncconf(config: WgConfig, state: DeviceState, resolve: Resolve) -> DeviceUpdate:
    """Only the differences between the file and the running device; sessions of unchanged peers survive.

    As with `wg`, a file without ListenPort asks for a new random port; a caller that would rather keep the
    one it has drops `listen_port` from the answer.
    """
    wanted = _one_each(_peers(config, resolve))
    present = {peer.public_key: peer for peer in state.peers}
    removed = [PeerUpdate(key, remove=True) for key in present if key not in wanted]
    changed = [_difference(peer, present.get(peer.public_key)) for peer in wanted.values()]
    interface = config.interface
    private_key = interface.private_key or PrivateKey(bytes(KEY_LEN))
    listen_port, fwmark = interface.listen_port or 0, interface.fwmark or 0
    return DeviceUpdate(
        private_key=None if private_key == (state.private_key or bytes(KEY_LEN)) else private_key,
        listen_port=None if listen_port == state.listen_port else listen_port,
        fwmark=None if fwmark == state.fwmark else fwmark,
        peers=(*removed, *(peer for peer in changed if peer is not None)),
    )


def from_state(state: DeviceState, written: WgConfig | None = None) -> WgConfig:
    """The running state as `wg showconf` writes it; our keys of each peer are taken over from `written`."""
    rosenpass = {peer.public_key: peer.rosenpass for peer in written.peers} if written is not None else {}
    return WgConfig(
        InterfaceSection(state.private_key, state.listen_port or None, state.fwmark or None),
        tuple(_section(peer, rosenpass.get(peer.public_key, PeerRosenpass())) for peer in state.peers),
    )


def saved(config: QuickConfig, state: DeviceState) -> QuickConfig:
    """What SaveConfig writes back: the file's own keys with the device's running state."""
    return replace(config, wg=from_state(state, config.wg))


def _section(peer: PeerState, rosenpass: PeerRosenpass) -> PeerSection:
    endpoint = None
    if peer.endpoint is not None:
        zone = f"%{peer.endpoint.scope_id}" if peer.endpoint.scope_id else ""
        endpoint = HostPort(f"{peer.endpoint.ip}{zone}", peer.endpoint.port)
    return PeerSection(
        peer.public_key,
        preshared_key=peer.preshared_key if any(peer.preshared_key) else None,
        endpoint=endpoint,
        persistent_keepalive=peer.persistent_keepalive or None,
        allowed_ips=tuple(AllowedIpChange(prefix) for prefix in peer.allowed_ips),
        rosenpass=rosenpass,
    )


def _peers(config: WgConfig, resolve: Resolve) -> tuple[PeerUpdate, ...]:
    return tuple(
        PeerUpdate(
            peer.public_key,
            preshared_key=peer.preshared_key,
            endpoint=_resolved(peer, resolve),
            persistent_keepalive=peer.persistent_keepalive,
            replace_allowed_ips=peer.replace_allowed_ips,
            allowed_ips=peer.allowed_ips,
        )
        for peer in config.peers
    )


def _resolved(peer: PeerSection, resolve: Resolve) -> SocketAddress | None:
    if peer.endpoint is None:
        return None
    try:
        return resolve(peer.endpoint)
    except WgpyError as error:
        raise WgpyError(f"{peer.where}: {error}" if peer.where else str(error)) from None


def _one_each(peers: tuple[PeerUpdate, ...]) -> dict[PublicKey, PeerUpdate]:
    """One update per key; a prefix written twice stays with the last peer, as applying in order does."""
    wanted: dict[PublicKey, PeerUpdate] = {}
    owner: dict[IpNetwork, PublicKey] = {}
    for peer in peers:
        earlier = wanted.get(peer.public_key)
        wanted[peer.public_key] = _then(earlier, peer) if earlier is not None else peer
        owner |= {change.prefix: peer.public_key for change in peer.allowed_ips if not change.remove}
    return {
        key: replace(
            peer, allowed_ips=tuple(c for c in peer.allowed_ips if c.remove or owner[c.prefix] == key)
        )
        for key, peer in wanted.items()
    }


def _then(earlier: PeerUpdate, later: PeerUpdate) -> PeerUpdate:
    return replace(
        later,
        preshared_key=earlier.preshared_key if later.preshared_key is None else later.preshared_key,
        endpoint=earlier.endpoint if later.endpoint is None else later.endpoint,
        persistent_keepalive=(
            earlier.persistent_keepalive if later.persistent_keepalive is None else later.persistent_keepalive
        ),
        replace_allowed_ips=earlier.replace_allowed_ips or later.replace_allowed_ips,
        allowed_ips=(() if later.replace_allowed_ips else earlier.allowed_ips) + later.allowed_ips,
    )


def _difference(peer: PeerUpdate, present: PeerState | None) -> PeerUpdate | None:
    """What must be sent to make the present peer the wanted one; None where nothing must."""
    if present is None:
        return peer
    preshared_key = peer.preshared_key or NO_PRESHARED_KEY
    keepalive = peer.persistent_keepalive or 0
    allowed = {change.prefix for change in peer.allowed_ips}
    same_allowed = peer.replace_allowed_ips and allowed == set(present.allowed_ips)
    difference = PeerUpdate(
        peer.public_key,
        preshared_key=None if preshared_key == present.preshared_key else preshared_key,
        endpoint=None if peer.endpoint == present.endpoint else peer.endpoint,
        persistent_keepalive=None if keepalive == present.persistent_keepalive else keepalive,
        replace_allowed_ips=peer.replace_allowed_ips and not same_allowed,
        allowed_ips=() if same_allowed else peer.allowed_ips,
    )
    return None if difference == PeerUpdate(peer.public_key) else difference
