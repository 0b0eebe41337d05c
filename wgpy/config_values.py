"""The values of a `wg` or `wg-quick` file, one reader per kind of value; also the words of `wgpy set`.

Pure. A reader returns the value or raises BadValue, whose text names key and value but repeats no secret.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
    ip_network,
)

from wgpy.constants import MAX_WORKERS
from wgpy.model import KEY_LEN, AllowedIpChange, IpAddress, Policy

MTU_MIN, MTU_MAX = 68, 65535
BLANKS = " \t\r\v\f"
_NO_BLANKS = {ord(blank): None for blank in BLANKS}

ServicePort = Callable[[str], int]  # name of a UDP service -> port; raises LookupError


class BadValue(ValueError):  # noqa: N818
    """A value that is wrong, in words; never with the value of a secret."""


ROSENPASS_PORT = 51821


class RosenpassVia(Enum):
    """Where a peer's key exchange runs."""

    TUNNEL = "tunnel"  # over the tunnel, to the peer's first allowed host address
    OUTSIDE = "outside"  # to host:port, as the `rosenpass` program does
    ANSWER_ONLY = "none"


@dataclass(frozen=True, slots=True)
class HostPort:
    """An endpoint as it was written; the host may be a name and IPv6 may carry %zone."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RosenpassEndpoint:
    """RosenpassEndpoint: `tunnel`, with `:ADDRESS`, `:PORT` or both behind it, `HOST:PORT` or `none`."""

    via: RosenpassVia = RosenpassVia.TUNNEL
    port: int | None = None  # TUNNEL only; None = the peer listens on the default port
    address: IpAddress | None = None  # TUNNEL only; None = the peer's first allowed host address
    outside: HostPort | None = None  # OUTSIDE only

    def __str__(self) -> str:
        if self.outside is not None:
            return str(self.outside)
        parts = [self.via.value]
        if self.address is not None:
            parts.append(f"[{self.address}]" if self.address.version == 6 else str(self.address))
        if self.port is not None:
            parts.append(str(self.port))
        return ":".join(parts)


def without_blanks(text: str) -> str:
    """The text without any blank, as `wg` reads keys and values."""
    return text.translate(_NO_BLANKS)


def shown(text: str) -> str:
    """A short piece of somebody's file, safe to print on one line."""
    cut = text if len(text) <= 40 else text[:37] + "..."
    return "`" + "".join(c if c.isprintable() else "?" for c in cut) + "`"


def read_key(text: str) -> bytes | None:
    """A base64 key of exactly 44 characters; None where it is not one."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(raw) != KEY_LEN or base64.b64encode(raw).decode() != text:
        return None
    return raw


def read_fwmark(value: str) -> int:
    """`off`, a decimal or 0x number of 32 bits."""
    number = 0 if value.lower() == "off" else _number(value, hexadecimal=True)
    if number is None or number > 0xFFFFFFFF:
        raise BadValue(f"FwMark {shown(value)} is neither `off` nor a number up to 0xffffffff")
    return number


def read_keepalive(value: str) -> int:
    """`off` or seconds up to 65535."""
    number = 0 if value.lower() == "off" else _number(value)
    if number is None or number > 0xFFFF:
        raise BadValue(f"PersistentKeepalive {shown(value)} is neither `off` nor seconds up to 65535")
    return number


def read_allowed_ips(value: str) -> tuple[tuple[AllowedIpChange, ...], bool, list[str]]:
    """A comma list of prefixes -> (changes, whether they replace what was there, warnings).

    An entry `+prefix` adds and `-prefix` removes; a list of only such entries replaces nothing.
    """
    changes: list[AllowedIpChange] = []
    notes: list[str] = []
    replaces = False
    value = without_blanks(value)
    for entry in value.split(",") if value else ():
        sign = entry[:1] if entry[:1] in ("+", "-") else ""
        text = entry[len(sign) :]
        address, slash, bits = text.partition("/")
        try:
            if (slash and _number(bits) is None) or "%" in text:
                raise ValueError
            prefix = ip_network(text, strict=False)
        except ValueError:
            raise BadValue(
                f"AllowedIPs entry {shown(entry)} is not an address with an optional /bits; "
                "for example 10.0.0.0/24 or fd00::/64"
            ) from None
        if str(prefix.network_address) != str(ip_address(address)):
            notes.append(f"AllowedIP has nonzero host part: {text}")
        replaces = replaces or not sign
        changes.append(AllowedIpChange(prefix, remove=sign == "-"))
    return tuple(changes), replaces or not changes, notes


class PortReader:
    """Ports and endpoints; a port may be the name of a service."""

    def __init__(self, service_port: ServicePort | None) -> None:
        self._service_port = service_port

    def read(self, key: str, value: str) -> int:
        """A port number or, where names were allowed, the name of a UDP service."""
        number = _number(value)
        if number is None and value and self._service_port is not None:
            try:
                number = self._service_port(value)
            except LookupError:
                number = None
        if number is None or number > 0xFFFF:
            raise BadValue(f"{key}: {shown(value)} is not a port from 0 to 65535")
        return number

    def endpoint(self, key: str, value: str) -> HostPort:
        """`host:port`, `1.2.3.4:port` or `[v6]:port`; the host may be a name, in brackets as with `wg`."""
        value = without_blanks(value)
        if value.startswith("["):
            host, _, port = value[1:].partition("]:")
        else:
            host, _, port = value.rpartition(":")
        if not host or not port or not _is_host(host) or (":" in host and not _is_ipv6(host)):
            raise BadValue(f"{key}: {shown(value)} is not host:port, 1.2.3.4:port or [v6]:port")
        return HostPort(host, self.read(key, port))

    def rosenpass_endpoint(self, key: str, value: str) -> RosenpassEndpoint:
        """`tunnel` with or without address and port, `HOST:PORT` or `none`."""
        value = without_blanks(value)
        word, colon, rest = value.lower().partition(":")
        if word == "none" and not colon:
            return RosenpassEndpoint(RosenpassVia.ANSWER_ONLY)
        if word == "tunnel":
            address, port = split_tunnel(rest)
            number = self.read(key, port) if port or (colon and address is None) else None
            if number == 0:
                raise BadValue(f"{key}: port 0 is no port to send to; write tunnel:PORT with the peer's port")
            return RosenpassEndpoint(port=number, address=address)
        try:
            outside = self.endpoint(key, value)
        except BadValue:
            raise BadValue(
                f"{key}: {shown(value)} is none of `tunnel[:ADDRESS][:PORT]`, `HOST:PORT`, `none`"
            ) from None
        return RosenpassEndpoint(RosenpassVia.OUTSIDE, outside=outside)


def split_tunnel(text: str) -> tuple[IpAddress | None, str]:
    """What follows `tunnel:` -> (address or None, text of the port)."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    try:
        return ip_address(host), port
    except ValueError:
        return None, text


