"""When the next key comes, and what happens where none does: what the status says, against what is.

h1: a 10.7.0.1, fd07::1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2, fd07::2 b: h2
"""

import time
from pathlib import Path
from typing import Any

from hybrid import End, hybrid, up_together, wait_for_rotations, wait_for_yes
from lab import wait_until

NOT_MET = 5
PROMISED = {"WGPY_ROSENPASS_TIMERS": "rekey_after_responder=10,rekey_after_initiator=11,overdue=3"}
# The status counts whole seconds, the timers tick four times in one, and a renewal is a round trip or two.
EXACT_S = 2.0

MAX_AGE_S = 12
SHORT_LIVED = {
    "WGPY_ROSENPASS_TIMERS": "rekey_after_responder=4,rekey_after_initiator=4.5,overdue=2,reject_after=8",
    "WGPY_TIMINGS": f"pq_key_max_age={MAX_AGE_S}",
}
# The exchange alone, inside the tunnel: WireGuard goes on.
NO_EXCHANGE = """
table inet noexchange {
    chain incoming { type filter hook input priority 0; iifname "wg0" udp dport 51821 drop; }
}
"""


def quantum_of(end: End) -> dict[str, Any]:
    """As `wgpy status --json` says it."""
    return dict(end.status_json()["peers"][0]["quantum"])


def next_key(end: End) -> float:
    """The moment at which the peer's next key is there, of the monotonic clock."""
    before = end.peer()["quantum"]["key_age_s"]
    wait_until(lambda: end.peer()["quantum"]["key_age_s"] < before, 20, "a younger key")
    return time.monotonic()


def test_next_in_is_when_the_next_key_comes(tmp_path: Path) -> None:
    with hybrid(tmp_path, environment=PROMISED) as (a, b):
        up_together(a, b)
        wait_for_yes(a, b)
        renews = max((a, b), key=lambda end: (end.pair / "pqpk").read_bytes() if end.pair else b"")
        waits = b if renews is a else a
        for _ in range(3):
            time.sleep(1.5)  # past what a start does twice
            first = quantum_of(renews)["next_s"]
            time.sleep(2)
            promised, latest = quantum_of(renews)["next_s"], quantum_of(waits)["next_s"]
            now = time.monotonic()
            assert 1 <= first - promised <= 3
            came = next_key(renews) - now
            print(
                f"\npromised in {promised} s, on the other end in {latest} s at most; came after {came:.1f} s"
            )
            assert abs(came - promised) <= EXACT_S
            assert came <= latest + EXACT_S


def test_a_key_without_a_successor_closes_the_gate_and_the_status_says_since_when_and_why(
    tmp_path: Path,
) -> None:
    with hybrid(tmp_path, environment=SHORT_LIVED) as (a, b):
        up_together(a, b)
        wait_for_yes(a, b)
        wait_for_rotations(a, 1, within=10)
        assert a.reaches(b.address4)
        for end in (a, b):
            end.host.nft(NO_EXCHANGE)
        wait_until(lambda: a.quantum() != "yes" and b.quantum() != "yes", MAX_AGE_S + 8, "the gates to close")
        closed = time.monotonic()
        assert not a.reaches(b.address4)
        assert not b.reaches(a.address6)
        assert a.check() == NOT_MET
        wait_until(lambda: a.quantum() == "no", 25, lambda: f"a reason, not {a.reason()}")
        seen, since = quantum_of(a), time.monotonic() - closed
        print(f"\n{since:.0f} s after the gate closed: {seen}")
        assert seen["reason"] == "the peer does not answer the Rosenpass exchange"
        assert abs(seen["since"] - since) <= EXACT_S
        page = a.quick.wgpy("status", "wg0").stdout
        assert f"quantum resistance: no ({seen['reason']}, for " in page
        assert "refused on arrival" in page or "waiting to be sent" in page
        for end in (a, b):
            end.host.nft("delete table inet noexchange")
        wait_for_yes(a, b, within=20)
        assert a.reaches(b.address4)
        assert a.check() == 0
