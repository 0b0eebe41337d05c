"""What `wg show` and `wg showconf` print, byte for byte. Pure: clock, colours and names are arguments."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from wgpy.config_text import format_wg
from wgpy.config_update import from_state
from wgpy.model import SECOND, DeviceState, PeerState, PublicKey, SocketAddress, prefix_text

FIELDS = (
    *("public-key", "private-key", "listen-port", "fwmark", "peers", "preshared-keys", "endpoints"),
    *("allowed-ips", "latest-handshakes", "transfer", "persistent-keepalive", "dump"),
)
NONE = "(none)"
_UNITS = (("year", 365 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))

ZoneName = Callable[[int], str]  # interface index -> name, or its digits


@dataclass(frozen=True, slots=True)
class Interface:
    """What is printed of one interface."""

    name: str
    state: DeviceState
    public_key: PublicKey | None  # of state.private_key


@dataclass(frozen=True, slots=True)
class Style:
    """How `show` prints."""

    now_s: int  # Unix time
    colour: bool = False  # WG_COLOR_MODE
    hide_keys: bool = True  # WG_HIDE_KEYS
    zone_name: ZoneName = str

    def paint(self, code: str, text: str) -> str:
        """The text in a terminal's colour, where colours are wanted."""
        return f"{code}{text}{_RESET}" if self.colour else text


_RESET, _BOLD = "\x1b[0m", "\x1b[1m"
_RED, _GREEN, _YELLOW, _CYAN = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m"


# ---- for people


def show(interface: Interface, style: Style) -> str:
    """The listing of `wg show INTERFACE`."""
    state = interface.state
    head = f"{style.paint(_GREEN + _BOLD, 'interface')}: {style.paint(_GREEN, interface.name)}"
    lines = [(_RESET if style.colour else "") + head]
    if interface.public_key is not None and state.private_key is not None:
        lines.append(_item(style, "public key", key_text(interface.public_key)))
        lines.append(_item(style, "private key", _secret(style, state.private_key)))
    if state.listen_port:
        lines.append(_item(style, "listening port", str(state.listen_port)))
    if state.fwmark:
        lines.append(_item(style, "fwmark", f"0x{state.fwmark:x}"))
    for peer in sorted(state.peers, key=lambda peer: -peer.last_handshake):
        lines += _show_peer(peer, style)
    return "".join(f"{line}\n" for line in lines)


