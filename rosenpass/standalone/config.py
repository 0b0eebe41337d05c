"""The configuration of the exchange: the Rust tool's TOML file and its argument words, to frozen values.

Reads no key and opens no socket. Keys of go-rosenpass are understood where they mean the same. The table
[timers] and the suites with -156 are this implementation's own.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ..constants import DEFAULT_SUITE, DEFAULT_TIMERS, SECOND, SUITES, Suite, Timers
from ..errors import ConfigError
from ..hash_domains import WIREGUARD_PSK, OskLabel
from .values import HostPort, WireguardOutput, read_host_port, read_listen, read_path, shown

T = TypeVar("T")

TOP_KEYS = {"public_key", "secret_key", "listen", "verbosity", "peers", "timers", "single_port"}
PEER_KEYS = {
    *("public_key", "endpoint", "pre_shared_key", "key_out", "exchange_command", "wireguard"),
    *("device", "peer", "extra_params", "protocol_version", "osk_organization", "osk_label"),
}
WIREGUARD_KEYS = {"interface", "public_key", "extra_params"}


@dataclass(frozen=True, slots=True)
class PeerEntry:
    """One peer of the file or of the command line.

    Attributes:
        where: file and line where the peer begins, for errors.
    """

    public_key: Path
    endpoint: HostPort | None = None
    pre_shared_key: Path | None = None
    key_out: Path | None = None
    wireguard: WireguardOutput | None = None
    exchange_command: tuple[str, ...] = ()
    suite: Suite = DEFAULT_SUITE
    osk_label: OskLabel = WIREGUARD_PSK
    where: str = ""

    @property
    def has_output(self) -> bool:
        """Whether a key of this peer goes anywhere."""
        return bool(self.key_out or self.wireguard or self.exchange_command)


@dataclass(frozen=True, slots=True)
class ExchangeConfig:
    """Everything `exchange` needs. An empty `listen` means one dual-stack socket on a free port."""

    public_key: Path | None = None
    secret_key: Path | None = None
    listen: tuple[HostPort, ...] = ()
    verbose: bool = False
    peers: tuple[PeerEntry, ...] = ()
    timers: Timers = DEFAULT_TIMERS


def load(path: Path) -> ExchangeConfig:
    """Read a TOML file.

    Raises:
        ConfigError: names file, line and key.
    """
    try:
        text = path.read_text()
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read it: {error.strerror}", str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("not a text file", str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, error) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets thousands deep
        raise ConfigError("not TOML that anybody wrote: a value is too long or too deep", str(path)) from None
    return _Reader(path, text).config(table)


def _syntax_error(path: Path, error: tomllib.TOMLDecodeError) -> ConfigError:
    found = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", str(error))
    message, where = (found[1], f"{path}:{found[2]}") if found else (str(error), str(path))
    return ConfigError(f"not TOML: {message}", where)


class _Reader:
    """Turns tables into values and knows on which line each key stands."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = dict(_lines_of_keys(text))

    def config(self, table: Mapping[str, Any]) -> ExchangeConfig:
        self._known(table, TOP_KEYS, "")
        for required in ("listen", "peers"):
            if required not in table:
                raise ConfigError(
                    f"the key `{required}` is missing (it may be an empty list)", str(self._path)
                )
        both = [self._path_of(table, "", key) for key in ("public_key", "secret_key")]
        if (both[0] is None) != (both[1] is None):
            raise ConfigError("public_key and secret_key belong together: give both or none", str(self._path))
        verbosity = self._text(table, "", "verbosity") or "Quiet"
        if verbosity.lower() not in ("quiet", "verbose"):
            raise self._error("", "verbosity", 'must be "Quiet" or "Verbose"')
        peers = self._list_of(table, "", "peers", dict)
        return ExchangeConfig(
            public_key=both[0],
            secret_key=both[1],
            listen=tuple(self._listen(text) for text in self._list_of(table, "", "listen", str)),
            verbose=verbosity.lower() == "verbose",
            peers=tuple(self._peer(peer, f"peers.{i}.") for i, peer in enumerate(peers)),
            timers=self._timers(table.get("timers", {})),
        )

    def _peer(self, table: Mapping[str, Any], at: str) -> PeerEntry:
        self._known(table, PEER_KEYS, at)
        public_key = self._path_of(table, at, "public_key")
        if public_key is None:
            raise ConfigError("a peer needs its public_key", self._where(at))
        version = self._text(table, at, "protocol_version") or DEFAULT_SUITE.name
        if version not in SUITES:
            raise self._error(at, "protocol_version", f"must be one of {', '.join(SUITES)}")
        return PeerEntry(
            public_key=public_key,
            endpoint=self._endpoint(table, at),
            pre_shared_key=self._path_of(table, at, "pre_shared_key"),
            key_out=self._path_of(table, at, "key_out"),
            wireguard=self._wireguard(table, at),
            exchange_command=tuple(self._list_of(table, at, "exchange_command", str)),
            suite=SUITES[version],
            osk_label=self._osk_label(table, at),
            where=self._where(at + "public_key"),
        )

    def _endpoint(self, table: Mapping[str, Any], at: str) -> HostPort | None:
        text = self._text(table, at, "endpoint")
        if text is None:
            return None
        try:
            return read_host_port(text)
        except ValueError as error:
            raise self._error(at, "endpoint", str(error)) from None

    def _wireguard(self, table: Mapping[str, Any], at: str) -> WireguardOutput | None:
        """`device` and `peer` of the Rust tool, or [peers.wireguard] of go-rosenpass."""
        keys = ("device", "peer", "extra_params")
        if "wireguard" in table:
            nested = table["wireguard"]
            if not isinstance(nested, dict):
                raise self._error(at, "wireguard", "must be a table")
            if "device" in table or "peer" in table:
                raise self._error(at, "wireguard", "and device/peer name the same twice")
            at += "wireguard."
            self._known(nested, WIREGUARD_KEYS, at)
            table, keys = nested, ("interface", "public_key", "extra_params")
        device, peer = (self._text(table, at, key) for key in keys[:2])
        extra = tuple(self._list_of(table, at, keys[2], str))
        if device is None and peer is None and not extra:
            return None
        if device is None or peer is None:
            raise ConfigError(f"{keys[0]} and {keys[1]} belong together", self._where(at))
        try:
            return WireguardOutput(device, peer, extra)
        except ValueError as error:
            raise self._error(at, keys[1], str(error)) from None

    def _osk_label(self, table: Mapping[str, Any], at: str) -> OskLabel:
        organization = self._text(table, at, "osk_organization")
        labels = self._list_of(table, at, "osk_label", str)
        if (organization is None) != (not labels):
            raise ConfigError("osk_organization and osk_label belong together", self._where(at))
        return WIREGUARD_PSK if organization is None else OskLabel(organization, tuple(labels))

    def _timers(self, table: object) -> Timers:
        if not isinstance(table, dict):
            raise self._error("", "timers", "must be a table")
        self._known(table, {field.name for field in fields(Timers)}, "timers.")
        values = {}
        for key, value in table.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
                raise self._error("timers.", key, "must be a number of seconds above 0")
            values[key] = round(value * SECOND)
        return replace(DEFAULT_TIMERS, **values)

    def _listen(self, text: str) -> HostPort:
        try:
            return read_listen(text)
        except ValueError as error:
            raise self._error("", "listen", str(error)) from None

    def _known(self, table: Mapping[str, Any], keys: set[str], at: str) -> None:
        for key in table:
            if key not in keys:
                raise self._error(at, key, f"is no key here; known are {', '.join(sorted(keys))}")

    def _text(self, table: Mapping[str, Any], at: str, key: str) -> str | None:
        value = table.get(key)
        if value is not None and not isinstance(value, str):
            raise self._error(at, key, "must be a text in quotes")
        if value is not None and "\0" in value:
            raise self._error(at, key, "has a zero byte in it")
        return value

    def _path_of(self, table: Mapping[str, Any], at: str, key: str) -> Path | None:
        text = self._text(table, at, key)
        try:
            return read_path(text) if text is not None else None
        except ValueError as error:
            raise self._error(at, key, str(error)) from None

    def _list_of(self, table: Mapping[str, Any], at: str, key: str, kind: type) -> list[Any]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
            raise self._error(at, key, "must be a list of " + ("texts" if kind is str else "tables"))
        if any(isinstance(item, str) and "\0" in item for item in value):
            raise self._error(at, key, "has a zero byte in it")
        return value

    def _error(self, at: str, key: str, message: str) -> ConfigError:
        return ConfigError(f"`{shown(key)[1:-1]}` {message}", self._where(at + key))

    def _where(self, at: str) -> str:
        line = self._lines.get(at)
        return f"{self._path}:{line}" if line else str(self._path)


