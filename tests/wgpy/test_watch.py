from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.constants import Timings
from wgpy.model import SECOND, Instant, PskKind
from wgpy.timers import Activity, TimerState, due
from wgpy.watch import activity_of, restless

T = Timings()
NOW = Instant(10_000 * SECOND)
STAMPS = (
    "last_tx_auth",
    "last_tx_data",
    "tx_unanswered",
    "last_rx_auth",
    "last_rx_data",
    "rx_unanswered",
    "current_birthdate",
    "user_birthdate",
    "user_psk_birthdate",
)
DTYPE = np.dtype(
    [(f"{name}_ns", "u8") for name in STAMPS]
    + [
        (name, "u4")
        for name in (
            "current_index",
            "current_flags",
            "current_psk_kind",
            "user_psk_kind",
            "in_use",
            "staged",
        )
    ]
)


def records(count: int = 3, **values: int) -> Any:
    made = np.zeros(count, DTYPE)
    made["in_use"] = 1
    for name, value in values.items():
        made[1][name] = value
    return made


def found(made: Any, keepalive_s: int = 0) -> list[int]:
    keepalive = np.full(len(made), 0, np.uint64)
    keepalive[1] = keepalive_s * SECOND
    return restless(made, keepalive, NOW, T).tolist()


def test_idle_peers_are_left_alone() -> None:
    assert found(records()) == []


@pytest.mark.parametrize(
    "values",
    [
        {"staged": 1},
        {"tx_unanswered_ns": NOW - 15 * SECOND},
        {"rx_unanswered_ns": NOW - 10 * SECOND},
        {"current_birthdate_ns": NOW - 120 * SECOND, "current_flags": 3, "last_tx_auth_ns": NOW},
        {"current_birthdate_ns": NOW - 165 * SECOND, "current_flags": 3, "last_rx_auth_ns": NOW},
        {"current_birthdate_ns": NOW, "current_flags": 6},
    ],
)
def test_a_peer_with_something_due_is_found(values: dict[str, int]) -> None:
    assert found(records(**values)) == [1]
    assert found(records(**values, in_use=0)) == []


def test_a_lonely_peer_with_persistent_keepalive_is_found() -> None:
    made = records(last_tx_auth_ns=NOW - 30 * SECOND, last_rx_auth_ns=NOW - 25 * SECOND)
    assert found(made, keepalive_s=25) == [1]
    assert found(made, keepalive_s=26) == []


AGES = st.one_of(st.just(0), st.integers(min_value=1, max_value=200 * SECOND).map(lambda age: NOW - age))


@given(
    st.fixed_dictionaries({f"{name}_ns": AGES for name in STAMPS}),
    st.integers(min_value=0, max_value=7),
    st.integers(min_value=0, max_value=1),
    st.sampled_from([0, 1, 25]),
    st.booleans(),
)
def test_nothing_the_timers_find_due_is_overlooked(
    stamps: dict[str, int], flags: int, staged: int, keepalive_s: int, is_hybrid: bool
) -> None:
    for way in ("tx", "rx"):  # data packets are authenticated packets
        stamps[f"last_{way}_auth_ns"] = max(stamps[f"last_{way}_auth_ns"], stamps[f"last_{way}_data_ns"])
    made = records(current_flags=flags, staged=staged, **stamps)
    state = TimerState(persistent_keepalive=keepalive_s * SECOND, is_hybrid=is_hybrid)
    if due(state, activity_of(made[1]), NOW, T):
        assert 1 in found(made, keepalive_s)


def test_activity_reads_every_field() -> None:
    values = {f"{name}_ns": number for number, name in enumerate(STAMPS, 1)}
    made = records(**values, current_index=77, current_flags=7, current_psk_kind=3, user_psk_kind=1, staged=5)
    activity = activity_of(made[1])
    for name, number in zip(STAMPS, range(1, 99), strict=False):
        assert getattr(activity, name) == number
    assert (activity.current_index, activity.staged) == (77, 5)
    assert activity.is_initiator
    assert activity.is_sendable
    assert activity.wants_rekey
    assert (activity.current_psk_kind, activity.user_psk_kind) == (PskKind.PQ, PskKind.CONFIGURED)
    assert set(Activity._fields) >= set(STAMPS)


def test_ten_thousand_idle_peers_cost_one_look() -> None:
    made = np.zeros(10_000, DTYPE)
    made["in_use"] = 1
    made["current_birthdate_ns"] = NOW - 300 * SECOND
    made["last_tx_auth_ns"] = NOW - 300 * SECOND
    made["last_rx_auth_ns"] = NOW - 300 * SECOND
    assert restless(made, np.zeros(10_000, np.uint64), NOW, T).size == 0
