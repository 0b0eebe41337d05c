"""What a device needs to know to run the Rosenpass exchange, as values and as lines of text.

Pure: `settings_of` turns a wg-quick configuration into settings, given which files exist; the daemon gets
them over its control socket and opens the files. Paths, never keys, are in here.

Product: section 4 (keys and defaults), section 6 (where the exchange runs).
"""

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_address
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from wgpy.config_values import ROSENPASS_PORT, HostPort, RosenpassEndpoint, RosenpassVia
from wgpy.errors import ConfigError
from wgpy.model import KEY_LEN, IpAddress, Policy, PublicKey, SocketAddress

if TYPE_CHECKING:  # who reads no configuration, the daemon, need not pay for its import
    from wgpy.config import PeerSection, QuickConfig

FileExists = Callable[[PurePath], bool]


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """One WireGuard peer.

    Attributes:
        rosenpass_public_key: path; None = the peer has no Rosenpass key.
        via: where the exchange with it runs.
        control: TUNNEL: the peer's address and port inside the tunnel; None = it has to call first.
        outside: OUTSIDE: where to reach it; names are resolved when needed.
        preshared_key: path of the secret mixed into the exchange, or None.
    """

    public_key: PublicKey
    policy: Policy
    rosenpass_public_key: str | None = None
    via: RosenpassVia = RosenpassVia.TUNNEL
    control: SocketAddress | None = None
    outside: HostPort | None = None
    preshared_key: str | None = None


@dataclass(frozen=True, slots=True)
class RosenpassSettings:
    """The exchange of one device.

    Attributes:
        policy: for peers that are added later without a word about theirs.
        addresses: its own inside the tunnel.
    """

    secret_key: str
    public_key: str
    listen_port: int
    policy: Policy
    addresses: tuple[IpAddress, ...]
    peers: tuple[PeerSettings, ...]
    _by_key: dict[PublicKey, PeerSettings] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_key", {peer.public_key: peer for peer in self.peers})

    def peer(self, public_key: PublicKey) -> PeerSettings | None:
        """What is said of this WireGuard peer."""
        return self._by_key.get(public_key)

    def control_pair(self, peer: PeerSettings) -> tuple[SocketAddress, SocketAddress] | None:
        """Both ends of the exchange inside the tunnel, ours first; None where it runs outside."""
        if peer.control is None:
            return None
        own = next((own for own in self.addresses if own.version == peer.control.ip.version), None)
        return (SocketAddress(own, self.listen_port), peer.control) if own is not None else None


# ---- from a configuration


def settings_of(
    config: "QuickConfig", directory: PurePath, interface: str, exists: FileExists, where: str
) -> RosenpassSettings | None:
    """The settings a wg-quick file asks for; None where it is plain WireGuard.

    Args:
        config: the file.
        interface: its name.
        directory: of the configuration file: relative paths and the default key files are looked for there.
        exists: whether a file is there.
        where: the file's name, for errors.

    Raises:
        ConfigError: a key file that was named is missing, half a pair, or no way to a peer inside the tunnel.
    """
    default = directory / interface
    secret = _named_or_default(config.rosenpass.secret_key, directory, default / "pqsk", exists, where)
    public = _named_or_default(config.rosenpass.public_key, directory, default / "pqpk", exists, where)
    if secret is None and public is None:
        _refuse_orphans(config, where)
        return None
    if secret is None or public is None:
        missing, key = (
            (default / "pqsk", "RosenpassSecretKey")
            if secret is None
            else (default / "pqpk", "RosenpassPublicKey")
        )
        raise ConfigError(
            f"half of this host's Rosenpass key pair is missing: no {missing} and no {key};"
            " `wgpy rosenpass gen-keys` makes a pair",
            where,
        )
    addresses = tuple(interface_address.ip for interface_address in config.addresses)
    return RosenpassSettings(
        str(secret),
        str(public),
        config.rosenpass.listen_port or ROSENPASS_PORT,
        Policy.STRICT if config.rosenpass.policy is None else config.rosenpass.policy,
        addresses,
        tuple(
            _peer_settings(config, peer, directory, default, addresses, exists)
            for peer in _one_each(config.wg.peers)
        ),
    )


def peer_key_name(public_key: PublicKey) -> str:
    """The file name of a peer's Rosenpass key: its WireGuard key, "/" removed, as go-rosenpass names it."""
    return base64.b64encode(public_key).decode().replace("/", "") + ".pqpk"


def _one_each(peers: "Sequence[PeerSection]") -> "Iterable[PeerSection]":
    """One section per WireGuard key: of several the last word counts, as with `wg`."""
    found: dict[PublicKey, PeerSection] = {}
    for later in peers:
        earlier = found.get(later.public_key)
        if earlier is not None:
            written = {
                one.name: value
                for one in fields(later.rosenpass)
                if (value := getattr(later.rosenpass, one.name)) is not None
            }
            later = replace(
                later,
                allowed_ips=(() if later.replace_allowed_ips else earlier.allowed_ips) + later.allowed_ips,
                rosenpass=replace(earlier.rosenpass, **written),
            )
        found[later.public_key] = later
    return found.values()


def _peer_settings(
    config: "QuickConfig",
    peer: "PeerSection",
    directory: PurePath,
    default: PurePath,
    addresses: tuple[IpAddress, ...],
    exists: FileExists,
) -> PeerSettings:
    policy = config.policy_of(peer)
    if policy is Policy.OFF:
        return PeerSettings(peer.public_key, policy)
    own_key = default / peer_key_name(peer.public_key)
    key = _named_or_default(peer.rosenpass.public_key, directory, own_key, exists, peer.where)
    if key is None:
        return PeerSettings(peer.public_key, policy)
    endpoint = peer.rosenpass.endpoint or RosenpassEndpoint()
    secret = peer.rosenpass.preshared_key
    return PeerSettings(
        peer.public_key,
        policy,
        str(key),
        endpoint.via,
        _control_address(peer, endpoint, addresses) if endpoint.via is not RosenpassVia.OUTSIDE else None,
        endpoint.outside,
        str(_existing(secret, directory, exists, peer.where)) if secret else None,
    )


