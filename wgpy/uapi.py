"""The cross-platform configuration text, serving half: requests to values, values to replies.

Pure: knows neither sockets nor the device; wgpy.uapi_ask is the asking half. The parser takes any bytes in
any pieces and never raises. A set is parsed wholly before anything of it is applied, so a refused one changes
nothing, and what follows it on the same connection is still answered (wireguard-go applies the lines before
the error and may lose the next request; the errno is the same). Copies of keys in Python strings on the way
cannot be wiped.

One request or reply is lines `key=value` and an empty line.
"""

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

from wgpy.model import (
    KEY_LEN,
    SECOND,
    AllowedIpChange,
    DeviceState,
    DeviceUpdate,
    IpNetwork,
    PeerUpdate,
    PresharedKey,
    PrivateKey,
    PublicKey,
    ShownPeer,
    SocketAddress,
)
from wgpy.rosenpass_settings import RosenpassSettings, from_lines

LINE_MAX = 4096  # bytes; the longest line anybody needs has under 200
REQUEST_MAX = 16 << 20  # bytes; 50,000 peers

ZoneIndex = Callable[[str], int]  # interface name -> index; raises OSError


# ---- requests


@dataclass(frozen=True, slots=True)
class GetRequest:
    """get=1: answer with `format_get`."""


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """wgpy=1, our own request line: answer with `format_status`."""


@dataclass(frozen=True, slots=True)
class RosenpassRequest:
    """wgpy=1 with rosenpass lines: the exchange anew; answer with `format_errno` or `format_refusal`."""

    settings: RosenpassSettings | None


@dataclass(frozen=True, slots=True)
class SetRequest:
    """A valid set=1: apply it, answer with `format_errno`."""

    update: DeviceUpdate


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """Answer with this errno; with `close`, close the connection afterwards."""

    errno: int
    close: bool = False


@dataclass(frozen=True, slots=True)
class Hangup:
    """Not the protocol: close without an answer."""


Request = GetRequest | StatusRequest | RosenpassRequest | SetRequest | RefusedRequest | Hangup


class RequestParser:
    """Cuts one connection's bytes into requests; holds at most one line and the values of one request."""

    def __init__(self, zone_index: ZoneIndex | None = None) -> None:
        self._zone_index = zone_index or no_zone_names
        self._line = b""
        self._size = 0
        self._operation = b""
        self._builder: _SetBuilder | None = None
        self._rosenpass: list[str] = []
        self._closed = False

    def feed(self, data: bytes) -> Iterator[Request]:
        """Yield each request these bytes complete; after one that closes, nothing more comes."""
        if self._closed:
            return
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._size += len(line) + 1
            request = self._refuse_size() if self._too_big(line) else self._take(line)
            if request is None:
                continue
            yield request
            if self._finish(request):
                return
        if self._too_big(self._line):
            request = self._refuse_size()
            yield request
            self._finish(request)

    def _too_big(self, line: bytes) -> bool:
        return len(line) > LINE_MAX or self._size > REQUEST_MAX

    def _refuse_size(self) -> Request:
        return RefusedRequest(errno.EINVAL, close=True) if self._operation else Hangup()

    def _finish(self, request: Request) -> bool:
        self._operation, self._builder, self._size = b"", None, 0
        self._rosenpass = []
        self._closed = isinstance(request, Hangup) or (isinstance(request, RefusedRequest) and request.close)
        if self._closed:
            self._line = b""
        return self._closed

    def _take(self, line: bytes) -> Request | None:
        if not self._operation:
            if line not in (b"get=1", b"set=1", b"wgpy=1"):
                return Hangup()
            self._operation = line
            self._builder = _SetBuilder(self._zone_index) if line == b"set=1" else None
            return None
        if self._builder is not None:
            if not line:
                return self._builder.finish()
            self._builder.take(line)
            return None
        if self._operation == b"wgpy=1" and line.startswith(b"rosenpass"):
            self._rosenpass.append(line.decode("ascii", "replace"))
            return None
        if line:
            return RefusedRequest(errno.EINVAL, close=True)
        if self._operation == b"get=1":
            return GetRequest()
        return self._rosenpass_request() if self._rosenpass else StatusRequest()

    def _rosenpass_request(self) -> Request:
        try:
            return RosenpassRequest(from_lines(self._rosenpass))
        except ValueError:
            return RefusedRequest(errno.EINVAL)