def _is_host(host: str) -> bool:
    return len(host) <= 255 and host.isprintable() and not set(host) & set("[]/,;'\"\\")


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _number(text: str, hexadecimal: bool = False) -> int | None:
    if not text.isascii() or len(text) > 20:
        return None
    if hexadecimal and text[:2] in ("0x", "0X"):
        try:
            return int(text, 16) if text[2:].isalnum() else None
        except ValueError:
            return None
    return int(text) if text.isdigit() else None


def read_named_key(key: str, value: str) -> bytes:
    """A base64 key of 32 bytes; the error never repeats it."""
    raw = read_key(without_blanks(value))
    if raw is None:
        raise BadValue(f"{key} is not a key: 44 characters of base64, as `wgpy genkey` prints them")
    return raw


def read_words(value: str) -> list[str]:
    """A list separated by commas or blanks."""
    return value.replace(",", " ").split()


def read_address(word: str) -> IPv4Interface | IPv6Interface:
    """An interface address; without /bits it is a host address."""
    try:
        if "%" in word or ("/" in word and _number(word.partition("/")[2]) is None):
            raise ValueError
        return ip_interface(word)
    except ValueError:
        raise BadValue(
            f"Address {shown(word)} is not an address with an optional /bits; for example 10.0.0.1/24"
        ) from None


def read_dns(value: str) -> tuple[tuple[IpAddress, ...], tuple[str, ...]]:
    """A list of name servers and search domains, told apart by their form."""
    servers: list[IPv4Address | IPv6Address] = []
    search: list[str] = []
    for word in read_words(value):
        if ":" not in word and not set(word) <= set("0123456789."):
            if not word.isprintable() or not set(word).isdisjoint("/'\"\\;"):
                raise BadValue(f"DNS {shown(word)} is neither an address nor a search domain")
            search.append(word)
            continue
        try:
            servers.append(ip_address(word))
        except ValueError:
            raise BadValue(f"DNS {shown(word)} is neither an address nor a search domain") from None
    return tuple(servers), tuple(search)


def read_mtu(value: str) -> int:
    """An MTU that an IP interface can have."""
    number = _number(value)
    if number is None or not MTU_MIN <= number <= MTU_MAX:
        raise BadValue(f"MTU {shown(value)} is not a number from {MTU_MIN} to {MTU_MAX}")
    return number


def read_workers(value: str) -> int:
    """How many pairs of packet workers."""
    number = _number(value)
    if number is None or not 1 <= number <= MAX_WORKERS:
        raise BadValue(f"Workers {shown(value)} is not a number from 1 to {MAX_WORKERS}")
    return number


def read_table(value: str) -> str:
    """`off`, `auto`, a number or a name of /etc/iproute2/rt_tables."""
    number = _number(value, hexadecimal=True)
    if not value or not value.isprintable() or " " in value or (number is not None and number > 0xFFFFFFFF):
        raise BadValue(f"Table {shown(value)} is neither `off`, `auto`, a number nor the name of a table")
    return value.lower() if value.lower() in ("off", "auto") else value


def read_policy(value: str) -> Policy:
    """`strict`, `permissive` or `off`."""
    try:
        return Policy[value.upper()]
    except KeyError:
        raise BadValue(f"RosenpassPolicy {shown(value)} is none of `strict`, `permissive`, `off`") from None


def read_bool(key: str, value: str) -> bool:
    """`true` or `false`."""
    if value.lower() not in ("true", "false"):
        raise BadValue(f"{key} {shown(value)} is neither `true` nor `false`")
    return value.lower() == "true"


def read_word(key: str, value: str) -> str:
    """A path or name that is not empty."""
    if not value or not value.isprintable():
        raise BadValue(f"{key} is empty; name it or remove the line")
    return value
