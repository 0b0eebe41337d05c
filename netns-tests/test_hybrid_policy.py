"""What passes between two ends of every pair of policies, and what their status says of it.

    h1: a 10.7.0.1, fd07::1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2, fd07::2 b: h2

The matrix is the product's, section 5. An end that waits for what will not come says why within 30 s; those
cells run side by side.
"""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hybrid import End, Far, fingerprint_of, hybrid, key_pair, up_together, wait_for_yes
from lab import wait_until
from wgpeer import PORT

NOT_MET = 5
NAMED_WITHIN = 30
POST_QUANTUM = [
    ("strict", "strict"),
    ("strict", "permissive"),
    ("permissive", "strict"),
    ("permissive", "permissive"),
]
STRICT_AND_OFF = [("strict", "off"), ("off", "strict")]
PLAIN = [("permissive", "off"), ("off", "permissive")]


def both_ways(a: End, b: End) -> list[bool]:
    return [
        one.reaches(target) for one, other in ((a, b), (b, a)) for target in (other.address4, other.address6)
    ]


def seen_in_json(end: End) -> dict[str, Any]:
    peer = end.status_json()["peers"][0]
    assert peer["policy"] == end.policy
    return dict(peer["quantum"])


def until_no(end: End, start: float) -> float:
    """Seconds since `start` until the status says no."""
    wait_until(
        lambda: end.quantum() == "no", NAMED_WITHIN, lambda: f"no, not {end.quantum()}: {end.reason()}"
    )
    return time.monotonic() - start


@pytest.mark.parametrize("policies", POST_QUANTUM, ids="/".join)
def test_keys_on_both_ends_make_it_post_quantum(tmp_path: Path, policies: tuple[str, str]) -> None:
    with hybrid(tmp_path, policies) as (a, b):
        up_together(a, b)
        wait_for_yes(a, b)
        assert all(both_ways(a, b))
        for end, other in ((a, b), (b, a)):
            assert end.check() == 0
            assert seen_in_json(end)["state"] == "yes"
            assert end.peer()["session"]["psk_kind"] == "pq"
            assert end.peer()["fingerprint"] == fingerprint_of(other.pair or Path())
            assert end.state()["fingerprint"] == fingerprint_of(end.pair or Path())


def test_off_on_both_ends_is_plain_wireguard_and_said_so(tmp_path: Path) -> None:
    with hybrid(tmp_path, ("off", "off")) as (a, b):
        up_together(a, b)
        assert all(both_ways(a, b))
        for end in (a, b):
            assert end.check() == 0
            assert seen_in_json(end)["state"] == "no"
            assert "off" in end.reason()
            assert end.peer()["session"]["psk_kind"] == "none"


def plain(directory: Path, policies: tuple[str, str]) -> str:
    with hybrid(directory, policies) as (a, b):
        up_together(a, b)
        start = time.monotonic()
        wait_until(lambda: all(both_ways(a, b)), 15, "plain traffic")
        took = [until_no(end, start) for end in (a, b)]
        for end in (a, b):
            assert end.peer()["session"]["psk_kind"] == "none"
            assert end.check() == 0
            assert seen_in_json(end)["state"] == "no"
        return f"{'/'.join(policies)}: plain; no after {max(took):.0f} s: {a.reason()!r}, {b.reason()!r}"


def strict_and_off(directory: Path, policies: tuple[str, str]) -> str:
    with hybrid(directory, policies) as (a, b):
        up_together(a, b)
        start = time.monotonic()
        strict = a if policies[0] == "strict" else b
        off = b if strict is a else a
        assert not any(both_ways(a, b))
        took = until_no(strict, start)
        assert "Rosenpass" in strict.reason()
        assert strict.check() == NOT_MET
        assert seen_in_json(strict)["reason"] == strict.reason()
        assert f"quantum resistance: no ({strict.reason()}" in strict.quick.wgpy("status", "wg0").stdout
        assert "off" in off.reason()
        assert off.check() == 0
        assert not any(both_ways(a, b))
        return f"{'/'.join(policies)}: nothing passes; named after {took:.0f} s: {strict.reason()!r}"


def wrong_key(directory: Path, policies: tuple[str, str]) -> str:
    """`a` holds the public key of somebody else for `b`: the fingerprints tell."""
    with hybrid(directory, policies) as (a, b):
        a.peers[0].rosenpass = key_pair(3) / "pqpk"
        up_together(a, b)
        took = until_no(a, time.monotonic())
        assert not any(both_ways(a, b))
        assert a.check() == NOT_MET
        assert a.peer()["fingerprint"] == fingerprint_of(key_pair(3)) != b.state()["fingerprint"]
        shown = a.quick.wgpy("status", "wg0").stdout
        assert fingerprint_of(key_pair(3)) in shown
        assert "compare the fingerprints" in a.reason()
        assert a.reason() in shown
        return f"wrong key: nothing passes; named after {took:.0f} s: {a.reason()!r}"


