"""wgpy.cli.status: the page, JSON, health check and metrics."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.uapi_world import World, extra_state, full_state

from wgpy.cli.metrics import exposition
from wgpy.cli.status import InterfaceStatus, PeerStatus, _check, page, quantum_text, read_all, to_json
from wgpy.errors import PolicyNotMet
from wgpy.wg_format import Interface, key_text

WGPY = (sys.executable, "-m", "wgpy")
INTERRUPT = """
import signal, subprocess, sys
watch = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
for line in watch.stdout:
    if "quantum resistance" in line:
        watch.send_signal(signal.SIGINT)
        sys.exit(watch.wait())
sys.exit("it ended by itself")
"""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def status_of(letters: str, ours: bool = True) -> InterfaceStatus:
    state = full_state()
    state = replace(state, peers=tuple(p for p in state.peers if p.public_key[:1].decode() in letters))
    extra = extra_state("wg0", state) if ours else None
    listed = extra["peers"] if extra is not None else []
    assert isinstance(listed, list)
    extras = {peer["public_key"]: peer for peer in listed}
    peers = tuple(PeerStatus(peer, extras.get(key_text(peer.public_key), {})) for peer in state.peers)
    return InterfaceStatus(Interface("wg0", state, None), extra, peers)


def text_of(*found: InterfaceStatus) -> str:
    from rich.console import Console

    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        console.print(page(list(found), int(time.time())))
    return captured.get()


@pytest.mark.parametrize(
    ("quantum", "text"),
    [
        ({"state": "yes", "key_age_s": 34.7, "next_s": 86.2}, "yes (key 34 s old, next in 1 min 26 s)"),
        ({"state": "yes", "key_age_s": 132, "next_s": 0}, "yes (key 2 min 12 s old, next is due)"),
        ({"state": "pending", "reason": "handshake 2 s ago"}, "pending (handshake 2 s ago)"),
        ({"state": "no", "reason": "policy is off"}, "no (policy is off)"),
        (
            {"state": "no", "reason": "renewals fail", "since": 3725},
            "no (renewals fail, for 1 h 2 min)",
        ),
        ({"state": "no"}, "no"),
        ({}, "no"),
    ],
)
def test_quantum_resistance_is_told_in_one_line(quantum: dict[str, object], text: str) -> None:
    assert quantum_text(quantum) == text


def test_the_page_tells_policy_resistance_and_the_gate() -> None:
    text = text_of(status_of("be"))
    assert "  policy: strict\n" in text
    assert "  quantum resistance: yes (key 34 s old, next in 1 min 26 s)\n" in text
    assert "  quantum resistance: no (the peer has no Rosenpass key" in text
    assert "  session: 3 s old, with a Rosenpass key, started here\n" in text
    assert "  gate: 2 waiting to be sent, 5 held back\n" in text
    assert "  dropped: 3 malformed\n" in text


def test_the_page_hides_every_secret() -> None:
    state = full_state()
    assert state.private_key is not None
    text = text_of(status_of("abcde"))
    assert key_text(state.private_key) not in text
    assert key_text(state.peers[1].preshared_key) not in text


def test_another_implementation_is_shown_as_such() -> None:
    text = text_of(status_of("b", ours=False))
    assert "served by: another implementation" in text
    assert to_json(status_of("b", ours=False))["peers"][0]["quantum"]["state"] == "no"


@pytest.mark.parametrize(
    ("letters", "met"), [("b", True), ("abcd", True), ("e", False), ("be", False), ("", True)]
)
def test_the_check_is_about_strict_peers_with_traffic(letters: str, met: bool) -> None:
    if met:
        _check([status_of(letters)])
        return
    with pytest.raises(PolicyNotMet, match=r"wg0: peer .* the peer has no Rosenpass key"):
        _check([status_of(letters)])


def test_metrics_count_what_the_status_counts() -> None:
    text = exposition([status_of("be")])
    key = key_text(b"e" * 32)
    assert f'wgpy_quantum_resistant{{interface="wg0",policy="strict",public_key="{key}"}} 0.0' in text
    assert f'wgpy_gate_held_packets_total{{interface="wg0",public_key="{key}"}} 5.0' in text
    assert 'wgpy_dropped_packets_total{interface="wg0",reason="malformed"} 3.0' in text
    assert exposition([status_of("be", ours=False)])


def test_json_is_versioned_and_has_every_interface(world: World) -> None:
    found = json.loads(world.run(*WGPY, "status", "--json").stdout)
    assert found["schema"] == 1
    assert len(found["interfaces"]) == 5
    one = json.loads(world.run(*WGPY, "status", "wgfull", "--json").stdout)["interfaces"]
    assert [interface["interface"] for interface in one] == ["wgfull"]


@pytest.mark.parametrize(
    ("words", "code"), [(["--check"], 5), (["wgblank", "--check"], 0), (["wgnone", "--check"], 1)]
)
def test_the_check_is_an_exit_code(world: World, words: list[str], code: int) -> None:
    assert world.run(*WGPY, "status", *words).returncode == code


def test_watching_redraws_until_interrupted(world: World) -> None:
    done = world.run(sys.executable, "-c", INTERRUPT, *WGPY, "status", "wgfull", "--watch")
    assert (done.returncode, done.stderr) == (0, "")


def test_no_interface_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from wgpy import uapi_client
    from wgpy.errors import WgpyError

    monkeypatch.setattr(uapi_client, "interfaces", lambda: [])
    with pytest.raises(WgpyError, match="no interface is running"):
        read_all(None)
