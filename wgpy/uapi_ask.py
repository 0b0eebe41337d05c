"""The cross-platform configuration text, asking half: what our command line writes and reads.

Pure. It reads the replies of any implementation: unknown keys are skipped, as `wg` does.
"""

import errno
from collections.abc import Iterator

from wgpy.errors import WgpyError
from wgpy.model import (
    NO_PRESHARED_KEY,
    SECOND,
    DeviceState,
    DeviceUpdate,
    IpNetwork,
    PeerState,
    PeerUpdate,
    PresharedKey,
    PrivateKey,
    PublicKey,
    WallTime,
    prefix_text,
)
from wgpy.uapi import BadLine, ZoneIndex, no_zone_names, read_endpoint, read_key, read_number, read_prefix


class ReplyError(WgpyError):
    """What the interface answered is not the configuration protocol."""


def format_set(update: DeviceUpdate) -> bytes:
    """The whole request set=1, in the order in which `wg` writes it."""
    lines = ["set=1"]
    if update.private_key is not None:
        lines.append(f"private_key={update.private_key.hex()}")
    if update.listen_port is not None:
        lines.append(f"listen_port={update.listen_port}")
    if update.fwmark is not None:
        lines.append(f"fwmark={update.fwmark}")
    if update.replace_peers:
        lines.append("replace_peers=true")
    for peer in update.peers:
        lines += _update_lines(peer)
    return ("\n".join(lines) + "\n\n").encode("ascii")


def _update_lines(peer: PeerUpdate) -> Iterator[str]:
    yield f"public_key={peer.public_key.hex()}"
    if peer.update_only:
        yield "update_only=true"
    if peer.remove:
        yield "remove=true"
        return
    if peer.preshared_key is not None:
        yield f"preshared_key={peer.preshared_key.hex()}"
    if peer.endpoint is not None:
        yield f"endpoint={peer.endpoint}"
    if peer.persistent_keepalive is not None:
        yield f"persistent_keepalive_interval={peer.persistent_keepalive}"
    if peer.replace_allowed_ips:
        yield "replace_allowed_ips=true"
    for change in peer.allowed_ips:
        yield f"allowed_ip={'-' if change.remove else ''}{prefix_text(change.prefix)}"


def parse_errno(reply: str) -> int:
    """The positive errno a reply ends with, 0 for success.

    Raises:
        ReplyError: there is none.
    """
    for line in reply.split("\n"):
        if line.startswith("errno="):
            text = line.removeprefix("errno=").removeprefix("-")
            if text.isascii() and text.isdigit() and len(text) < 10:
                return int(text)
    raise ReplyError(
        "the interface answered without an errno: it is not a WireGuard implementation, or it died"
    )


def parse_get(reply: str, zone_index: ZoneIndex | None = None) -> DeviceState:
    """Read the reply to get=1 of any implementation; unknown keys are skipped, as `wg` does.

    Raises:
        OSError: the errno that the interface answered.
        ReplyError: the text is not a reply.
    """
    number = parse_errno(reply)
    if number:
        raise OSError(number, "the interface refused to show its state")
    device: dict[str, str] = {}
    peers: list[dict[str, str]] = []
    allowed: list[list[IpNetwork]] = []
    try:
        for line in reply.split("\n"):
            key, equals, value = line.partition("=")
            if not equals and line:
                raise BadLine(errno.EPROTO)
            if key == "public_key":
                peers.append({key: value})
                allowed.append([])
            elif key == "allowed_ip" and peers:
                allowed[-1].append(read_prefix(value))
            else:
                (peers[-1] if peers else device)[key] = value
        zones = zone_index or no_zone_names
        return DeviceState(
            private_key=PrivateKey(read_key(device["private_key"])) if "private_key" in device else None,
            listen_port=read_number(device.get("listen_port", "0"), 0xFFFF),
            fwmark=read_number(device.get("fwmark", "0"), 0xFFFFFFFF),
            peers=tuple(
                _peer_state(peer, tuple(ips), zones) for peer, ips in zip(peers, allowed, strict=True)
            ),
        )
    except BadLine:
        raise ReplyError("the interface's answer is not the WireGuard configuration protocol") from None


def _peer_state(keys: dict[str, str], allowed_ips: tuple[IpNetwork, ...], zone_index: ZoneIndex) -> PeerState:
    def count(key: str) -> int:
        return read_number(keys.get(key, "0"), (1 << 64) - 1)

    return PeerState(
        public_key=PublicKey(read_key(keys["public_key"])),
        preshared_key=PresharedKey(read_key(keys["preshared_key"]))
        if "preshared_key" in keys
        else NO_PRESHARED_KEY,
        endpoint=read_endpoint(keys["endpoint"], zone_index) if "endpoint" in keys else None,
        last_handshake=WallTime(
            count("last_handshake_time_sec") * SECOND + count("last_handshake_time_nsec")
        ),
        tx_bytes=count("tx_bytes"),
        rx_bytes=count("rx_bytes"),
        persistent_keepalive=count("persistent_keepalive_interval"),
        allowed_ips=allowed_ips,
    )
