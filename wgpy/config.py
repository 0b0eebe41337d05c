"""What a `wg` or `wg-quick` file means: text in, frozen values out.

Pure: resolves no name, opens no file, looks at no permission; wgpy.config_files and wgpy.resolve do. Every
refusal is a ConfigError with file and line. Keys and section names are case-insensitive, values keep their
case. Turning values back into text is wgpy.config_text, into requests to a device wgpy.config_update.

Formats: wg(8), wg-quick(8), and our added keys (Rosenpass*, User, Workers).
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv6Interface

from wgpy.config_values import (
    BLANKS,
    ROSENPASS_PORT,
    BadValue,
    HostPort,
    PortReader,
    RosenpassEndpoint,
    RosenpassVia,
    ServicePort,
    read_address,
    read_allowed_ips,
    read_bool,
    read_dns,
    read_fwmark,
    read_keepalive,
    read_mtu,
    read_named_key,
    read_policy,
    read_table,
    read_word,
    read_words,
    read_workers,
    shown,
    without_blanks,
)
from wgpy.errors import ConfigError
from wgpy.model import AllowedIpChange, IpAddress, Policy, PresharedKey, PrivateKey, PublicKey

__all__ = [
    "ROSENPASS_PORT",
    "HostPort",
    "InterfaceRosenpass",
    "InterfaceSection",
    "PeerRosenpass",
    "PeerSection",
    "QuickConfig",
    "RosenpassEndpoint",
    "RosenpassVia",
    "ServicePort",
    "WgConfig",
    "parse_quick",
    "parse_wg",
]

KEY_NAME_MAX = 24  # characters; no key we know is longer


@dataclass(frozen=True, slots=True)
class InterfaceRosenpass:
    """The Rosenpass keys of [Interface]; paths as written, relative to the file's directory."""

    secret_key: str | None = None
    public_key: str | None = None
    listen_port: int | None = None  # None = ROSENPASS_PORT inside the tunnel
    policy: Policy | None = None  # None = not written: strict where keys are there


@dataclass(frozen=True, slots=True)
class PeerRosenpass:
    """The Rosenpass keys of a [Peer]; paths as written, relative to the file's directory."""

    public_key: str | None = None
    endpoint: RosenpassEndpoint | None = None  # None = not written: over the tunnel
    preshared_key: str | None = None
    policy: Policy | None = None  # None = the interface's


@dataclass(frozen=True, slots=True)
class InterfaceSection:
    """The [Interface] keys that `wg` knows; None = not written."""

    private_key: PrivateKey | None = field(default=None, repr=False)
    listen_port: int | None = None
    fwmark: int | None = None


@dataclass(frozen=True, slots=True)
class PeerSection:
    """One [Peer]; None = not written."""

    public_key: PublicKey
    preshared_key: PresharedKey | None = field(default=None, repr=False)
    endpoint: HostPort | None = None
    persistent_keepalive: int | None = None  # seconds, 0 = off
    allowed_ips: tuple[AllowedIpChange, ...] = ()
    replace_allowed_ips: bool = True  # False: every entry carried a + or -
    rosenpass: PeerRosenpass = PeerRosenpass()
    where: str = field(default="", compare=False)  # "wg0.conf:12", for what goes wrong later


@dataclass(frozen=True, slots=True)
class WgConfig:
    """What `wg setconf` takes."""

    interface: InterfaceSection = InterfaceSection()
    peers: tuple[PeerSection, ...] = ()
    warnings: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class QuickConfig:
    """A whole wg-quick file."""

    wg: WgConfig = WgConfig()
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    dns: tuple[IpAddress, ...] = ()
    search: tuple[str, ...] = ()
    mtu: int | None = None
    table: str | None = None  # None or "auto", "off", a number, or a name of rt_tables
    pre_up: tuple[str, ...] = ()
    post_up: tuple[str, ...] = ()
    pre_down: tuple[str, ...] = ()
    post_down: tuple[str, ...] = ()
    save_config: bool = False
    user: str | None = None  # whom the process becomes after setting up
    workers: int | None = None  # pairs of packet workers, None = by the number of processors
    rosenpass: InterfaceRosenpass = InterfaceRosenpass()

    def policy_of(self, peer: PeerSection) -> Policy:
        """The policy written for this peer, else the interface's, else strict.

        Whether there are Rosenpass keys at all (a file without any of them is plain WireGuard) is not known
        here.
        """
        for policy in (peer.rosenpass.policy, self.rosenpass.policy):
            if policy is not None:
                return policy
        return Policy.STRICT


def parse_wg(text: str, name: str, service_port: ServicePort | None = None) -> WgConfig:
    """Read what `wg setconf` reads.

    Args:
        text: the file.
        name: what to call it in errors, for instance "wg0.conf".
        service_port: looks up a port given by name; without it only numbers pass.

    Raises:
        ConfigError: with file and line.
    """
    return _Parser(name, service_port, quick=False).parse(text).wg