class BadLine(Exception):  # noqa: N818
    """A line that is refused, with the positive errno of its answer."""

    def __init__(self, number: int = errno.EINVAL) -> None:
        super().__init__(number)
        self.errno = number


class _PeerSection:
    """The keys of one peer section, in the order in which they came."""

    def __init__(self, public_key: PublicKey) -> None:
        self.public_key = public_key
        self.update_only = self.remove = self.replace_allowed_ips = False
        self.preshared_key: PresharedKey | None = None
        self.endpoint: SocketAddress | None = None
        self.persistent_keepalive: int | None = None
        self.allowed_ips: list[AllowedIpChange] = []

    def take(self, key: str, value: str, zone_index: ZoneIndex) -> None:
        match key:
            case "update_only":
                self.update_only = _true(value)
            case "remove":
                self.remove = _true(value)
            case "preshared_key":
                self.preshared_key = PresharedKey(read_key(value))
            case "endpoint":
                self.endpoint = read_endpoint(value, zone_index)
            case "persistent_keepalive_interval":
                self.persistent_keepalive = read_number(value, 0xFFFF)
            case "replace_allowed_ips":
                self.replace_allowed_ips = _true(value)
                self.allowed_ips.clear()  # as if applied line by line
            case "allowed_ip":
                prefix = value.removeprefix("-")
                self.allowed_ips.append(AllowedIpChange(read_prefix(prefix), remove=prefix != value))
            case "protocol_version":
                if value != "1":
                    raise BadLine
            case _:
                raise BadLine

    def update(self) -> PeerUpdate:
        if self.remove:
            return PeerUpdate(self.public_key, update_only=self.update_only, remove=True)
        return PeerUpdate(
            self.public_key,
            update_only=self.update_only,
            preshared_key=self.preshared_key,
            endpoint=self.endpoint,
            persistent_keepalive=self.persistent_keepalive,
            replace_allowed_ips=self.replace_allowed_ips,
            allowed_ips=tuple(self.allowed_ips),
        )


class _SetBuilder:
    """Collects a set=1 line by line; the first bad line decides the errno and the rest is skipped."""

    def __init__(self, zone_index: ZoneIndex) -> None:
        self._zone_index = zone_index
        self._errno = 0
        self._private_key: PrivateKey | None = None
        self._listen_port: int | None = None
        self._fwmark: int | None = None
        self._replace_peers = False
        self._peers: list[PeerUpdate] = []
        self._section: _PeerSection | None = None

    def take(self, raw: bytes) -> None:
        if self._errno:
            return
        try:
            key, equals, value = raw.decode("ascii", "replace").partition("=")
            if not equals:
                raise BadLine(errno.EPROTO)
            if key == "public_key":
                section = _PeerSection(PublicKey(read_key(value)))
                self._end_section()
                self._section = section
            elif self._section is not None:
                self._section.take(key, value, self._zone_index)
            else:
                self._take_device(key, value)
        except BadLine as bad:
            self._errno = bad.errno

    def _take_device(self, key: str, value: str) -> None:
        match key:
            case "private_key":
                self._private_key = PrivateKey(read_key(value))
            case "listen_port":
                self._listen_port = read_number(value, 0xFFFF)
            case "fwmark":
                self._fwmark = read_number(value, 0xFFFFFFFF)
            case "replace_peers":
                self._replace_peers = _true(value)
            case _:
                raise BadLine

    def _end_section(self) -> None:
        if self._section is not None:
            self._peers.append(self._section.update())
            self._section = None

    def finish(self) -> Request:
        if self._errno:
            return RefusedRequest(self._errno)
        self._end_section()
        return SetRequest(
            DeviceUpdate(
                private_key=self._private_key,
                listen_port=self._listen_port,
                fwmark=self._fwmark,
                replace_peers=self._replace_peers,
                peers=tuple(self._peers),
            )
        )


# ---- values