def _show_peer(peer: PeerState, style: Style) -> Iterator[str]:
    yield ""
    yield f"{style.paint(_YELLOW + _BOLD, 'peer')}: {style.paint(_YELLOW, key_text(peer.public_key))}"
    if any(peer.preshared_key):
        yield _item(style, "preshared key", _secret(style, peer.preshared_key))
    if peer.endpoint is not None:
        yield _item(style, "endpoint", endpoint_text(peer.endpoint, style.zone_name))
    slash = style.paint(_CYAN, "/")
    prefixes = (prefix_text(prefix).replace("/", slash) for prefix in peer.allowed_ips)
    yield _item(style, "allowed ips", ", ".join(prefixes) or NONE)
    if peer.last_handshake >= SECOND:
        yield _item(style, "latest handshake", ago_text(peer.last_handshake // SECOND, style))
    if peer.rx_bytes or peer.tx_bytes:
        received, sent = bytes_text(peer.rx_bytes, style), bytes_text(peer.tx_bytes, style)
        yield _item(style, "transfer", f"{received} received, {sent} sent")
    if peer.persistent_keepalive:
        yield _item(style, "persistent keepalive", f"every {duration_text(peer.persistent_keepalive, style)}")


def _item(style: Style, name: str, value: str) -> str:
    return f"  {style.paint(_BOLD, name)}: {value}"


def _secret(style: Style, key: bytes) -> str:
    return "(hidden)" if style.hide_keys else key_text(key)


def ago_text(then_s: int, style: Style) -> str:
    """How long ago a moment of Unix time was."""
    if then_s > style.now_s:
        words = "System clock wound backward; connection problems may ensue."
        return f"({style.paint(_RED, words)})"
    return f"{duration_text(style.now_s - then_s, style)} ago" if then_s < style.now_s else "Now"


def duration_text(seconds: int, style: Style) -> str:
    """`1 hour, 2 minutes, 5 seconds`."""
    parts = []
    for unit, length in _UNITS:
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count} {style.paint(_CYAN, unit if count == 1 else unit + 's')}")
    return ", ".join(parts)


def bytes_text(count: int, style: Style) -> str:
    """`1023 B`, `1.46 KiB`, up to TiB."""
    if count < 1 << 10:
        return f"{count} {style.paint(_CYAN, 'B')}"
    for shift, unit in ((10, "KiB"), (20, "MiB"), (30, "GiB"), (40, "TiB")):
        if count < 1 << (shift + 10) or unit == "TiB":
            return f"{count / (1 << shift):.2f} {style.paint(_CYAN, unit)}"
    raise AssertionError("TiB takes the rest")


# ---- for scripts


def show_field(interface: Interface, field: str, zone_name: ZoneName = str, with_name: bool = False) -> str:
    """The lines of `wg show INTERFACE FIELD`; with_name as under `all`, where the name comes first."""
    prefix = f"{interface.name}\t" if with_name else ""
    if field == "endpoints":  # stock `wg` writes the name once before the first peer; scripts may count on it
        return prefix + "".join(f"{line}\n" for line in _field_lines(interface, field, zone_name))
    return "".join(f"{prefix}{line}\n" for line in _field_lines(interface, field, zone_name))


def _field_lines(interface: Interface, field: str, zone_name: ZoneName) -> Iterator[str]:
    state = interface.state
    match field:
        case "public-key":
            yield _or_none(interface.public_key)
        case "private-key":
            yield _or_none(state.private_key)
        case "listen-port":
            yield str(state.listen_port)
        case "fwmark":
            yield f"0x{state.fwmark:x}" if state.fwmark else "off"
        case "dump":
            columns = ("private-key", "public-key", "listen-port", "fwmark")
            yield "\t".join(next(_field_lines(interface, column, zone_name)) for column in columns)
            for peer in state.peers:
                yield _dump_peer(peer, zone_name)
        case "peers":
            yield from (key_text(peer.public_key) for peer in state.peers)
        case _:
            for peer in state.peers:
                yield f"{key_text(peer.public_key)}\t{_peer_field(peer, field, zone_name)}"


def _peer_field(peer: PeerState, field: str, zone_name: ZoneName) -> str:
    match field:
        case "preshared-keys":
            return _or_none(peer.preshared_key)
        case "endpoints":
            return endpoint_text(peer.endpoint, zone_name) if peer.endpoint is not None else NONE
        case "allowed-ips":
            return " ".join(prefix_text(prefix) for prefix in peer.allowed_ips) or NONE
        case "latest-handshakes":
            return str(peer.last_handshake // SECOND)
        case "transfer":
            return f"{peer.rx_bytes}\t{peer.tx_bytes}"
        case "persistent-keepalive":
            return str(peer.persistent_keepalive or "off")
    raise ValueError(field)


def _dump_peer(peer: PeerState, zone_name: ZoneName) -> str:
    columns = ("preshared-keys", "endpoints", "allowed-ips", "latest-handshakes", "transfer")
    values = [_peer_field(peer, column, zone_name) for column in (*columns, "persistent-keepalive")]
    values[2] = values[2].replace(" ", ",")
    return "\t".join((key_text(peer.public_key), *values))


def showconf(state: DeviceState, zone_name: ZoneName = str) -> str:
    """The file that `wg showconf` prints; it holds secrets."""
    config = from_state(state)
    peers = []
    for section, peer in zip(config.peers, state.peers, strict=True):
        endpoint = section.endpoint
        if endpoint is not None and peer.endpoint is not None and peer.endpoint.scope_id:
            endpoint = replace(endpoint, host=f"{peer.endpoint.ip}%{zone_name(peer.endpoint.scope_id)}")
        peers.append(replace(section, endpoint=endpoint))
    return format_wg(replace(config, peers=tuple(peers))) + ("" if peers else "\n")


def key_text(key: bytes) -> str:
    """A key in base64."""
    return base64.b64encode(key).decode()


def _or_none(key: bytes | None) -> str:
    return key_text(key) if key is not None and any(key) else NONE


def endpoint_text(endpoint: SocketAddress, zone_name: ZoneName) -> str:
    """An endpoint with the zone's name, as getnameinfo writes it."""
    if not endpoint.scope_id:
        return str(endpoint)
    return str(endpoint).replace(f"%{endpoint.scope_id}]", f"%{zone_name(endpoint.scope_id)}]")
