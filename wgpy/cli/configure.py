"""`wgpy set`, `setconf`, `addconf`, `syncconf`, `strip`: the words and files of `wg`."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from wgpy import config_files, config_text, config_update, uapi_client
from wgpy.cli import warn
from wgpy.cli.completion import complete_config, complete_interface
from wgpy.config import HostPort, WgConfig, parse_quick
from wgpy.config_values import (
    BadValue,
    PortReader,
    read_allowed_ips,
    read_fwmark,
    read_keepalive,
    read_named_key,
)
from wgpy.errors import ConfigError, UsageError
from wgpy.model import (
    KEY_LEN,
    DeviceUpdate,
    PeerUpdate,
    PresharedKey,
    PrivateKey,
    PublicKey,
    SocketAddress,
)
from wgpy.resolve import resolve, service_port

NO_KEY = bytes(KEY_LEN)
_DEVICE_WORDS = ("listen-port", "fwmark", "private-key")
_PEER_WORDS = ("preshared-key", "endpoint", "persistent-keepalive", "allowed-ips")


@click.command("set", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("interface", shell_complete=complete_interface)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def set_(interface: str, words: tuple[str, ...]) -> None:
    """Change the configuration in the words of `wg set`.

    \b
    [listen-port PORT] [fwmark MARK] [private-key FILE]
    [peer KEY [remove] [preshared-key FILE] [endpoint HOST:PORT]
     [persistent-keepalive SECONDS|off] [allowed-ips [+|-]IP/BITS,...]]...

    Keys come from files only; an empty file, for instance /dev/null, removes the key.
    """  # noqa: D301
    if not words:
        raise UsageError("set: nothing to set; see `wgpy set --help`")
    uapi_client.apply(interface, read_words(words))


def read_words(words: tuple[str, ...]) -> DeviceUpdate:
    """The words of `wg set` as an update.

    Raises:
        UsageError: a word or value is wrong.
        ConfigError: a key file holds no key.
    """
    update, peers = DeviceUpdate(), list[PeerUpdate]()
    rest = list(reversed(words))
    while rest:
        word = rest.pop().lower()
        if word == "remove" and peers:
            peers[-1] = replace(peers[-1], remove=True)
            continue
        if word != "peer" and word not in (_PEER_WORDS if peers else _DEVICE_WORDS):
            where = "for a peer" if peers else "before the first peer"
            raise UsageError(f"set: `{word}` is not a word {where}; see `wgpy set --help`")
        if not rest:
            raise UsageError(f"set: `{word}` needs a value")
        value = rest.pop()
        try:
            if word == "peer":
                peers.append(PeerUpdate(PublicKey(read_named_key("peer", value))))
            elif peers:
                peers[-1] = _set_peer(peers[-1], word, value)
            else:
                update = _set_device(update, word, value)
        except BadValue as bad:
            raise UsageError(f"set: {bad}") from None
    return replace(update, peers=tuple(peers))


def _set_device(update: DeviceUpdate, word: str, value: str) -> DeviceUpdate:
    if word == "listen-port":
        return replace(update, listen_port=PortReader(service_port).read(word, value))
    if word == "fwmark":
        return replace(update, fwmark=read_fwmark(value))
    return replace(update, private_key=PrivateKey(_key_of(value, word)))


def _set_peer(peer: PeerUpdate, word: str, value: str) -> PeerUpdate:
    match word:
        case "preshared-key":
            return replace(peer, preshared_key=PresharedKey(_key_of(value, word)))
        case "endpoint":
            return replace(peer, endpoint=_look_up(PortReader(service_port).endpoint(word, value)))
        case "persistent-keepalive":
            return replace(peer, persistent_keepalive=read_keepalive(value))
    changes, replaces, notes = read_allowed_ips(value)
    warn(tuple(notes))
    return replace(
        peer,
        replace_allowed_ips=peer.replace_allowed_ips or replaces,
        allowed_ips=peer.allowed_ips + changes,
    )


def _key_of(file: str, word: str) -> bytes:
    path = Path(file)
    warn(config_files.exposure(path))
    try:
        return config_files.read_key_file(path, word) or NO_KEY
    except BadValue as bad:
        raise ConfigError(str(bad)) from None


def _look_up(endpoint: HostPort) -> SocketAddress:
    return resolve(endpoint, warn=lambda text: warn((text,)))


# ---- files


@click.command()
@click.argument("interface", shell_complete=complete_interface)
@click.argument("file", type=click.Path(path_type=Path))
def setconf(interface: str, file: Path) -> None:
    """Replace the whole configuration of INTERFACE by FILE (- is standard input)."""
    _apply(interface, file, lambda config: config_update.setconf(config, _look_up))


@click.command()
@click.argument("interface", shell_complete=complete_interface)
@click.argument("file", type=click.Path(path_type=Path))
def addconf(interface: str, file: Path) -> None:
    """Add what FILE says to the configuration of INTERFACE (- is standard input)."""
    _apply(interface, file, lambda config: config_update.addconf(config, _look_up))


@click.command()
@click.argument("interface", shell_complete=complete_interface)
@click.argument("file", type=click.Path(path_type=Path))
def syncconf(interface: str, file: Path) -> None:
    """Make INTERFACE what FILE says by sending only the differences; unchanged peers keep their sessions."""
    _apply(
        interface,
        file,
        lambda config: config_update.syncconf(config, uapi_client.get(interface), _look_up),
    )


def _apply(interface: str, file: Path, update_of: Callable[[WgConfig], DeviceUpdate]) -> None:
    config = config_files.read_wg_file(Path("/dev/stdin") if str(file) == "-" else file)
    warn(config.warnings)
    uapi_client.apply(interface, update_of(config))


@click.command()
@click.argument("config", shell_complete=complete_config)
def strip(config: str) -> None:
    """Print a wg-quick file (or that of an interface) without what stock `wg` does not know."""
    path, _ = config_files.find_quick(config)
    text = config_files.read_text(path)
    parsed = parse_quick(text, path.name, service_port)
    warn((*config_files.exposure(path), *parsed.wg.warnings))
    sys.stdout.flush()
    sys.stdout.buffer.write(config_text.strip(text).encode("utf-8", "surrogateescape"))