def read_endpoint(text: str, zone_index: ZoneIndex) -> SocketAddress:
    """Read `1.2.3.4:5` or `[v6%zone]:5`.

    An IPv4-mapped address becomes the IPv4 one: our IPv6 socket could not send to it.

    Raises:
        BadLine: anything else, names included.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        raise BadLine
    number = read_number(port, 0xFFFF)
    try:
        if not host.startswith("["):
            return SocketAddress(IPv4Address(host), number)
        if not host.endswith("]"):
            raise BadLine
        address, percent, zone = host[1:-1].partition("%")
        ip = IPv6Address(address)
        if percent and not zone:
            raise BadLine
        if ip.ipv4_mapped is not None:
            return SocketAddress(ip.ipv4_mapped, number)
        scoped = bool(percent) and ip.is_link_local
        return SocketAddress(ip, number, _scope(zone, zone_index) if scoped else 0)
    except ValueError:
        raise BadLine from None


def _scope(zone: str, zone_index: ZoneIndex) -> int:
    if zone.isascii() and zone.isdigit():
        return read_number(zone, 0xFFFFFFFF)
    try:
        return zone_index(zone)
    except OSError:
        raise BadLine from None


def no_zone_names(zone: str) -> int:
    """Stand in for if_nametoindex where only numbers are allowed."""
    raise OSError(errno.ENODEV, "no names of zones here", zone)


def read_prefix(text: str) -> IpNetwork:
    """Read `address/bits`, bits mandatory; host bits are cleared.

    Raises:
        BadLine: anything else.
    """
    address, _, bits = text.partition("/")
    if not (bits.isascii() and bits.isdigit()) or (bits[0] == "0" and bits != "0") or "%" in address:
        raise BadLine
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise BadLine from None


def read_key(text: str) -> bytes:
    """64 hex digits of either case."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise BadLine from None
    if len(text) != 2 * KEY_LEN or len(key) != KEY_LEN:  # fromhex lets spaces pass
        raise BadLine
    return key


def read_number(text: str, limit: int) -> int:
    """An unsigned decimal up to the limit."""
    if not (text.isascii() and text.isdigit()) or len(text) > LINE_MAX or int(text) > limit:
        raise BadLine
    return int(text)


def _true(text: str) -> bool:
    if text != "true":
        raise BadLine
    return True


# ---- replies


def format_errno(number: int) -> bytes:
    """End of a reply; `number` is 0 or a positive errno."""
    return b"errno=%d\n\n" % -number


def format_refusal(number: int, message: str) -> bytes:
    """End of a reply to a request of our own, with one line for the person."""
    line = message.encode("ascii", "backslashreplace").replace(b"\n", b" ")
    return b"message=" + line + b"\n" + format_errno(number)


def format_status(json: str) -> bytes:
    """The reply to wgpy=1; `json` has no newline."""
    return f"status={json}\n".encode() + format_errno(0)


def format_get(state: DeviceState) -> bytes:
    """The whole reply to get=1, errno=0 included."""
    return format_device(state) + format_peers(map(ShownPeer.of, state.peers)) + format_errno(0)


def format_device(state: DeviceState) -> bytes:
    """How the reply to get=1 begins: all but its peers."""
    lines = []
    if state.private_key is not None and any(state.private_key):
        lines.append(f"private_key={state.private_key.hex()}\n")
    if state.listen_port:
        lines.append(f"listen_port={state.listen_port}\n")
    if state.fwmark:
        lines.append(f"fwmark={state.fwmark}\n")
    return "".join(lines).encode("ascii")


def format_peers(peers: Iterable[ShownPeer]) -> bytes:
    """Its middle; format_errno ends it."""
    return "".join(map(_peer_text, peers)).encode("ascii")


def _peer_text(peer: ShownPeer) -> str:
    seconds, nanoseconds = divmod(peer.last_handshake, SECOND)
    endpoint = f"endpoint={peer.endpoint}\n" if peer.endpoint else ""
    allowed_ips = "".join([f"allowed_ip={prefix}\n" for prefix in peer.allowed_ips])
    return (
        f"public_key={peer.public_key.hex()}\n"
        f"preshared_key={peer.preshared_key.hex()}\n"
        f"protocol_version=1\n{endpoint}"
        f"last_handshake_time_sec={seconds}\n"
        f"last_handshake_time_nsec={nanoseconds}\n"
        f"tx_bytes={peer.tx_bytes}\n"
        f"rx_bytes={peer.rx_bytes}\n"
        f"persistent_keepalive_interval={peer.persistent_keepalive}\n{allowed_ips}"
    )