def _lines_of_keys(text: str) -> Iterator[tuple[str, int]]:
    """Yield the dotted name of each key with its line; peers are counted: peers.0.endpoint."""
    prefix, peers = "", -1
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[?\s*([\w.\"' -]+?)\s*\]\]?", line):
            name = re.sub(r"[\"' ]", "", header[1])
            peers += name == "peers"
            prefix = re.sub(r"^peers\b", f"peers.{peers}", name) + "."
            yield prefix, number
        elif key := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line):
            yield prefix + key[1], number


# ---- the words of `exchange`


def from_words(words: Sequence[str]) -> ExchangeConfig:
    """Read `public-key PATH secret-key PATH [listen ADDR:PORT]... [verbose] PEER...`.

    Raises:
        ConfigError: says which word.
    """
    queue = list(words)
    own: dict[str, Any] = {"listen": (), "verbose": False}
    peers: list[PeerEntry] = []
    while queue:
        word = queue.pop(0)
        match word:
            case "public-key":
                own["public_key"] = _value(read_path, _argument(queue, word), word)
            case "secret-key" | "private-key":
                own["secret_key"] = _value(read_path, _argument(queue, word), word)
            case "listen":
                own["listen"] += (_value(read_listen, _argument(queue, word), word),)
            case "verbose":
                own["verbose"] = True
            case "peer":
                peers.append(_peer_from_words(queue, len(peers) + 1))
            case _:
                known = "public-key, secret-key, listen, verbose, peer"
                raise ConfigError(f"`{word}` is none of the words {known}")
    for key in ("public_key", "secret_key"):
        if key not in own:
            raise ConfigError(f"`{key.replace('_', '-')} PATH` is missing")
    return ExchangeConfig(peers=tuple(peers), **own)


def _peer_from_words(queue: list[str], number: int) -> PeerEntry:
    found: dict[str, Any] = {}
    while queue and queue[0] != "peer":
        word = queue.pop(0)
        match word:
            case "public-key":
                found["public_key"] = _value(read_path, _argument(queue, word), word)
            case "endpoint":
                found["endpoint"] = _value(read_host_port, _argument(queue, word), word)
            case "preshared-key":
                found["pre_shared_key"] = _value(read_path, _argument(queue, word), word)
            case "outfile":
                found["key_out"] = _value(read_path, _argument(queue, word), word)
            case "wireguard":
                found["wireguard"] = _wireguard_from_words(queue)
            case _:
                known = "public-key, endpoint, preshared-key, outfile, wireguard"
                raise ConfigError(f"peer {number}: `{word}` is none of the words {known}")
    if "public_key" not in found:
        raise ConfigError(f"peer {number}: `public-key PATH` is missing")
    return PeerEntry(where=f"peer {number}", **found)


def _wireguard_from_words(queue: list[str]) -> WireguardOutput:
    device, peer = _argument(queue, "wireguard"), _argument(queue, "wireguard")
    extra = []
    while queue and queue[0] != "peer":  # that word always begins the next peer
        extra.append(queue.pop(0))
    try:
        return WireguardOutput(device, peer, tuple(extra))
    except ValueError as error:
        raise ConfigError(f"wireguard {device}: {error}") from None


def _argument(queue: list[str], word: str) -> str:
    if not queue:
        raise ConfigError(f"`{word}` needs a value after it")
    return queue.pop(0)


def _value(read: Callable[[str], T], text: str, word: str) -> T:
    try:
        return read(text)
    except ValueError as error:
        raise ConfigError(f"{word} {text}: {error}") from None


# ---- back to a file


def to_toml(config: ExchangeConfig) -> str:
    """Write what `exchange -c FILE` saves; load() reads it back equal."""
    lines = [f"{key} = {_quote(str(value))}" for key, value in _own_values(config) if value is not None]
    lines.append(f"listen = [{', '.join(_quote(str(at)) for at in config.listen)}]")
    lines.append(f"verbosity = {_quote('Verbose' if config.verbose else 'Quiet')}")
    if not config.peers:
        lines.append("peers = []")
    for peer in config.peers:
        lines += ["", "[[peers]]", *_peer_lines(peer)]
    return "\n".join(lines) + "\n"


def _own_values(config: ExchangeConfig) -> list[tuple[str, Path | None]]:
    return [("public_key", config.public_key), ("secret_key", config.secret_key)]


def _peer_lines(peer: PeerEntry) -> Iterator[str]:
    for key in ("public_key", "endpoint", "pre_shared_key", "key_out"):
        value = getattr(peer, key)
        if value is not None:
            yield f"{key} = {_quote(str(value))}"
    if peer.wireguard is not None:
        yield f"device = {_quote(peer.wireguard.device)}"
        yield f"peer = {_quote(peer.wireguard.peer)}"
        yield f"extra_params = [{', '.join(map(_quote, peer.wireguard.extra))}]"
    if peer.exchange_command:
        yield f"exchange_command = [{', '.join(map(_quote, peer.exchange_command))}]"
    if peer.suite is not DEFAULT_SUITE:
        yield f"protocol_version = {_quote(peer.suite.name)}"
    if peer.osk_label != WIREGUARD_PSK:
        yield f"osk_organization = {_quote(peer.osk_label.organization)}"
        yield f"osk_label = [{', '.join(map(_quote, peer.osk_label.labels))}]"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\u{ord(m[0]):04x}", escaped) + '"'
