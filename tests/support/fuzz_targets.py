"""Every parser in Python as a function of bytes, for unit tests and fuzzers alike.

A target raises nothing for any input, or the parser is wrong: it lets the errors pass that the parser
promises, and checks what must hold of what was accepted (most often that it can be written and read
again). Seeds are what the parser accepts; words are what a fuzzer should know of its language.
"""

import base64
import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any

from support.fake_dataplane import FakeDataPlane
from support.rosenpass_stages import remac, stage, untouched
from support.seeded import seeded_bytes

from rosenpass.errors import ConfigError as ExchangeConfigError
from rosenpass.errors import KeyFileError, MalformedMessage
from rosenpass.keyfile import SecretKeyFormat as Layout
from rosenpass.keyfile import convert_secret_key, load_psk, load_public_key, load_secret_key
from rosenpass.msgs import CookieReply, EmptyData, InitConf, InitHello, MessageType, RespHello, classify
from rosenpass.standalone import config as exchange_config
from wgpy import messages, uapi_ask
from wgpy.cli.status import InterfaceStatus, page, peers_of, to_json
from wgpy.config import parse_quick, parse_wg
from wgpy.config_files import read_key_file
from wgpy.config_text import format_quick, format_wg, strip
from wgpy.config_values import BadValue
from wgpy.constants import Timings
from wgpy.errors import ConfigError, RemoteError, WgpyError
from wgpy.model import (
    NO_PRESHARED_KEY,
    SECOND,
    DeviceState,
    Endpoint,
    Instant,
    PeerNumber,
    PeerState,
    PresharedKey,
    PrivateKey,
    PublicKey,
    SocketAddress,
    WallTime,
)
from wgpy.noise import StaticIdentity
from wgpy.quick.journal import Journal
from wgpy.rosenpass_settings import from_lines, to_lines
from wgpy.tunnel import Tunnel
from wgpy.uapi import Hangup, RefusedRequest, Request, RequestParser, SetRequest, format_get
from wgpy.uapi_client import read_status_reply
from wgpy.wg_format import Interface, Style, show

KEY = base64.b64encode(bytes(range(32))).decode()
HEX = bytes(range(32)).hex()


@dataclass(frozen=True)
class Target:
    """One parser."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


def one_line(error: Exception) -> None:
    """What a person is told."""
    assert "\n" not in str(error)


# ---- WireGuard


def wireguard_message(data: bytes) -> None:
    try:
        message = messages.unpack(data)
    except RemoteError:
        return
    packed = message.pack()
    assert data[: len(packed)] == packed


@cache
def _tunnel() -> tuple[Tunnel, bytes]:
    """A core that waits for a response from its one peer, and the initiation it sent."""
    random_bytes = seeded_bytes("fuzz")
    plane = FakeDataPlane(random_bytes, Timings(), lambda *_: None)
    tunnel = Tunnel(plane.indices, random_bytes, Timings())
    tunnel.set_private_key(PrivateKey(b"\x11" * 32), Instant(SECOND))
    number = PeerNumber(0)
    tunnel.add_peer(
        number, StaticIdentity.from_private(b"\x22" * 32).public_key, PresharedKey(NO_PRESHARED_KEY)
    )
    tunnel.set_endpoint_known(number)
    tunnel.device_up(Instant(SECOND), WallTime(SECOND), {})
    tunnel.want_session(number, Instant(SECOND), WallTime(SECOND))
    (sent,) = [action for action in tunnel.take_actions() if type(action).__name__ == "SendHandshake"]
    return tunnel, bytes(sent.message)


def wireguard_tunnel(data: bytes) -> None:
    """Nobody without the peer's key makes the core do anything."""
    tunnel, initiation = _tunnel()
    if data[:1] == b"\xff":  # an answer to what was really sent
        data = data[1:5] + data[5:9] + initiation[4:8] + data[9:]
    source = Endpoint(SocketAddress(IPv4Address("192.0.2.1"), 51820))
    try:
        tunnel.receive(data, source, Instant(2 * SECOND), WallTime(2 * SECOND))
    except RemoteError:
        assert tunnel.take_actions() == []
        return
    raise AssertionError("a forged message was accepted")


