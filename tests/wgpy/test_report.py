"""What the device tells of a peer, where it takes more than one fact."""

from typing import Any

import pytest

from wgpy.constants import Timings
from wgpy.model import (
    NO_PRESHARED_KEY,
    SECOND,
    Instant,
    PeerNumber,
    Policy,
    PskKind,
    PublicKey,
)
from wgpy.peer import Peer
from wgpy.report import COUNTERS, peer_report
from wgpy.timers import Activity

T = Timings()
AGREED = Instant(1_000 * SECOND)


def quantum(policy: Policy, seconds: float, activity: Activity) -> dict[str, Any]:
    """Of a peer whose key was agreed at 0 and whose last session with it came after 590 s."""
    peer = Peer(PeerNumber(0), PublicKey(b"p" * 32), NO_PRESHARED_KEY, T)
    peer.has_rosenpass = peer.has_endpoint = True
    peer.last_pq_session, peer.last_pq_birthdate = Instant(AGREED + 590 * SECOND), AGREED
    now = Instant(AGREED + round(seconds * SECOND))
    counts = [0] * len(COUNTERS)
    report = peer_report(peer, ("", ()), activity, counts, policy, Instant(0), None, now, T)
    assert isinstance(report["quantum"], dict)
    return report["quantum"]


STANDING = Activity(
    current_birthdate=AGREED + 590 * SECOND,
    is_sendable=True,
    current_psk_kind=PskKind.PQ,
    user_birthdate=AGREED + 590 * SECOND,
    user_psk_kind=PskKind.PQ,
    user_psk_birthdate=AGREED,
)


def test_a_gate_closed_by_age_says_since_that_moment() -> None:
    assert quantum(Policy.STRICT, 599, STANDING)["state"] == "yes"
    assert quantum(Policy.STRICT, 605, STANDING) == {
        "state": "pending",
        "reason": "the Rosenpass exchange is under way",
        "key_age_s": None,
        "next_s": None,
        "since": 5,
    }
    late = quantum(Policy.STRICT, 630, STANDING)
    assert (late["state"], late["since"]) == ("no", 30)
    assert late["reason"] == "the peer does not answer the Rosenpass exchange"


@pytest.mark.parametrize("policy", [Policy.STRICT, Policy.PERMISSIVE])
def test_a_session_that_ended_counts_from_its_end_where_nothing_ended_before(policy: Policy) -> None:
    since = 600 if policy is Policy.STRICT else 590 + 180
    assert quantum(policy, 800, Activity())["since"] == 800 - since
