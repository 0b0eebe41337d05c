"""Whatever is lost, killed or cut: user traffic is back within 15 s, and nothing leaked meanwhile.

    h1: a 10.7.0.1, fd07::1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2, fd07::2 b: h2
                 (or a relay on 10.99.0.1 that loses what a test wants lost; then only a knows where b is)

Every time printed is from the network being whole, or the end being up again, until numbered packets pass
both ways in both IP versions. Random stories by the thousand are in `make simulation`.
"""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from pathlib import Path

import pytest
from hybrid import FAST_ROTATION, End, hybrid, key_pair, up_together, wait_for_rotations, wait_for_yes
from hybrid_story import (
    HEAL_S,
    Streams,
    cut,
    flows,
    link_down,
    link_up,
    mend,
    nothing_leaks,
    traffic,
)
from lab import wait_until
from relay import ARRIVES, LOST, Delays, Passing, Relay
from wall_clock import WallClock
from wgpeer import PORT

RELAY_PORT = 5000
YEAR = 365 * 86_400
TEN_MINUTES = 600

# Inside WireGuard a message is known by its length: IPv4 and UDP headers, padding to 16, 32 of WireGuard.
INIT_HELLO, RESP_HELLO, INIT_CONF, EMPTY_DATA = "InitHello", "RespHello", "InitConf", "EmptyData"
ROSENPASS = {1092: INIT_HELLO, 1132: RESP_HELLO, 176: INIT_CONF, 64: EMPTY_DATA}
BY_LENGTH = {(28 + length + 15) // 16 * 16 + 32: name for length, name in ROSENPASS.items()}
INITIATION, RESPONSE, CONFIRMATION = "initiation", "response", "confirmation"
SEVEN = (INITIATION, RESPONSE, CONFIRMATION, INIT_HELLO, RESP_HELLO, INIT_CONF, EMPTY_DATA)


@dataclass
class Losing:
    """A relay script: loses the first messages of these names, once each time the name is listed."""

    names: list[str]
    lost: list[str] = field(default_factory=list)
    unconfirmed: set[bytes] = field(default_factory=set)

    def __call__(self, passing: Passing) -> Delays:
        names = self.names_of(passing)
        for name in names:
            if name in self.names:
                self.names.remove(name)
                self.lost.append(name)
                return LOST
        if CONFIRMATION in names:
            self.unconfirmed.discard(passing.datagram[4:8])
        return ARRIVES

    def names_of(self, passing: Passing) -> list[str]:
        """A transport packet to an index that only a response has named so far confirms the session."""
        message = passing.datagram
        match passing.kind:
            case 1:
                return [INITIATION]
            case 2:
                self.unconfirmed.add(message[4:8])
                return [RESPONSE]
            case 4:
                confirms = [CONFIRMATION] * (message[4:8] in self.unconfirmed)
                return confirms + [BY_LENGTH[length] for length in (len(message),) if length in BY_LENGTH]
            case _:
                return []


@contextmanager
def through_relay(
    directory: Path, script: Callable[[Passing], Delays], fast: bool = False
) -> Iterator[tuple[End, End]]:
    """Two ends of which only `a` knows where the other is: at the relay."""
    endpoints = (None, f"10.99.0.1:{RELAY_PORT}")
    environment = FAST_ROTATION if fast else {}
    with (
        hybrid(directory, endpoints=endpoints, environment=environment) as (a, b),
        Relay(a.host, ("10.99.0.1", RELAY_PORT), ("10.99.0.2", PORT), script),
        nothing_leaks(a, b),
    ):
        yield a, b


@contextmanager
def standing(
    directory: Path, environment: dict[str, str] | None = None
) -> Iterator[tuple[End, End, Streams]]:
    """Two ends with traffic in a post-quantum session; the wire is opened afterwards."""
    environment = FAST_ROTATION if environment is None else environment
    with hybrid(directory, environment=environment) as (a, b), nothing_leaks(a, b), traffic(a, b) as streams:
        up_together(a, b)
        wait_for_yes(a, b)
        flows(streams)
        yield a, b, streams


def start_with_loss(directory: Path, names: list[str]) -> str:
    script = Losing(list(names))
    with through_relay(directory, script) as (a, b), traffic(a, b) as streams:
        up_together(a, b)
        wait_until(lambda: not script.names, HEAL_S, lambda: f"{script.names} to pass")
        return f"{' and '.join(script.lost)} lost at the start: {flows(streams):.2f} s"


@pytest.mark.parametrize("name", SEVEN)
def test_the_loss_of_any_one_message(tmp_path: Path, name: str) -> None:
    print(f"\n{start_with_loss(tmp_path, [name])}")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_loss_of_any_two_messages(tmp_path: Path) -> None:
    for number, names in enumerate(combinations_with_replacement(SEVEN, 2)):
        (tmp_path / str(number)).mkdir()
        print(start_with_loss(tmp_path / str(number), list(names)))


def test_loss_during_rotations_is_not_even_noticed(tmp_path: Path) -> None:
    """Make before break: whichever message of a renewal is lost, the old session carries on."""
    script = Losing([])
    with through_relay(tmp_path, script, fast=True) as (a, b), traffic(a, b) as streams:
        up_together(a, b)
        wait_for_yes(a, b)
        flows(streams)
        missing = [len(stream.lost) for stream in streams]
        for name in SEVEN:
            script.names.append(name)
            wait_until(lambda: not script.names, 20, f"{name} to pass")
            wait_for_rotations(a, 1, within=20)
        assert flows(streams) < 1
        settled = [set(stream.lost[: missing[n]]) for n, stream in enumerate(streams)]
    lost = sum(len(set(stream.lost) - settled[n]) for n, stream in enumerate(streams))
    confirmations = script.lost.count(CONFIRMATION)  # may be a user packet itself, and its echo
    print(f"\nlost {', '.join(script.lost)} in rotations: {lost} user packets missing")
    assert lost <= confirmations


def test_killed_and_restarted_at_any_moment(tmp_path: Path) -> None:
    with standing(tmp_path) as (a, b, streams):
        for end, rest in ((b, 0.0), (a, 0.3), (b, 1.1), (a, 2.5)):
            time.sleep(rest)  # into the renewal, at another place each time
            end.kill()
            end.up()
            print(f"\n{'a' if end is a else 'b'} killed {rest} s later, up again: {flows(streams):.2f} s")
        end, other = a, b
        other.kill()
        end.kill()
        up_together(a, b)
        print(f"both killed, up again: {flows(streams):.2f} s")


def test_the_network_gone_until_every_key_is_gone(tmp_path: Path) -> None:
    """Ten minutes in a twentieth: sessions are refused after 9 s, keys wiped after 27 and 30."""
    short = {
        **FAST_ROTATION,
        "WGPY_TIMINGS": "rekey_after_time=6,reject_after_time=9,rekey_attempt_time=9,rekey_timeout=1,"
        "keepalive_timeout=2,pq_key_max_age=30",
    }
    with standing(tmp_path, short) as (a, b, streams):
        cut(b)
        wait_until(lambda: a.quantum() != "yes" and b.quantum() != "yes", 60, "the sessions to end")
        time.sleep(30)  # the fault itself
        mend(b)
        print(f"\nnetwork gone until all keys were wiped: {flows(streams):.2f} s")
        wait_for_yes(a, b)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["datagrams dropped", "link down"])
