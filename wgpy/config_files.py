"""Finds, reads and judges configuration files. Edge: it opens files; what they mean is wgpy.config."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from wgpy.config import QuickConfig, WgConfig, parse_quick, parse_wg
from wgpy.config_values import BadValue, read_key
from wgpy.errors import ConfigError, PermissionMissing
from wgpy.resolve import service_port

DIRECTORY = Path("/etc/wireguard")
INTERFACE_NAME = re.compile(r"[a-zA-Z0-9_=+.-]{1,15}")
CONFIG_MAX = 64 << 20  # bytes


@dataclass(frozen=True, slots=True)
class QuickFile:
    """A wg-quick file that was read."""

    path: Path  # resolved: the name of what a link points to may say nothing of the interface
    interface: str
    config: QuickConfig
    warnings: tuple[str, ...]  # each one line for stderr
    named: Path  # absolute, links kept: what another command is given to mean the same tunnel


def find_quick(name: str) -> tuple[Path, str]:
    """A path or a bare interface name -> (path, interface name).

    As wg-quick understands them, except that `wg0.conf` is a file here, not an interface called "wg0.conf".

    Raises:
        ConfigError: no such file, or its name is not INTERFACE.conf.
    """
    path = DIRECTORY / f"{name}.conf" if _is_bare(name) else Path(name)
    interface = path.name.removesuffix(".conf")
    if path.name == interface or not INTERFACE_NAME.fullmatch(interface) or interface in (".", ".."):
        raise ConfigError(f"{name}: the file must be called INTERFACE.conf, at most 15 of a-zA-Z0-9_=+.-")
    if not path.exists() and os.access(path.parent, os.X_OK):
        raise ConfigError(f"{path} does not exist; create it or give the path of another")
    return path.resolve(), interface


def _is_bare(name: str) -> bool:
    return INTERFACE_NAME.fullmatch(name) is not None and not name.endswith(".conf")


def read_quick_file(name: str) -> QuickFile:
    """Read a wg-quick file by path or interface name.

    Raises:
        ConfigError: it does not exist or is invalid.
        PermissionMissing: it may not be read.
    """
    path, interface = find_quick(name)
    config = read_quick_text(path)
    named = (DIRECTORY if _is_bare(name) else Path(name).parent.resolve()) / f"{interface}.conf"
    return QuickFile(path, interface, config, (*exposure(path), *config.wg.warnings), named)


def read_quick_text(path: Path) -> QuickConfig:
    """What a wg-quick file of any name says; errors as read_quick_file."""
    return parse_quick(read_text(path), path.name, service_port)


def read_wg_file(path: Path) -> WgConfig:
    """Read a file for setconf and its kin; errors as read_quick_file. /dev/stdin and pipes work."""
    config = parse_wg(read_text(path), path.name, service_port)
    return WgConfig(config.interface, config.peers, (*exposure(path), *config.warnings))


def read_text(path: Path) -> str:
    """A configuration file's text; what is not UTF-8 survives a round trip (errors="surrogateescape").

    Raises:
        ConfigError: it cannot be read.
        PermissionMissing: it may not be read.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(CONFIG_MAX + 1)
    except PermissionError:
        raise PermissionMissing(f"{path} may not be read; run as root or correct its mode") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(raw) > CONFIG_MAX:
        raise ConfigError(f"{path} has more than {CONFIG_MAX >> 20} MiB: this is not a configuration file")
    return raw.decode("utf-8", "surrogateescape")


def exposure(path: Path) -> tuple[str, ...]:
    """A warning where a file with secrets can be reached by everybody, as wg-quick judges it."""
    try:
        mode = path.stat()
        directory = path.parent.stat().st_mode
    except OSError:
        return ()
    if not stat.S_ISREG(mode.st_mode) or not mode.st_mode & directory & 0o007:
        return ()
    return (f"{path} is world accessible; `chmod 600 {path}` keeps its keys secret",)


def read_key_file(path: Path, what: str) -> bytes | None:
    """A base64 key from a file (or pipe, or /dev/stdin); None where it is empty, which means "remove".

    Raises:
        BadValue: something else is in it.
        PermissionMissing: it may not be read.
        ConfigError: it cannot be read.
    """
    text = read_text(path).strip(" \t\r\n\v\f")
    if not text:
        return None
    key = read_key(text)
    if key is None:
        raise BadValue(f"{what}: {path} does not hold a key of 44 characters of base64")
    return key
