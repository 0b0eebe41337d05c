"""Configurations back into text, and `strip`: a wg-quick file without what stock `wg` does not know.

Pure. What parse_quick reads from format_quick's text equals what was formatted, but for comments and layout.
"""

import base64
from collections.abc import Iterator

from wgpy.config import (
    ADDED_KEYS,
    QUICK_KEYS,
    PeerSection,
    QuickConfig,
    WgConfig,
    split_line,
)
from wgpy.model import prefix_text


def strip(text: str) -> str:
    """A file's text without the keys of wg-quick and without our own; every other line stays as it is.

    As `wg-quick strip` prints it, its last empty line included. A byte order mark goes: nobody else reads it.
    """
    section = ""
    kept = []
    lines = text.removeprefix("\ufeff").split("\n")
    if lines[-1] == "":
        lines.pop()
    for raw in lines:
        line = split_line(raw)
        if line is not None and line.section:
            section = line.section
        added = ADDED_KEYS.get(section.strip("[]"), {})
        quick = QUICK_KEYS if section == "[interface]" else {}
        if line is None or line.section or (line.key not in quick and line.key not in added):
            kept.append(raw.strip(" \t"))  # as bash's `read` hands them on
    return "".join(f"{line}\n" for line in kept) + "\n"


def format_wg(config: WgConfig) -> str:
    """The text of a file for `wg setconf`, in the order of `wg showconf`."""
    return _format("", config, with_rosenpass=False)


def format_quick(config: QuickConfig) -> str:
    """The text of a whole wg-quick file, our keys included; it holds secrets: write it with mode 600."""
    return _format("".join(f"{line}\n" for line in _quick_lines(config)), config.wg, with_rosenpass=True)


def _format(additions: str, config: WgConfig, with_rosenpass: bool) -> str:
    interface = config.interface
    parts = ["[Interface]\n", additions]
    if interface.listen_port is not None:
        parts.append(f"ListenPort = {interface.listen_port}\n")
    if interface.fwmark is not None:
        parts.append(f"FwMark = {f'0x{interface.fwmark:x}' if interface.fwmark else 'off'}\n")
    if interface.private_key is not None:
        parts.append(f"PrivateKey = {_base64(interface.private_key)}\n")
    for peer in config.peers:
        parts.append("\n[Peer]\n")
        parts += [f"{line}\n" for line in _peer_lines(peer)]
        if with_rosenpass:
            parts += [f"{line}\n" for line in _peer_rosenpass_lines(peer)]
    return "".join(parts)


def _peer_lines(peer: PeerSection) -> Iterator[str]:
    yield f"PublicKey = {_base64(peer.public_key)}"
    if peer.preshared_key is not None:
        yield f"PresharedKey = {_base64(peer.preshared_key)}"
    if peer.allowed_ips:
        add = "" if peer.replace_allowed_ips else "+"
        changes = (
            f"{'-' if change.remove else add}{prefix_text(change.prefix)}" for change in peer.allowed_ips
        )
        yield f"AllowedIPs = {', '.join(changes)}"
    if peer.endpoint is not None:
        yield f"Endpoint = {peer.endpoint}"
    if peer.persistent_keepalive is not None:
        yield f"PersistentKeepalive = {peer.persistent_keepalive or 'off'}"


def _peer_rosenpass_lines(peer: PeerSection) -> Iterator[str]:
    rosenpass = peer.rosenpass
    if rosenpass.public_key is not None:
        yield f"RosenpassPublicKey = {rosenpass.public_key}"
    if rosenpass.endpoint is not None:
        yield f"RosenpassEndpoint = {rosenpass.endpoint}"
    if rosenpass.preshared_key is not None:
        yield f"RosenpassPresharedKey = {rosenpass.preshared_key}"
    if rosenpass.policy is not None:
        yield f"RosenpassPolicy = {rosenpass.policy.name.lower()}"


def _quick_lines(config: QuickConfig) -> Iterator[str]:
    for address in config.addresses:
        yield f"Address = {address}"
    for server in config.dns:
        yield f"DNS = {server}"
    for domain in config.search:
        yield f"DNS = {domain}"
    if config.mtu is not None:
        yield f"MTU = {config.mtu}"
    if config.table is not None:
        yield f"Table = {config.table}"
    if config.save_config:
        yield "SaveConfig = true"
    hooks = (config.pre_up, config.post_up, config.pre_down, config.post_down)
    for key, commands in zip(("PreUp", "PostUp", "PreDown", "PostDown"), hooks, strict=True):
        for command in commands:
            yield f"{key} = {command}"
    if config.user is not None:
        yield f"User = {config.user}"
    if config.workers is not None:
        yield f"Workers = {config.workers}"
    rosenpass = config.rosenpass
    if rosenpass.secret_key is not None:
        yield f"RosenpassSecretKey = {rosenpass.secret_key}"
    if rosenpass.public_key is not None:
        yield f"RosenpassPublicKey = {rosenpass.public_key}"
    if rosenpass.listen_port is not None:
        yield f"RosenpassListenPort = {rosenpass.listen_port}"
    if rosenpass.policy is not None:
        yield f"RosenpassPolicy = {rosenpass.policy.name.lower()}"


def _base64(key: bytes) -> str:
    return base64.b64encode(key).decode()
