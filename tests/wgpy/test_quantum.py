from dataclasses import replace

import pytest

from wgpy.constants import Timings
from wgpy.model import SECOND, Instant, Policy, PskKind
from wgpy.quantum import Resistance, Standing, quantum_state
from wgpy.timers import Activity

T = Timings()
NOW = Instant(10_000 * SECOND)
STANDING = Standing(
    Policy.STRICT,
    has_rosenpass=True,
    has_endpoint=True,
    has_output=False,
    started=NOW,
    renewal=Instant(NOW + 86 * SECOND),
)
LONG = Instant(NOW - 30 * SECOND)
INTERIM = Activity(current_birthdate=NOW, is_sendable=True, current_psk_kind=PskKind.INTERIM)
PQ = Activity(
    current_birthdate=NOW,
    is_sendable=True,
    user_birthdate=NOW - 30 * SECOND,
    user_psk_kind=PskKind.PQ,
    user_psk_birthdate=NOW - 34 * SECOND,
)


def test_yes_is_said_of_the_session_that_carries_user_packets() -> None:
    state = quantum_state(STANDING, PQ, NOW, T)
    assert (state.state, state.key_age_s, state.next_s, state.since) == (Resistance.YES, 34, 86, None)


def test_a_renewal_that_is_late_is_due_now() -> None:
    assert quantum_state(replace(STANDING, renewal=Instant(NOW - SECOND)), PQ, NOW, T).next_s == 0
    assert quantum_state(replace(STANDING, renewal=None), PQ, NOW, T).next_s is None


def test_a_key_that_the_gate_refuses_for_its_age_is_not_yes() -> None:
    old = PQ._replace(user_psk_birthdate=NOW - T.pq_key_max_age)
    assert quantum_state(STANDING, old, NOW, T).state is not Resistance.YES
    assert quantum_state(replace(STANDING, policy=Policy.PERMISSIVE), old, NOW, T).state is Resistance.YES


def test_a_post_quantum_session_past_its_life_is_not_yes() -> None:
    assert quantum_state(STANDING, PQ, Instant(NOW + 150 * SECOND), T).state is not Resistance.YES


@pytest.mark.parametrize(
    ("standing", "activity", "state", "words"),
    [
        (replace(STANDING, policy=Policy.OFF), INTERIM, Resistance.NO, "off"),
        (replace(STANDING, has_rosenpass=False), INTERIM, Resistance.NO, "no Rosenpass key"),
        (STANDING, Activity(), Resistance.PENDING, "handshake"),
        (replace(STANDING, started=LONG), Activity(), Resistance.NO, "does not answer handshakes"),
        (replace(STANDING, started=LONG, has_endpoint=False), Activity(), Resistance.NO, "no endpoint"),
        (replace(STANDING, started=LONG, handshakes_fail=True), Activity(), Resistance.NO, "Rosenpass off"),
        (STANDING, INTERIM, Resistance.PENDING, "under way"),
        (replace(STANDING, has_output=True, started=LONG), INTERIM, Resistance.PENDING, "next handshake"),
        (replace(STANDING, started=LONG), INTERIM, Resistance.NO, "exchange; compare the fingerprints"),
    ],
)
def test_everything_else_comes_with_its_reason(
    standing: Standing, activity: Activity, state: Resistance, words: str
) -> None:
    found = quantum_state(standing, activity, NOW, T)
    assert found.state is state
    assert words in found.reason
    assert found.since == (NOW - standing.started) // SECOND