# ---- UAPI


def _requests(pieces: list[bytes]) -> list[Request]:
    parser = RequestParser()
    return [request for piece in pieces for request in parser.feed(piece)]


def uapi_request(data: bytes) -> None:
    whole = _requests([data])
    cut = len(data) // 3
    assert whole == _requests([data[:cut], data[cut : 2 * cut], data[2 * cut :]])
    if len(data) < 400:
        assert whole == _requests([data[at : at + 1] for at in range(len(data))])
    for request in whole:
        if isinstance(request, SetRequest):
            assert _requests([uapi_ask.format_set(request.update)]) == [request]
        if isinstance(request, Hangup) or (isinstance(request, RefusedRequest) and request.close):
            assert request is whole[-1]


def uapi_reply(data: bytes) -> None:
    try:
        state = uapi_ask.parse_get(data.decode("ascii", "replace"))
    except (uapi_ask.ReplyError, OSError):
        return
    assert uapi_ask.parse_get(format_get(state).decode()) == _without_nothing(state)
    show(Interface("wg0", state, None), Style(0))


def _without_nothing(state: DeviceState) -> DeviceState:
    """A key of zeros is not shown."""
    key = state.private_key
    return replace(state, private_key=key if key is not None and any(key) else None)


def uapi_rosenpass(data: bytes) -> None:
    lines = data.decode("ascii", "replace").split("\n")
    with contextlib.suppress(ValueError):
        settings = from_lines(lines)
        assert from_lines(to_lines(settings)) == settings


def status_reply(data: bytes) -> None:
    """What `wgpy status` makes of any answer, ours or not."""
    try:
        extra = read_status_reply("wg0", data.decode("ascii", "replace"))
        peers = peers_of("wg0", (_peer_state(),), extra)
    except WgpyError:
        return
    status = InterfaceStatus(Interface("wg0", DeviceState(None, 1, 0, (_peer_state(),)), None), extra, peers)
    page([status], 0)
    json.dumps(to_json(status))
    for peer in peers:
        peer.violates_policy()


def _peer_state() -> PeerState:
    prefixes = (ip_network("10.0.0.0/8"),)
    return PeerState(PublicKey(bytes(range(32))), NO_PRESHARED_KEY, None, WallTime(0), 0, 0, 0, prefixes)


# ---- files