def test_what_does_not_come_is_named_within_30_seconds(tmp_path: Path) -> None:
    cells: list[tuple[Callable[[Path, tuple[str, str]], str], tuple[str, str]]] = [
        *((strict_and_off, policies) for policies in STRICT_AND_OFF),
        *((plain, policies) for policies in PLAIN),
        (wrong_key, ("strict", "strict")),
    ]
    key_pair(1), key_pair(2), key_pair(3)
    with ThreadPoolExecutor(len(cells)) as pool:
        directories = [tmp_path / str(number) for number in range(len(cells))]
        for directory in directories:
            directory.mkdir()
        running = [
            pool.submit(cell, directory, policies)
            for (cell, policies), directory in zip(cells, directories, strict=True)
        ]
        for one in running:
            print(one.result())


@pytest.mark.parametrize(
    ("interface", "peer", "far"),
    [("off", "strict", "strict"), ("strict", "off", "off"), ("strict", "permissive", "permissive")],
)
def test_a_peers_own_policy_goes_before_the_interfaces(
    tmp_path: Path, interface: str, peer: str, far: str
) -> None:
    with hybrid(tmp_path, (interface, far)) as (a, b):
        a.peers[0].extra = f"RosenpassPolicy = {peer}"
        up_together(a, b)
        if peer != "off":
            wait_for_yes(a, b)
        assert all(both_ways(a, b))
        assert a.status_json()["peers"][0]["policy"] == peer
        assert a.peer()["session"]["psk_kind"] == ("none" if peer == "off" else "pq")
        assert a.check() == 0


def test_strict_is_the_default_and_a_peer_without_a_key_is_named(tmp_path: Path) -> None:
    with hybrid(tmp_path, (None, None)) as (a, b):
        b.pair = None
        a.peers = [b.far(f"10.99.0.2:{PORT}")]
        b.peers[0].rosenpass = None
        up_together(a, b)
        assert not any(both_ways(a, b))
        assert a.peer()["policy"] == "strict"
        assert (a.quantum(), a.reason()) == ("no", "no Rosenpass key of this peer is configured")
        assert a.check() == NOT_MET


def test_a_peer_added_by_wg_set_gets_no_user_traffic_under_strict(tmp_path: Path) -> None:
    with hybrid(tmp_path, ("strict", "off")) as (a, b):
        a.peers = []
        up_together(a, b)
        a.host.run(
            *("wg", "set", "wg0", "peer", b.keys.public, "endpoint", f"10.99.0.2:{PORT}"),
            *("allowed-ips", f"{b.address4}/32,{b.address6}/128"),
        )
        assert not any(both_ways(a, b))
        peer = a.peer()
        assert peer["session"]["psk_kind"] == "none"  # it stands, and still nothing passes
        assert peer["policy"] == "strict"
        assert peer["staged"] > 0
        assert peer["rx_gated"] > 0
        assert a.check() == NOT_MET


@pytest.mark.parametrize("version", [4, 6])
def test_the_exchange_needs_one_ip_version_inside_only(tmp_path: Path, version: int) -> None:
    with hybrid(tmp_path) as (a, b):
        for end in (a, b):
            own, peer = (
                (end.address4, end.peers[0].allowed[0])
                if version == 4
                else (
                    end.address6,
                    end.peers[0].allowed[1],
                )
            )
            end.addresses = f"{own}/24" if version == 4 else f"{own}/64"
            end.peers[0] = Far(end.peers[0].keys, (peer,), end.peers[0].endpoint, end.peers[0].rosenpass)
        up_together(a, b)
        wait_for_yes(a, b)
        assert a.reaches(b.address4 if version == 4 else b.address6)


def test_halves_of_two_pairs_are_named_and_nothing_created(tmp_path: Path) -> None:
    with hybrid(tmp_path) as (a, _):
        mixed = tmp_path / "mixed"
        mixed.mkdir()
        for name, number in (("pqpk", 3), ("pqsk", 1)):
            shutil.copy2(key_pair(number) / name, mixed / name)
        a.pair = mixed
        before = a.quick.snapshot()
        done = a.quick.wgpy("up", a.write())
        assert done.returncode in (1, 3), done.stderr
        assert f"{mixed}/pqpk and {mixed}/pqsk are no pair" in done.stderr.splitlines()[-1]
        assert a.quick.snapshot() == before


@pytest.mark.parametrize("which", ["pqpk", "pqsk", "peer"])
def test_a_key_file_of_the_wrong_size_is_refused_and_nothing_created(tmp_path: Path, which: str) -> None:
    with hybrid(tmp_path) as (a, _):
        short = tmp_path / "short"
        short.mkdir()
        for name in ("pqpk", "pqsk"):
            content = (key_pair(1) / name).read_bytes()
            (short / name).write_bytes(content[:-1] if name == which else content)
            (short / name).chmod(0o600)
        if which == "peer":
            (short / "peer").write_bytes((key_pair(2) / "pqpk").read_bytes()[:-1])
            a.peers[0].rosenpass = short / "peer"
        a.pair = short
        before = a.quick.snapshot()
        done = a.quick.wgpy("up", a.write())
        assert done.returncode == 3, done.stderr
        assert f"short/{which}" in done.stderr.splitlines()[-1]
        assert a.quick.snapshot() == before
        print(done.stderr.splitlines()[-1])