def parse_quick(text: str, name: str, service_port: ServicePort | None = None) -> QuickConfig:
    """Read what `wg-quick up` reads, with our added keys; arguments and errors as parse_wg."""
    return _Parser(name, service_port, quick=True).parse(text)


# ---- lines and keys

WG_KEYS = {
    "interface": {"privatekey": "PrivateKey", "listenport": "ListenPort", "fwmark": "FwMark"},
    "peer": {
        "publickey": "PublicKey",
        "presharedkey": "PresharedKey",
        "allowedips": "AllowedIPs",
        "endpoint": "Endpoint",
        "persistentkeepalive": "PersistentKeepalive",
    },
}
QUICK_KEYS = {
    key.lower(): key
    for key in (
        *("Address", "DNS", "MTU", "Table"),
        *("PreUp", "PostUp", "PreDown", "PostDown"),
        "SaveConfig",
    )
}
ADDED_KEYS = {
    "interface": {
        key.lower(): key
        for key in (
            *("RosenpassSecretKey", "RosenpassPublicKey", "RosenpassListenPort", "RosenpassPolicy"),
            *("User", "Workers"),
        )
    },
    "peer": {
        key.lower(): key
        for key in ("RosenpassPublicKey", "RosenpassEndpoint", "RosenpassPresharedKey", "RosenpassPolicy")
    },
}
HOOKS = ("preup", "postup", "predown", "postdown")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file, cut up."""

    section: str  # "[peer]" in lower case where the line opens a section, else ""
    key: str  # lower case without blanks
    has_value: bool  # there was a "="
    value: str  # comment and outer blanks removed; a hook's keeps its `#`


def split_line(raw: str) -> Line | None:
    """Cut one line; None where it is blank or a comment."""
    text = raw.partition("#")[0].strip(BLANKS)
    if not text:
        return None
    if text.startswith("["):
        return Line(without_blanks(text).lower(), "", False, "")
    key, equals, value = text.partition("=")
    key = without_blanks(key).lower()
    if key in HOOKS:
        value = raw.partition("=")[2]
    return Line("", key, bool(equals), value.strip(BLANKS))


class _Peer:
    """A [Peer] under construction."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.public_key: PublicKey | None = None
        self.values = PeerSection(PublicKey(b""))