def test_the_network_gone_for_ten_minutes(tmp_path: Path, how: str) -> None:
    """With every timer as in earnest: sessions end after 3 minutes, all session keys are wiped after 9."""
    with hybrid(tmp_path) as (a, b), nothing_leaks(a, b), traffic(a, b, per_second=10) as streams:
        up_together(a, b)
        wait_for_yes(a, b)
        flows(streams)
        (cut if how == "datagrams dropped" else link_down)(b)
        time.sleep(TEN_MINUTES)  # the fault itself
        assert "yes" not in (a.quantum(), b.quantum())
        (mend if how == "datagrams dropped" else link_up)(b)
        print(f"\nnetwork gone for ten minutes, {how}: {flows(streams):.2f} s")
        wait_for_yes(a, b)


def test_the_wall_clock_stepped_by_a_year(tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    with standing(tmp_path, {**FAST_ROTATION, **clock.environment}) as (a, _, streams):
        for step in (YEAR, 0, -YEAR):
            clock.set(step)
            took = flows(streams)
            wait_for_rotations(a, 2, within=20)
            print(f"\nboth wall clocks at {step / YEAR:+.0f} years: {took:.2f} s, rotations go on")


def test_both_initiating_at_once(tmp_path: Path) -> None:
    """Both are stopped until every renewal is overdue, and go on at the same moment."""
    with standing(tmp_path) as (a, b, streams):
        for _ in range(3):
            for end in (a, b):
                end.signal("STOP")
            time.sleep(7)  # the fault itself
            for end in (a, b):
                end.signal("CONT")
            print(f"\nboth overdue at once: {flows(streams):.2f} s")
            wait_for_rotations(a, 1, within=HEAL_S)


def test_duplicated_and_reordered_datagrams(tmp_path: Path) -> None:
    draw = random.Random(4)

    def script(_: Passing) -> Delays:
        return [draw.choice((0.0, 0.02, 0.08)) for _ in range(draw.choice((1, 1, 2)))]

    with through_relay(tmp_path, script, fast=True) as (a, b), traffic(a, b, per_second=50) as streams:
        up_together(a, b)
        print(f"\ncopies and another order: {flows(streams):.2f} s")
        wait_for_rotations(a, 3, within=40)
        b.kill()
        b.up()
        print(f"and b restarted: {flows(streams):.2f} s")
    assert sum(stream.duplicates for stream in streams) == 0


def test_key_files_replaced_on_one_side_and_then_the_other(tmp_path: Path) -> None:
    with standing(tmp_path) as (a, b, streams):
        a.pair = key_pair(4)
        refused = a.quick.wgpy("reload", a.write())
        assert refused.returncode == 1
        assert "put it there, or down and up" in refused.stderr
        a.pair = Path(shutil.copytree(key_pair(4), a.directory / "new"))
        a.write()
        a.signal("HUP")
        wait_until(lambda: a.state()["fingerprint"] != b.peer()["fingerprint"], 10, "a to take its new keys")
        print(f"\na has new keys, b does not know: {flows(streams):.2f} s")
        time.sleep(5)  # a renewal fails meanwhile
        b.peers[0].rosenpass = Path(shutil.copy(key_pair(4) / "pqpk", b.directory / "a.pqpk"))
        b.write()
        b.signal("HUP")
        wait_until(lambda: a.state()["fingerprint"] == b.peer()["fingerprint"], 10, "b to take a's new key")
        took = flows(streams)
        renewed = wait_for_rotations(a, 1, within=HEAL_S)
        print(f"b knows: {took:.2f} s, renewed after {renewed:.2f} s")
        wait_for_yes(a, b)
