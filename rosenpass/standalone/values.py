"""Small values of the configuration: a host with a port, a WireGuard peer to give keys to."""

import base64
import binascii
import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host, as name or address, and a UDP port."""

    host: str
    port: int

    def __str__(self) -> str:
        """As it is written: host:port, [v6]:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def shown(text: str) -> str:
    """A piece of somebody's text in quotes, on one line."""
    return '"' + "".join(c if c.isprintable() else "?" for c in text) + '"'


def read_path(text: str) -> Path:
    """A path; `~` and `~user` are homes.

    Raises:
        ValueError: a zero byte is in it, or nobody's home is meant.
    """
    if "\0" in text:
        raise ValueError("no path has a zero byte")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("whose home directory is that? write the whole path") from None


def read_host_port(text: str) -> HostPort:
    """Read `host:port` or `[address]:port`.

    Raises:
        ValueError: says what is wrong with it.
    """
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^\s:\[\]/]+)):(\d{1,5})", text)
    if not found or int(found[3]) > 65535:
        raise ValueError(f'{shown(text)} is not "host:port" or "[address]:port"')
    return HostPort(found[1] or found[2], int(found[3]))


def read_listen(text: str) -> HostPort:
    """Read `address:port` or `[address]:port`; a name is no address.

    Raises:
        ValueError: says what is wrong with it.
    """
    try:
        found = read_host_port(text)
        ip_address(found.host.partition("%")[0])
    except ValueError:
        raise ValueError(f'{shown(text)} is not "address:port" or "[address]:port"') from None
    return found


@dataclass(frozen=True, slots=True)
class WireguardOutput:
    """Where `wg set` puts a key: interface, base64 public key of the peer there, more words for wg."""

    device: str
    peer: str
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            key = base64.b64decode(self.peer, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != 32:
            raise ValueError(f"{shown(self.peer)} is not a WireGuard public key")
        if not re.fullmatch(r"[^\s/]{1,15}", self.device) or self.device.startswith("-"):
            raise ValueError(f"{shown(self.device)} is not the name of an interface")
