"""The Rosenpass exchange with the Rust tool and with go-rosenpass, both roles, over two namespaces.

    wgpy rosenpass ── 10.99.0.1 ──── veth ──── 10.99.0.2 ── rosenpass 0.2.2 | go-rosenpass
                      (or a relay on 10.99.0.1 that loses what a test wants lost)

Our timers are shortened, theirs are theirs: whoever starts, we renew every two seconds.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import PROJECT, Namespace, Process, two_hosts, wait_until
from relay import ARRIVES, LOST, Delays, Passing, Relay
from rosenpass_programs import GO, RUST, Foreign

pytestmark = pytest.mark.interop

WGPY = (sys.executable, "-m", "wgpy", "rosenpass")
PORT = 9999
EMPTY_DATA = 0x84
TIMERS = """
[timers]
rekey_after_initiator = 2
rekey_after_responder = 2
"""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our keys made by us, theirs by them; a preshared key."""
    home = tmp_path_factory.mktemp("rosenpass")
    with Namespace("keys") as host:
        env = {"PYTHONPATH": str(PROJECT)}
        host.run(*WGPY, "gen-keys", "-p", home / "we.pk", "-s", home / "we.sk", env=env)
        host.run(*WGPY, "gen-psk", home / "psk", env=env)
        for kind in (RUST, GO):
            if kind.path.exists():
                kind.gen_keys(host, home / f"{kind.name}.pk", home / f"{kind.name}.sk")
    return home


@dataclass
class End:
    """A running exchange: what it said and the key it holds."""

    process: Process
    home: Path

    def exchanged(self) -> int:
        return len(
            re.findall(r'^output-key peer \S{44} key-file "\S+" exchanged$', self.process.output(), re.M)
        )

    def key(self) -> bytes:
        path = self.home / "osk"
        return path.read_bytes().strip() if path.exists() else b""


def start(
    host: Namespace,
    home: Path,
    pairs: Path,
    own: str,
    peer: str,
    endpoint: str | None,
    psk: bool,
    program: tuple,
) -> End:
    home.mkdir()
    lines = [
        f'public_key = "{pairs}/{own}.pk"',
        f'secret_key = "{pairs}/{own}.sk"',
        f'listen = ["0.0.0.0:{PORT}"]',
        'verbosity = "Verbose"',
        TIMERS if own == "we" else "",
        "[[peers]]",
        f'public_key = "{pairs}/{peer}.pk"',
        f'key_out = "{home}/osk"',
    ]
    lines += [f'endpoint = "{endpoint}"'] * (endpoint is not None)
    lines += [f'pre_shared_key = "{pairs}/psk"'] * psk
    (home / "r.toml").write_text("\n".join(lines) + "\n")
    process = host.spawn(*program, "exchange-config", home / "r.toml", env={"PYTHONPATH": str(PROJECT)})
    return End(process, home)


@pytest.fixture
def hosts() -> Iterator[tuple[Namespace, Namespace]]:
    with two_hosts() as pair:
        yield pair


@pytest.fixture(params=[RUST, GO], ids=lambda kind: kind.name)
def foreign(request: pytest.FixtureRequest) -> Foreign:
    kind: Foreign = request.param
    if not kind.path.exists():
        pytest.skip(f"needs {kind.program}: make interop builds it")
    return kind


def agree(we: End, they: End, keys: int, within: float) -> bytes:
    """Both have output that many keys and hold the same one now."""

    def same() -> bytes:
        ours = we.key()
        enough = we.exchanged() >= keys and (they.exchanged() >= keys or not count_of(they))
        return ours if enough and ours == they.key() and len(ours) == 44 else b""

    return wait_until(
        same,
        within,
        lambda: (
            f"{keys} common keys\nwe: {we.process.output()[-3000:]}\nthey: {they.process.output()[-3000:]}"
        ),
    )


def count_of(end: End) -> bool:
    """Whether this program says how many keys it has output."""
    return "go-rosenpass" not in end.process.argv[0]


@pytest.mark.parametrize("psk", [True, False], ids=["psk", "no-psk"])
@pytest.mark.parametrize("first", ["we", "they"])
@pytest.mark.parametrize("lossy", [False, True], ids=["whole", "first-EmptyData-lost"])
def test_keys_agree_over_three_renewals(
    hosts: tuple[Namespace, Namespace],
    foreign: Foreign,
    pairs: Path,
    tmp_path: Path,
    psk: bool,
    first: str,
    lossy: bool,
) -> None:
    h1, h2 = hosts
    lost: list[int] = []

    def script(passing: Passing) -> Delays:
        if lossy and passing.kind == EMPTY_DATA and not lost:
            lost.append(passing.index)
            return LOST
        return ARRIVES

    near = h1 if first == "we" else h2
    near_ip, far_ip = ("10.99.0.1", "10.99.0.2") if first == "we" else ("10.99.0.2", "10.99.0.1")
    with Relay(near, (near_ip, 9000), (far_ip, PORT), script) as relay:
        endpoint = f"{near_ip}:9000"
        ours, theirs = (endpoint, None) if first == "we" else (None, endpoint)
        they = start(h2, tmp_path / "they", pairs, foreign.name, "we", theirs, psk, (foreign.path,))
        we = start(h1, tmp_path / "we", pairs, "we", foreign.name, ours, psk, WGPY)
        one = agree(we, they, 1, within=20)
        four = agree(we, they, 4, within=40)
        assert one != four
        assert bool(lost) is lossy
        if first == "we":
            hello = relay.passed[0]
            assert (hello.kind, len(hello.datagram)) == (0x81, 1092)
    assert they.process.running
    assert we.process.running


def test_both_ends_starting_at_once_come_to_one_key(
    hosts: tuple[Namespace, Namespace], foreign: Foreign, pairs: Path, tmp_path: Path
) -> None:
    """Two of the others left alone end with two keys more often than not."""
    h1, h2 = hosts
    they = start(h2, tmp_path / "they", pairs, foreign.name, "we", f"10.99.0.1:{PORT}", True, (foreign.path,))
    we = start(h1, tmp_path / "we", pairs, "we", foreign.name, f"10.99.0.2:{PORT}", True, WGPY)
    agree(we, they, 1, within=20)
    agree(we, they, 3, within=40)


def test_a_peer_with_another_preshared_key_gets_no_key(
    hosts: tuple[Namespace, Namespace], foreign: Foreign, pairs: Path, tmp_path: Path
) -> None:
    h1, h2 = hosts
    they = start(h2, tmp_path / "they", pairs, foreign.name, "we", None, False, (foreign.path,))
    we = start(h1, tmp_path / "we", pairs, "we", foreign.name, f"10.99.0.2:{PORT}", True, WGPY)
    with pytest.raises(AssertionError):
        wait_until(lambda: we.exchanged() or they.exchanged(), 4, "no key, as it should be")
    assert we.process.running