def wg_config(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        config = parse_wg(text, "wg0.conf")
    except ConfigError as error:
        one_line(error)
        return
    assert parse_wg(format_wg(config), "again") == config


def quick_config(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        config = parse_quick(text, "wg0.conf")
    except ConfigError as error:
        one_line(error)
        strip(text)
        return
    assert parse_quick(format_quick(config), "again") == config
    stripped = parse_wg(strip(text), "stripped")
    bare = [replace(peer, rosenpass=type(peer.rosenpass)()) for peer in config.wg.peers]
    assert (stripped.interface, list(stripped.peers)) == (config.wg.interface, bare)


@contextlib.contextmanager
def _file(data: bytes) -> Iterator[Path]:
    """A file in memory where there is /dev/shm."""
    directory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.NamedTemporaryFile(dir=directory, prefix="wgpy-fuzz-") as file:
        file.write(data)
        file.flush()
        yield Path(file.name)


def rosenpass_toml(data: bytes) -> None:
    with _file(data) as path:
        try:
            config = exchange_config.load(path)
        except ExchangeConfigError as error:
            one_line(error)
            return
    with _file(exchange_config.to_toml(config).encode()) as path:
        again = exchange_config.load(path)
    assert _comparable(again) == _comparable(config)


def _comparable(config: exchange_config.ExchangeConfig) -> exchange_config.ExchangeConfig:
    """Without the lines where peers begin, and the timers, which are not written."""
    peers = tuple(replace(peer, where="") for peer in config.peers)
    return replace(config, peers=peers, timers=exchange_config.DEFAULT_TIMERS)


def rosenpass_words(data: bytes) -> None:
    with contextlib.suppress(ExchangeConfigError):
        exchange_config.from_words(data.decode("utf-8", "replace").split("\n"))


def key_files(data: bytes) -> None:
    """Any content, small or as long as a key of its kind; short ones are repeated up to that length."""
    choice, rest = data[:1], data[1:]
    lengths = {b"\0": 13568, b"\x01": 13608, b"\x02": 524160}
    if choice in lengths and rest:
        rest = (rest * (lengths[choice] // len(rest) + 1))[: lengths[choice]]
    with _file(rest) as path:
        loaded: list[Callable[[Path], Any]] = [load_psk, load_public_key, load_secret_key]
        for load in loaded:
            with contextlib.suppress(KeyFileError):
                key = load(path)
                assert len(key) == {load_psk: 32, load_public_key: 524160}.get(load, len(rest))
        with contextlib.suppress(BadValue):
            key = read_key_file(path, "key")
            assert key is None or len(key) == 32
    if len(rest) in (13568, 13608):
        rust = convert_secret_key(rest, Layout.RUST)
        assert convert_secret_key(convert_secret_key(rust, Layout.GO), Layout.RUST) == rust


def journal(data: bytes) -> None:
    with _file(data) as path, contextlib.suppress(WgpyError):
        Journal.read(path)


# ---- Rosenpass

_MESSAGES = {
    MessageType.INIT_HELLO: InitHello,
    MessageType.RESP_HELLO: RespHello,
    MessageType.INIT_CONF: InitConf,
    MessageType.EMPTY_DATA: EmptyData,
    MessageType.COOKIE_REPLY: CookieReply,
}


def rosenpass_message(data: bytes) -> None:
    try:
        kind, _ = classify(data)
    except MalformedMessage:
        return
    packed = _MESSAGES[kind].unpack(data).pack()
    assert data[:1] + data[4 : len(packed)] == packed[:1] + packed[4:]


def rosenpass_server(data: bytes) -> None:
    """First byte: the stage of the handshake, whether the mac is made right, and
    whether the rest is laid over the genuine message, so that a few bytes reach far."""
    if not data:
        return
    receiver, sender, genuine = stage(data[0] & 3)
    wire = data[1:]
    if data[0] & 4:
        wire = bytes(a ^ b for a, b in zip(genuine, wire.ljust(len(genuine), b"\0"), strict=False))
    if len(wire) >= 64 and data[0] & 8:
        wire = remac(receiver, wire)
    if wire[:1] + wire[4:-32] != genuine[:1] + genuine[4:-32]:
        untouched(receiver, sender, wire)


# ---- all of them

_QUICK = f"""[Interface]
PrivateKey = {KEY}
ListenPort = 51820
FwMark = 0xca6c
Address = 10.0.0.1/24, fd00::1/64
DNS = 1.1.1.1, example.org
MTU = 1420
Table = auto
PreUp = echo up %i # not a comment
SaveConfig = true
User = nobody
RosenpassSecretKey = a/pqsk
RosenpassPublicKey = a/pqpk
RosenpassListenPort = 51821
RosenpassPolicy = strict

[Peer] # comment
PublicKey = {KEY}
PresharedKey = {KEY}
AllowedIPs = 10.0.0.2/32, +fd00::2, -10.9.0.0/16
Endpoint = [fe80::1%2]:51820
PersistentKeepalive = 25
RosenpassPublicKey = b.pqpk
RosenpassEndpoint = tunnel:10.0.0.2:51821
RosenpassPresharedKey = psk
RosenpassPolicy = permissive
"""
_WG = f"""[Interface]
PrivateKey={KEY}
[Peer]
PublicKey={KEY}
AllowedIPs=0.0.0.0/0
Endpoint=host.example:ssh
PersistentKeepalive=off
"""
_CONFIG_WORDS = tuple(
    word.encode()
    for word in (
        *(
            "[Interface]",
            "[Peer]",
            "PrivateKey",
            "PublicKey",
            "PresharedKey",
            "ListenPort",
            "FwMark",
            "Address",
        ),
        *(
            "AllowedIPs",
            "Endpoint",
            "PersistentKeepalive",
            "DNS",
            "MTU",
            "Table",
            "PreUp",
            "PostDown",
            "User",
        ),
        *("SaveConfig", "RosenpassSecretKey", "RosenpassEndpoint", "RosenpassPolicy", "RosenpassListenPort"),
        *(
            " = ",
            "\n",
            "\r\n",
            "\t",
            "#",
            ",",
            "off",
            "true",
            "tunnel:",
            "none",
            "0x",
            "/33",
            "/128",
            "[::1]:1",
        ),
        *(KEY, "10.0.0.1/8", "fe80::1%lo", "\ufeff", "\0", "\u0663", "\u2028", "strict", "65536", "-", "+"),
    )
)
_SET = (
    f"set=1\nprivate_key={HEX}\nlisten_port=51820\nfwmark=1\nreplace_peers=true\npublic_key={HEX}\n"
    f"update_only=true\npreshared_key={HEX}\nendpoint=[fe80::1%1]:51820\npersistent_keepalive_interval=25\n"
    "replace_allowed_ips=true\nallowed_ip=10.0.0.0/8\nallowed_ip=-fd00::/64\nprotocol_version=1\n\n"
).encode()
_UAPI_WORDS = (
    *(
        b"set=1\n",
        b"get=1\n",
        b"wgpy=1\n",
        b"\n",
        b"public_key=" + HEX.encode(),
        b"remove=true",
        b"errno=0\n",
    ),
    *(
        b"allowed_ip=",
        b"endpoint=",
        b"/0",
        b"::ffff:10.0.0.1",
        b"%",
        b"0" * 30,
        b"rosenpass=null\n",
        b"[",
        b"]:",
    ),
    *(
        b"endpoint=1.2.3.4:5\n",
        b"update_only=true\n",
        b"replace_allowed_ips=true\n",
        b"9" * 20,
        b"last_handshake",
    ),
)
_SETTINGS = (
    'rosenpass={"secret_key":"a","public_key":"b","listen_port":51821,"policy":"strict","addresses":["10.0.0.1"]}\n'
    f'rosenpass_peer={{"public_key":"{HEX}","policy":"permissive","rosenpass_public_key":"c","via":"tunnel",'
    '"control":["10.0.0.2",51821],"outside":["host",9999],"preshared_key":null}'
).encode()
_STATUS = (
    "status="
    + json.dumps(
        {
            "schema": 1,
            "interface": "wg0",
            "mtu": 1420,
            "aead": "openssl",
            "features": ["tso"],
            "drops": {"tun_no_peer": 3},
            "peers": [
                {
                    "public_key": KEY,
                    "policy": "strict",
                    "quantum": {"state": "yes", "key_age_s": 3.5, "next_s": 100, "since": None},
                    "session": {"psk_kind": "pq", "age_s": 12.0, "is_initiator": True},
                    "staged": 1,
                    "rx_gated": 2,
                }
            ],
        }
    )
    + "\nerrno=0\n\n"
).encode()
_JSON_WORDS = (
    *(
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"null",
        b"true",
        b"NaN",
        b"Infinity",
        b"1e999",
        b"-1",
        b"[" * 2000,
    ),
    *(
        b'"quantum"',
        b'"session"',
        b'"peers"',
        b'"state"',
        b'"yes"',
        b'"features"',
        b'"drops"',
        b"\\u0000",
        b"9" * 5000,
    ),
)
_TOML = f"""public_key = "a"
secret_key = "b"
listen = ["0.0.0.0:9999", "[::]:9999"]
verbosity = "Verbose"
[timers]
rekey_after_time = 120.0
[[peers]]
public_key = "~/c"
endpoint = "host:9999"
pre_shared_key = "d"
key_out = "e"
exchange_command = ["true", "x"]
device = "wg0"
peer = "{KEY}"
extra_params = ["endpoint", "1.2.3.4:5"]
osk_organization = "example.org"
osk_label = ["a", "b"]
""".encode()
_TOML_WORDS = (
    *(
        b"[[peers]]\n",
        b"[timers]\n",
        b"[peers.wireguard]\n",
        b"public_key",
        b" = ",
        b'"',
        b"'''",
        b"[" * 1500,
        b"]",
    ),
    *(
        b"~nobody-here/x",
        b"\\u0000",
        b"\\uD800",
        b"9" * 5000,
        b"nan",
        b"inf",
        b"1e400",
        b"1979-05-27",
        b"{",
        b"}",
        b"#",
    ),
    *(
        b"listen = []\n",
        b"peers = []\n",
        b"endpoint",
        b'"[::1%lo]:5"',
        b"protocol_version",
        b"{a.b=1}",
        b"x.y.z=1\n",
    ),
)
_JOURNAL = (
    b'{"schema": 1, "interface": "wg0", "config": "/etc/wg0.conf", "namespace": 1, "pre_down": ["x"],'
    b' "post_down": [], "save_config": false}\n{"do": "link"}\n'
    b'{"daemon": {"pid": 1, "start_ticks": 2}}\n{"complete": true}\n'
)
_INITIATION = bytes((1, 0, 0, 0)) + bytes(144)
_RESPONSE = bytes((2, 0, 0, 0)) + bytes(88)
_COOKIE_REPLY = bytes((3, 0, 0, 0)) + bytes(60)

TARGETS = {
    "wireguard_message": Target(wireguard_message, (_INITIATION, _RESPONSE, _COOKIE_REPLY)),
    "wireguard_tunnel": Target(
        wireguard_tunnel,
        (
            _INITIATION,
            _RESPONSE,
            _COOKIE_REPLY,
            b"\xff" + _RESPONSE,
            b"\xff\3" + bytes(59),
            b"\xff\2" + bytes(87),
        ),
    ),
    "uapi_request": Target(
        uapi_request, (_SET, b"get=1\n\n", b"wgpy=1\n" + _SETTINGS + b"\n\n"), _UAPI_WORDS
    ),
    "uapi_reply": Target(
        uapi_reply,
        (
            _SET.replace(b"set=1\n", b"")[:-1] + b"last_handshake_time_sec=5\ntx_bytes=1\nerrno=0\n\n",
            b"errno=-22\n\n",
        ),
        _UAPI_WORDS,
    ),
    "uapi_rosenpass": Target(uapi_rosenpass, (_SETTINGS, b"rosenpass=null"), _JSON_WORDS),
    "status_reply": Target(status_reply, (_STATUS, b"errno=-22\n\n", b""), _JSON_WORDS),
    "wg_config": Target(wg_config, (_WG.encode(),), _CONFIG_WORDS),
    "quick_config": Target(quick_config, (_QUICK.encode(), _WG.encode()), _CONFIG_WORDS),
    "rosenpass_toml": Target(rosenpass_toml, (_TOML, b"listen = []\npeers = []\n"), _TOML_WORDS),
    "rosenpass_words": Target(
        rosenpass_words,
        (
            b"public-key\na\nsecret-key\nb\nlisten\n0.0.0.0:1\nverbose\npeer\npublic-key\nc\nendpoint\nh:1\n"
            b"preshared-key\nd\noutfile\ne\nwireguard\nwg0\n" + KEY.encode() + b"\nx",
        ),
        (b"peer\n", b"public-key\n", b"secret-key\n", b"wireguard\n", b"~nobody-here\n", b"\0", KEY.encode()),
    ),
    "key_files": Target(
        key_files,
        (b"x" + KEY.encode() + b"\n", b"\0\1\2\3", b"\1" + bytes(40), b"\2\xff", b"x"),
        (KEY.encode(), b"="),
    ),
    "journal": Target(journal, (_JOURNAL,), (*_JSON_WORDS, b'"do"', b'"daemon"', b"\n", b"\xff")),
    "rosenpass_message": Target(rosenpass_message, tuple(stage(number)[2] for number in range(4))),
    "rosenpass_server": Target(
        rosenpass_server,
        (
            *(bytes([number]) + stage(number)[2] for number in range(4)),
            *(bytes([12 + n, 0, 0, 0, 0, 1]) for n in range(4)),
        ),
    ),
}
