"""Sockets, names, outputs, and whole processes over loopback."""

import asyncio
import base64
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rosenpass.actions import KeyExchanged
from rosenpass.addresses import Address
from rosenpass.constants import Instant, Role
from rosenpass.errors import ConfigError, RosenpassError
from rosenpass.identity import StaticIdentity
from rosenpass.kem import StaticKem, StaticSecretKey
from rosenpass.keyfile import SecretKeyFormat, save_key_pair, save_psk
from rosenpass.peers import PeerId
from rosenpass.standalone import endpoints
from rosenpass.standalone.config import ExchangeConfig, PeerEntry
from rosenpass.standalone.endpoints import ConfiguredEndpoint, from_sockaddr
from rosenpass.standalone.exchange import Exchange, OnKey
from rosenpass.standalone.outputs import EXCHANGED, STALE, Outputs, debug_quoted
from rosenpass.standalone.sockets import Sockets, listen_on
from rosenpass.standalone.values import HostPort, WireguardOutput

ROOT = Path(__file__).parents[2]
PEER = PeerId(b"p" * 32)


def eventually(condition: Callable[[], object], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def free_ports(count: int) -> list[int]:
    opened = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for one in opened:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in opened]
    for one in opened:
        one.close()
    return ports


# ---- outputs


def test_a_key_goes_to_its_file_and_then_a_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'o"k'
    key = bytearray(range(32))

    async def put() -> None:
        Outputs(PEER, PeerEntry(Path("x"), key_out=path)).put(key, EXCHANGED)

    asyncio.run(put())
    assert path.read_bytes() == base64.b64encode(bytes(range(32)))
    assert path.stat().st_mode & 0o777 == 0o600
    said = capsys.readouterr().out
    peer = base64.b64encode(PEER).decode()
    assert said == f'output-key peer {peer} key-file "{tmp_path}/o\\"k" exchanged\n'
    assert not any(key), "wiped"


def test_a_file_that_cannot_be_written_is_told_and_no_line_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def put() -> None:
        Outputs(PEER, PeerEntry(Path("x"), key_out=tmp_path / "no" / "dir")).put(bytearray(32), STALE)

    asyncio.run(put())
    assert capsys.readouterr().out == ""
    assert "cannot write" in caplog.text


def test_wg_and_a_command_get_the_key_on_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wg = tmp_path / "wg"
    wg.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/args; cat >> {tmp_path}/stdin\n')
    wg.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    public = base64.b64encode(b"w" * 32).decode()
    entry = PeerEntry(
        Path("x"),
        wireguard=WireguardOutput("wg7", public, ("allowed-ips", "::/0")),
        exchange_command=("sh", "-c", f"cat > {tmp_path}/command"),
    )

    async def put() -> None:
        outputs = Outputs(PEER, entry)
        outputs.put(bytearray(b"k" * 32), EXCHANGED)
        await outputs.close()

    asyncio.run(put())
    key = base64.b64encode(b"k" * 32) + b"\n"
    assert (
        tmp_path / "args"
    ).read_text() == f"set wg7 peer {public} preshared-key /dev/stdin allowed-ips ::/0\n"
    assert (tmp_path / "stdin").read_bytes() == key
    assert (tmp_path / "command").read_bytes() == key


def test_a_reader_of_standard_output_that_is_gone_costs_wireguard_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read, write = os.pipe()
    os.close(read)
    command = ("sh", "-c", f"cat > {tmp_path}/command")
    entry = PeerEntry(Path("x"), key_out=tmp_path / "osk", exchange_command=command)

    async def put() -> None:
        outputs = Outputs(PEER, entry)
        outputs.put(bytearray(b"k" * 32), EXCHANGED)
        await outputs.close()

    with open(write, "w") as broken, open(os.devnull, "w") as nowhere:
        monkeypatch.setattr(sys, "stdout", broken)
        asyncio.run(put())
        monkeypatch.undo()
        os.dup2(nowhere.fileno(), write)  # or closing it raises, too
    assert (tmp_path / "command").read_bytes() == base64.b64encode(b"k" * 32) + b"\n"
    assert "Broken pipe" in caplog.text