def _control_address(
    peer: "PeerSection", endpoint: RosenpassEndpoint, addresses: tuple[IpAddress, ...]
) -> SocketAddress | None:
    families = {own.version for own in addresses}
    port = endpoint.port or ROSENPASS_PORT
    if endpoint.address is not None:
        candidates: tuple[IpAddress, ...] = (endpoint.address,)
    else:
        prefixes = (change.prefix for change in peer.allowed_ips if not change.remove)
        candidates = tuple(prefix.network_address for prefix in prefixes if prefix.num_addresses == 1)
    for candidate in candidates:
        if candidate.version in families:
            return SocketAddress(candidate, port)
    if endpoint.via is RosenpassVia.ANSWER_ONLY:
        return None
    raise ConfigError(
        "no address of this peer inside the tunnel to run the Rosenpass exchange with: AllowedIPs has no"
        " single host of a family of our Address; write RosenpassEndpoint = tunnel:ADDRESS",
        peer.where,
    )


def _refuse_orphans(config: "QuickConfig", where: str) -> None:
    named = [peer for peer in config.wg.peers if peer.rosenpass.public_key is not None]
    if named:
        raise ConfigError(
            "a peer has a RosenpassPublicKey but this host has no Rosenpass key pair;"
            " `wgpy rosenpass gen-keys` makes one",
            named[0].where or where,
        )
    strict = [peer.where or where for peer in config.wg.peers if peer.rosenpass.policy is Policy.STRICT]
    if config.rosenpass.policy is Policy.STRICT or strict:
        raise ConfigError(
            "RosenpassPolicy = strict needs this host's Rosenpass key pair;"
            " `wgpy rosenpass gen-keys` makes one",
            strict[0] if strict else where,
        )


def _named_or_default(
    written: str | None, directory: PurePath, default: PurePath, exists: FileExists, where: str
) -> PurePath | None:
    if written is not None:
        return _existing(written, directory, exists, where)
    return default if exists(default) else None


def _existing(written: str, directory: PurePath, exists: FileExists, where: str) -> PurePath:
    path = directory / written
    if not exists(path):
        raise ConfigError(f"{path} does not exist", where)
    return path


# ---- as lines of our own UAPI request


def to_lines(settings: RosenpassSettings | None) -> list[str]:
    """`rosenpass=` and a `rosenpass_peer=` for each peer, JSON behind; `rosenpass=null` ends the exchange."""
    if settings is None:
        return ["rosenpass=null"]
    lines = [("rosenpass", _device_object(settings))]
    lines += [("rosenpass_peer", _peer_object(peer)) for peer in settings.peers]
    return [f"{key}={json.dumps(value, separators=(',', ':'))}" for key, value in lines]


def from_lines(lines: Sequence[str]) -> RosenpassSettings | None:
    """The inverse of to_lines.

    Raises:
        ValueError: anything else.
    """
    try:
        head, *peers = [_split(line) for line in lines]
        if head[0] != "rosenpass" or any(key != "rosenpass_peer" for key, _ in peers):
            raise ValueError("not Rosenpass settings")
        return None if head[1] is None else _read_device(head[1], [value for _, value in peers])
    except (KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not Rosenpass settings: {type(error).__name__}") from None


def _split(line: str) -> tuple[str, Any]:
    key, _, value = line.partition("=")
    return key, json.loads(value)


def _device_object(settings: RosenpassSettings) -> dict[str, Any]:
    return {
        "secret_key": settings.secret_key,
        "public_key": settings.public_key,
        "listen_port": settings.listen_port,
        "policy": settings.policy.name.lower(),
        "addresses": [str(own) for own in settings.addresses],
    }


def _peer_object(peer: PeerSettings) -> dict[str, Any]:
    return {
        "public_key": peer.public_key.hex(),
        "policy": peer.policy.name.lower(),
        "rosenpass_public_key": peer.rosenpass_public_key,
        "via": peer.via.value,
        "control": [str(peer.control.ip), peer.control.port] if peer.control else None,
        "outside": [peer.outside.host, peer.outside.port] if peer.outside else None,
        "preshared_key": peer.preshared_key,
    }


def _read_device(value: dict[str, Any], peers: list[dict[str, Any]]) -> RosenpassSettings:
    return RosenpassSettings(
        _text(value["secret_key"]),
        _text(value["public_key"]),
        _port(value["listen_port"]),
        _policy(value["policy"]),
        tuple(ip_address(_text(own)) for own in value["addresses"]),
        tuple(_read_peer(peer) for peer in peers),
    )


def _read_peer(value: dict[str, Any]) -> PeerSettings:
    key = bytes.fromhex(value["public_key"])
    if len(key) != KEY_LEN:
        raise ValueError("a WireGuard public key has 32 bytes")
    control, outside = value["control"], value["outside"]
    return PeerSettings(
        PublicKey(key),
        _policy(value["policy"]),
        _text_or_none(value["rosenpass_public_key"]),
        RosenpassVia(value["via"]),
        SocketAddress(ip_address(_text(control[0])), _port(control[1])) if control else None,
        HostPort(_text(outside[0]), _port(outside[1])) if outside else None,
        _text_or_none(value["preshared_key"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError("text expected")
    return value


def _policy(value: object) -> Policy:
    return Policy[_text(value).upper()]


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _port(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 0xFFFF:
        raise ValueError("a port is a number from 1 to 65535")
    return value