class _Parser:
    def __init__(self, name: str, service_port: ServicePort | None, quick: bool) -> None:
        self._name = name
        self._port = PortReader(service_port)
        self._quick = quick
        self._section = ""
        self._config = QuickConfig()
        self._interface = InterfaceSection()
        self._peers: list[PeerSection] = []
        self._peer: _Peer | None = None
        self._warnings: list[str] = []

    def parse(self, text: str) -> QuickConfig:
        number = 0
        for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
            if "\0" in raw:
                raise ConfigError("a zero byte: this is not a configuration file", self._where(number))
            line = split_line(raw)
            if line is None:
                continue
            if line.section:
                self._open_section(line.section, number)
                continue
            try:
                self._take(line, number)
            except BadValue as bad:
                raise ConfigError(str(bad), self._where(number)) from None
        self._close_peer()
        wg = WgConfig(self._interface, tuple(self._peers), tuple(self._warnings))
        return replace(self._config, wg=wg)

    def _where(self, number: int) -> str:
        return f"{self._name}:{number}"

    def _open_section(self, section: str, number: int) -> None:
        if section not in ("[interface]", "[peer]"):
            hint = _nearest(section.strip("[]"), {"interface": "[Interface]", "peer": "[Peer]"})
            known = hint or "the sections are [Interface] and [Peer]"
            raise ConfigError(f"unknown section {shown(section)}; {known}", self._where(number))
        self._close_peer()
        self._section = section.strip("[]")
        if self._section == "peer":
            self._peer = _Peer(number)

    def _close_peer(self) -> None:
        peer, self._peer = self._peer, None
        if peer is None:
            return
        if peer.public_key is None:
            raise ConfigError(
                "this [Peer] has no PublicKey; add the peer's public key", self._where(peer.number)
            )
        where = self._where(peer.number)
        self._peers.append(replace(peer.values, public_key=peer.public_key, where=where))

    def _take(self, line: Line, number: int) -> None:
        if not self._section:
            raise BadValue("a key before any section; begin with [Interface] or [Peer]")
        if not line.has_value:
            raise BadValue("this line is not `Key = value`")
        canonical = self._known_keys().get(line.key)
        if canonical is None:
            raise BadValue(self._unknown(line.key))
        value = without_blanks(line.value) if line.key in WG_KEYS[self._section] else line.value
        if self._peer is not None:
            self._take_peer(self._peer, canonical, value, number)
        elif line.key in WG_KEYS["interface"]:
            self._take_interface(canonical, value)
        else:
            self._take_quick(canonical, line.value)

    def _known_keys(self) -> dict[str, str]:
        known = dict(WG_KEYS[self._section])
        if self._quick:
            known |= ADDED_KEYS[self._section]
            known |= QUICK_KEYS if self._section == "interface" else {}
        return known

    def _unknown(self, key: str) -> str:
        other = "peer" if self._section == "interface" else "interface"
        of_quick = QUICK_KEYS | ADDED_KEYS["interface"] | ADDED_KEYS["peer"]
        if not self._quick and key in of_quick:
            return f"{of_quick[key]} is a key of `up`, not of this command; use `wgpy strip` first"
        elsewhere = WG_KEYS[other] | ADDED_KEYS[other] | (QUICK_KEYS if other == "interface" else {})
        here = {"interface": "[Interface]", "peer": "[Peer]"}
        if key in elsewhere:
            return f"{elsewhere[key]} belongs in {here[other]}, not in {here[self._section]}"
        hint = _nearest(key, self._known_keys())
        name = shown(key) if len(key) <= KEY_NAME_MAX else "of this line"  # a bare secret is not repeated
        return f"unknown key {name} in {here[self._section]}; {hint or 'remove it or correct it'}"

    def _take_interface(self, key: str, value: str) -> None:
        interface = self._interface
        match key:
            case "PrivateKey":
                interface = replace(interface, private_key=PrivateKey(read_named_key(key, value)))
            case "ListenPort":
                interface = replace(interface, listen_port=self._port.read(key, value))
            case "FwMark":
                interface = replace(interface, fwmark=read_fwmark(value))
        self._interface = interface

    def _take_peer(self, peer: _Peer, key: str, value: str, number: int) -> None:
        values = peer.values
        match key:
            case "PublicKey":
                peer.public_key = PublicKey(read_named_key(key, value))
            case "PresharedKey":
                values = replace(values, preshared_key=PresharedKey(read_named_key(key, value)))
            case "AllowedIPs":
                changes, replaces = self._allowed_ips(value, number)
                values = replace(
                    values,
                    allowed_ips=values.allowed_ips + changes,
                    replace_allowed_ips=values.replace_allowed_ips and replaces,
                )
            case "Endpoint":
                values = replace(values, endpoint=self._port.endpoint(key, value))
            case "PersistentKeepalive":
                values = replace(values, persistent_keepalive=read_keepalive(value))
            case _:
                values = replace(values, rosenpass=self._peer_rosenpass(values.rosenpass, key, value))
        peer.values = values

    def _allowed_ips(self, value: str, number: int) -> tuple[tuple[AllowedIpChange, ...], bool]:
        changes, replaces, notes = read_allowed_ips(value)
        self._warnings += [f"{self._where(number)}: {note}" for note in notes]
        return changes, replaces

    def _peer_rosenpass(self, rosenpass: PeerRosenpass, key: str, value: str) -> PeerRosenpass:
        match key:
            case "RosenpassPublicKey":
                return replace(rosenpass, public_key=read_word(key, value))
            case "RosenpassPresharedKey":
                return replace(rosenpass, preshared_key=read_word(key, value))
            case "RosenpassEndpoint":
                return replace(rosenpass, endpoint=self._port.rosenpass_endpoint(key, value))
        return replace(rosenpass, policy=read_policy(value))

    def _take_quick(self, key: str, value: str) -> None:
        config = self._config
        match key:
            case "Address":
                addresses = tuple(read_address(word) for word in read_words(value))
                config = replace(config, addresses=config.addresses + addresses)
            case "DNS":
                dns, search = read_dns(value)
                config = replace(config, dns=config.dns + dns, search=config.search + search)
            case "MTU":
                config = replace(config, mtu=read_mtu(value))
            case "Table":
                config = replace(config, table=read_table(value))
            case "PreUp":
                config = replace(config, pre_up=(*config.pre_up, value))
            case "PostUp":
                config = replace(config, post_up=(*config.post_up, value))
            case "PreDown":
                config = replace(config, pre_down=(*config.pre_down, value))
            case "PostDown":
                config = replace(config, post_down=(*config.post_down, value))
            case "SaveConfig":
                config = replace(config, save_config=read_bool(key, value))
            case "User":
                config = replace(config, user=read_word(key, value))
            case "Workers":
                config = replace(config, workers=read_workers(value))
            case _:
                config = replace(config, rosenpass=self._rosenpass(config.rosenpass, key, value))
        self._config = config

    def _rosenpass(self, rosenpass: InterfaceRosenpass, key: str, value: str) -> InterfaceRosenpass:
        match key:
            case "RosenpassSecretKey":
                return replace(rosenpass, secret_key=read_word(key, value))
            case "RosenpassPublicKey":
                return replace(rosenpass, public_key=read_word(key, value))
            case "RosenpassListenPort":
                port = self._port.read(key, value)
                if port == 0:
                    raise BadValue(
                        "RosenpassListenPort 0 is no port the peer could know; name one from 1 to 65535"
                    )
                return replace(rosenpass, listen_port=port)
        return replace(rosenpass, policy=read_policy(value))


def _nearest(word: str, known: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"did you mean {known[close[0]]}?" if close else ""