def test_of_keys_that_wait_for_a_slow_program_the_newest_is_kept(tmp_path: Path) -> None:
    entry = PeerEntry(Path("x"), exchange_command=("sh", "-c", f"sleep 0.2; cat >> {tmp_path}/out"))

    async def put() -> None:
        outputs = Outputs(PEER, entry)
        for number in range(5):
            outputs.put(bytearray([number]) * 32, EXCHANGED)
            await asyncio.sleep(0.01)
        await outputs.close()

    asyncio.run(put())
    seen = [base64.b64decode(line)[0] for line in (tmp_path / "out").read_text().split()]
    assert seen == [0, 4]


def test_a_program_that_fails_or_is_missing_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def put(command: tuple[str, ...]) -> None:
        outputs = Outputs(PEER, PeerEntry(Path("x"), exchange_command=command))
        outputs.put(bytearray(b"k" * 32), EXCHANGED)
        await outputs.close()

    asyncio.run(put(("sh", "-c", "echo no such device >&2; exit 3")))
    assert "failed (3): no such device" in caplog.text
    asyncio.run(put(("/does/not/exist",)))
    assert "cannot run /does/not/exist" in caplog.text
    assert base64.b64encode(b"k" * 32).decode() not in caplog.text


def test_paths_are_quoted_as_the_rust_tool_quotes_them() -> None:
    assert debug_quoted('a"b\\c\nd\x01é') == '"a\\"b\\\\c\\nd\\u{1}é"'


# ---- names and sockets


def test_names_are_looked_up_when_asked_and_addresses_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = []

    async def resolve(target: HostPort) -> list[Address]:
        questions.append(target)
        return [from_sockaddr((f"192.0.2.{n}", target.port)) for n in (1, 2)]

    monkeypatch.setattr(endpoints, "resolve", resolve)
    sent: list[tuple[bytes, str]] = []

    async def run() -> None:
        endpoint = ConfiguredEndpoint(HostPort("h", 1), lambda d, a: sent.append((d, str(a))))
        for datagram, again in ((b"1", True), (b"2", False), (b"3", False), (b"4", True)):
            endpoint.send(datagram, again)
            await asyncio.sleep(0.01)

    asyncio.run(run())
    assert [address for _, address in sent] == ["192.0.2.1:1", "192.0.2.2:1"] * 2
    assert len(questions) == 2


