"""What was on the wire, opened with the session keys of both ends: no user byte under a key that is not pq.

    h1: a 10.7.0.1, fd07::1 ═ 10.99.0.1 ── tcpdump ── 10.99.0.2 ═ 10.7.0.2, fd07::2 b: h2

The story: packets wait before there is a tunnel; the ends come up one after the other; five rotations; b is
killed and restarted; the network goes for so long that b's keys outlive their age and a's do not, so that the
two have drifted apart. The keys come from the test-only key log.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from capture import Capture
from hybrid import End, hybrid, wait_for_rotations, wait_for_yes
from hybrid_story import cut, flows, mend, traffic
from lab import wait_until
from opened import CONTROL, USER, open_all, read_key_logs, tally
from wgpeer import PORT

# Segments would be captured in one piece, which no longer is a datagram.
ROTATING = {
    "WGPY_ROSENPASS_TIMERS": "rekey_after_responder=2,rekey_after_initiator=2.5,overdue=2",
    "WGPY_DISABLE": "udp_gso",
}
FORGETFUL_AGE = 6
FORGETFUL = {"WGPY_TIMINGS": f"pq_key_max_age={FORGETFUL_AGE}"}


def outlived(end: End) -> bool:
    """Whether its newest key is past the age limit: under strict the status says no more then."""
    age = end.peer()["quantum"]["key_age_s"]
    return age is None or age >= FORGETFUL_AGE + 1


def story(a: End, b: End) -> Iterator[str]:
    with traffic(a, b) as streams:
        a.up()
        b.up()
        yield f"start-up: flows after {flows(streams):.2f} s"
        yield f"five rotations in {wait_for_rotations(a, 5, within=40):.1f} s"
        b.kill()
        b.up()
        yield f"restart of b: flows {flows(streams):.2f} s after `up`"
        wait_for_yes(a, b)
        cut(b)
        wait_until(lambda: outlived(b), 20, "b to forget its keys")
        assert a.quantum() == "yes"
        mend(b)
        yield f"desync: flows {flows(streams):.2f} s after the network came back"
        wait_for_yes(a, b)


@pytest.mark.parametrize("policy", ["strict", "permissive"])
def test_no_user_byte_is_on_the_wire_under_a_weaker_key(tmp_path: Path, policy: str) -> None:
    with hybrid(tmp_path, (policy, policy), environment=ROTATING, log_keys=True) as (a, b):
        b.quick.environment = {**b.quick.environment, **FORGETFUL}
        with Capture(a.host, "eth0", f"udp port {PORT}", snapshot=2048) as wire:
            for line in story(a, b):
                print(f"{policy}: {line}")
        assert wire.missed() == 0
        opened, sealed = open_all(wire.packets(), read_key_logs([a.key_log, b.key_log]))
        counts = tally(opened)
        for (to, kind, what), count in sorted(counts.items()):
            print(f"{policy}: to {'ab'[to]} under {kind}: {count} {what}")
        assert sealed == 0
        assert {to for to, _, what in counts if what == USER} == {0, 1}
        weaker = sum(count for (_, kind, what), count in counts.items() if what == USER and kind != "pq")
        if policy == "strict":
            assert weaker == 0
            assert any(kind == "interim" and what == CONTROL for _, kind, what in counts)
        else:
            assert weaker > 0  # so this test can fail


def test_a_key_log_without_the_second_word_is_refused(tmp_path: Path) -> None:
    with hybrid(tmp_path) as (a, _):
        done = a.quick.wgpy("up", a.write(), WGPY_KEY_LOG=str(tmp_path / "keys"))
        assert done.returncode != 0
        assert "WGPY_KEY_LOG_DESTROYS_SECRECY" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "keys").exists()
        assert not a.host.ok("ip", "link", "show", "wg0")