@pytest.mark.parametrize(
    "failure",
    [OSError(-2, "Name or service not known"), UnicodeError("label empty or too long: not known")],
)
def test_a_name_that_does_not_resolve_sends_nothing_and_is_asked_again(
    failure: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[object] = [failure, [from_sockaddr(("192.0.2.9", 5))]]

    async def resolve(_: HostPort) -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(endpoints, "resolve", resolve)
    sent: list[bytes] = []

    async def run() -> None:
        endpoint = ConfiguredEndpoint(HostPort("h", 1), lambda d, _: sent.append(d))
        endpoint.send(b"1", True)
        await asyncio.sleep(0.01)
        endpoint.send(b"2", False)
        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert sent == [b"2"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "not known" in caplog.text


def test_one_dual_stack_socket_speaks_both_families() -> None:
    seen: list[tuple[bytes, Address]] = []

    async def run() -> None:
        sockets = Sockets(listen_on(()), lambda d, a: seen.append((d, a)))
        port = sockets.addresses[0].port
        for host in ("127.0.0.1", "::1"):
            sockets.send(host.encode(), from_sockaddr((host, port)))
        sockets.send(b"nobody", from_sockaddr(("127.0.0.1", 1)))  # refused by ICMP: no matter
        sockets.send(bytes(70_000), from_sockaddr(("127.0.0.1", port)))  # EMSGSIZE: no matter
        await asyncio.sleep(0.1)
        sockets.close()

    asyncio.run(run())
    assert sorted((d.decode(), str(a.ip)) for d, a in seen) == [("127.0.0.1", "127.0.0.1"), ("::1", "::1")]


@pytest.mark.parametrize("is_strict", [False, True])
def test_what_one_socket_cannot_send_leaves_by_another_unless_they_are_of_different_networks(
    is_strict: bool,
) -> None:
    class Unreachable(socket.socket):
        def sendto(self, *_: object) -> int:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")

    seen: list[bytes] = []

    async def run() -> None:
        down = Unreachable(socket.AF_INET, socket.SOCK_DGRAM)
        (up,) = listen_on([HostPort("127.0.0.1", 0)])
        sockets = Sockets([down, up], lambda d, _: seen.append(d), is_strict=is_strict)
        there = from_sockaddr(up.getsockname())
        for place, datagram in ((0, b"down"), (1, b"up"), (2, b"nowhere")):
            sockets.send(datagram, replace(there, socket=place))
        await asyncio.sleep(0.1)
        sockets.close()

    asyncio.run(run())
    assert seen == ([b"up"] if is_strict else [b"down", b"up", b"nowhere"])


@pytest.mark.parametrize("order", [("0.0.0.0", "::"), ("::", "0.0.0.0")])
def test_both_wildcards_on_one_port_share_it_as_the_example_says(order: tuple[str, str]) -> None:
    (port,) = free_ports(1)
    opened = listen_on([HostPort(host, port) for host in order])
    assert [one.getsockname()[1] for one in opened] == [port, port]
    for one in opened:
        one.close()


def test_a_port_in_use_and_a_foreign_address_are_told_in_one_line() -> None:
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("127.0.0.1", 0))

    async def listen(at: HostPort) -> None:
        listen_on((at,))

    with pytest.raises(RosenpassError, match="in use"):
        asyncio.run(listen(HostPort("127.0.0.1", taken.getsockname()[1])))
    with pytest.raises(ConfigError, match="does not have that address"):
        asyncio.run(listen(HostPort("192.0.2.1", 9)))
    taken.close()


# ---- processes


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("keys")
    for name, layout in (("a", SecretKeyFormat.RUST), ("b", SecretKeyFormat.GO)):
        public, secret = StaticKem(188, os.urandom).keypair()
        save_key_pair(home / f"{name}.pk", home / f"{name}.sk", public, secret, layout=layout)
    save_psk(home / "psk", os.urandom(32))
    return home


TIMERS = "[timers]\nrekey_after_responder = 1.5\nrekey_after_initiator = 2\nreject_after = 6\n"


class Process:
    """`wgpy rosenpass exchange-config` on loopback."""

    def __init__(self, home: Path, keys: Path, name: str, peer: str, port: int, endpoint: int | None) -> None:
        self.home = home / name
        self.home.mkdir(exist_ok=True)
        to = f'endpoint = "localhost:{endpoint}"\n' if endpoint else ""
        (self.home / "r.toml").write_text(
            f'public_key = "{keys}/{name}.pk"\nsecret_key = "{keys}/{name}.sk"\n'
            f'listen = ["127.0.0.1:{port}"]\n{TIMERS}'
            f'[[peers]]\npublic_key = "{keys}/{peer}.pk"\npre_shared_key = "{keys}/psk"\n'
            f'key_out = "osk"\n{to}'
        )
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wgpy", "rosenpass", "exchange-config", "r.toml"],
            cwd=self.home,
            stdout=open(self.home / "stdout", "ab"),  # noqa: SIM115
            stderr=open(self.home / "stderr", "ab"),  # noqa: SIM115
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def lines(self) -> list[str]:
        return (self.home / "stdout").read_text().splitlines()

    def key(self) -> bytes:
        path = self.home / "osk"
        return path.read_bytes() if path.exists() else b""

    def end(self, how: int) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(10)


@pytest.fixture
def pair(tmp_path: Path, keys: Path) -> Iterator[tuple[Process, Process]]:
    ports = free_ports(2)
    a = Process(tmp_path, keys, "a", "b", ports[0], ports[1])
    b = Process(tmp_path, keys, "b", "a", ports[1], None)
    yield a, b
    for process in (a, b):
        process.end(signal.SIGKILL)


def test_two_processes_exchange_renew_and_survive_kill_9(pair: tuple[Process, Process]) -> None:
    a, b = pair
    assert eventually(lambda: len(a.lines()) >= 4 and len(b.lines()) >= 4, 30), (
        a.home / "stderr"
    ).read_text()
    line = re.compile(r'output-key peer [A-Za-z0-9+/]{43}= key-file "osk" exchanged')
    assert all(line.fullmatch(text) for text in a.lines() + b.lines())
    assert eventually(lambda: len(a.key()) == 44 and a.key() == b.key())
    for victim in (b, a):
        victim.end(signal.SIGKILL)
        before = a.key()
        victim.start()
        assert eventually(lambda old=before: a.key() != old and a.key() == b.key(), 15)
    assert a.end(signal.SIGTERM) == 0
    assert b.end(signal.SIGINT) == 0


def test_a_peer_that_is_gone_makes_the_key_stale_and_returns(pair: tuple[Process, Process]) -> None:
    a, b = pair
    assert eventually(lambda: a.key() and a.key() == b.key(), 20)
    b.end(signal.SIGKILL)
    assert eventually(lambda: a.lines()[-1].endswith(" stale"), 20)
    assert a.key() != b.key()
    assert len(a.key()) == 44
    b.start()
    assert eventually(lambda: a.key() == b.key(), 20)
    assert a.lines()[-1].endswith(" exchanged")


def test_the_example_of_the_documentation_runs(tmp_path: Path, keys: Path) -> None:
    text = (ROOT / "docs" / "rosenpass.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 24
    ports = free_ports(2)
    for name, target in (("a.pk", "pqpk"), ("a.sk", "pqsk"), ("b.pk", "peer.pqpk"), ("psk", "peer.psk")):
        (tmp_path / target).write_bytes((keys / name).read_bytes())
    (tmp_path / "example.py").write_text(code.replace("9999", str(ports[0])).replace("9998", str(ports[1])))
    b = Process(tmp_path, keys, "b", "a", ports[1], None)
    example = subprocess.Popen(
        [sys.executable, "-u", "example.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert example.stdout is not None
        said = example.stdout.readline().split()
        assert said[:3] == ["new", "key", "with"]
        assert eventually(lambda: b.key() == base64.b64encode(bytes.fromhex(said[4])))
    finally:
        example.kill()
        example.wait()
        b.end(signal.SIGKILL)


# ---- handing keys on


def test_a_callback_that_raises_costs_no_other_key_and_no_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def on_key(_peer: PeerId, _key: bytearray, _why: str) -> None:
        raise LookupError("the embedder's own")

    exchange, keys = exchange_with_two_peers(tmp_path, on_key)
    exchange._perform([KeyExchanged(peer, key, Role.RESPONDER, Instant(0)) for peer, key in keys.items()])
    assert caplog.text.count("callback for new keys failed") == 2
    for number, key in enumerate(keys.values()):
        assert (tmp_path / str(number)).exists()
        assert not any(key), "wiped"


def test_an_output_that_raises_costs_no_other_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output may be a pipe whose reader is gone."""

    def broken(_path: Path, _key: bytearray) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("rosenpass.standalone.outputs.write_key_out", broken)
    exchange, keys = exchange_with_two_peers(tmp_path, None)
    exchange._perform([KeyExchanged(peer, key, Role.RESPONDER, Instant(0)) for peer, key in keys.items()])
    assert caplog.text.count("could not be handed on") == 2
    assert not any(b"".join(keys.values())), "wiped"


def exchange_with_two_peers(home: Path, on_key: OnKey | None) -> tuple[Exchange, dict[PeerId, bytearray]]:
    exchange = Exchange(ExchangeConfig(), on_key)
    keys = {PeerId(bytes([number]) * 32): bytearray([1 + number]) * 32 for number in range(2)}
    for number, peer in enumerate(keys):
        exchange._outputs[peer] = Outputs(peer, PeerEntry(Path("x"), key_out=home / str(number)))
    return exchange, keys


def test_the_secret_key_does_not_outlive_the_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, secret = StaticKem(188, os.urandom).keypair()
    identity = StaticIdentity(public, StaticSecretKey(secret))
    monkeypatch.setattr("rosenpass.standalone.exchange.load_identity", lambda _: identity)

    async def run(listen: tuple[HostPort, ...]) -> None:
        exchange = Exchange(ExchangeConfig(listen=listen))
        asyncio.get_running_loop().call_later(0.1, exchange.stop)
        await exchange.run()

    asyncio.run(run(()))
    with pytest.raises(ValueError, match="wiped"):
        identity.sskm.decaps(bytes(188))

    identity = StaticIdentity(public, StaticSecretKey(secret))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(RosenpassError):
            asyncio.run(run((HostPort("127.0.0.1", taken.getsockname()[1]),)))
    with pytest.raises(ValueError, match="wiped"):
        identity.sskm.decaps(bytes(188))
