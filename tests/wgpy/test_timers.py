import pytest

from wgpy.constants import Timings
from wgpy.errors import ConfigError
from wgpy.model import SECOND, Instant
from wgpy.timers import Activity, Due, TimerState, due

T = Timings()
START = 1_000 * SECOND
ALIVE = Activity(
    current_birthdate=START, is_initiator=True, is_sendable=True, last_tx_auth=START, last_rx_auth=START
)


def at(seconds: float) -> Instant:
    return Instant(START + round(seconds * SECOND))


def names(state: TimerState, activity: Activity, seconds: float) -> list[Due]:
    return due(state, activity, at(seconds), T)


def test_an_idle_peer_has_nothing_due() -> None:
    assert names(TimerState(), Activity(), 0) == []
    assert names(TimerState(), ALIVE, 10_000) == []


def test_silence_after_data_starts_a_handshake_after_15_s() -> None:
    quiet = ALIVE._replace(tx_unanswered=START, last_tx_data=START)
    assert due(TimerState(), quiet, Instant(START + 15 * SECOND - 1), T) == []
    assert names(TimerState(), quiet, 15) == [Due.NEW_HANDSHAKE]


def test_silence_of_a_hybrid_peer_starts_a_handshake_after_12_s() -> None:
    """Its keepalive was due after 10; so that traffic is back within 15 where it has left the session."""
    quiet = ALIVE._replace(tx_unanswered=START, last_tx_data=START)
    state = TimerState(is_hybrid=True)
    assert due(state, quiet, Instant(START + 12 * SECOND - 1), T) == []
    assert names(state, quiet, 12) == [Due.NEW_HANDSHAKE]
    state.reset()
    assert state.is_hybrid


def test_jitter_is_added_to_the_15_s() -> None:
    quiet = ALIVE._replace(tx_unanswered=START, last_tx_data=START)
    assert names(TimerState(jitter=SECOND // 4), quiet, 15.2) == []
    assert names(TimerState(jitter=SECOND // 4), quiet, 15.25) == [Due.NEW_HANDSHAKE]


def test_received_data_is_answered_by_a_keepalive_after_10_s() -> None:
    heard = ALIVE._replace(rx_unanswered=START, last_rx_data=START)
    assert due(TimerState(), heard, Instant(START + 10 * SECOND - 1), T) == []
    assert names(TimerState(), heard, 10) == [Due.KEEPALIVE]


def test_a_keepalive_is_not_asked_for_twice_while_the_worker_lags() -> None:
    heard = ALIVE._replace(rx_unanswered=START, last_rx_data=START)
    assert names(TimerState(keepalive_sent=at(10)), heard, 10.25) == []


def test_persistent_keepalive_counts_from_the_last_authenticated_packet_either_way() -> None:
    state = TimerState(persistent_keepalive=25 * SECOND)
    sent = ALIVE._replace(last_tx_auth=at(10))
    heard = ALIVE._replace(last_rx_auth=at(20))
    assert names(state, sent, 34.9) == []
    assert names(state, sent, 35) == [Due.KEEPALIVE]
    assert names(state, heard, 44.9) == []


def test_persistent_keepalive_does_not_starve_the_passive_one() -> None:
    state = TimerState(persistent_keepalive=60 * SECOND)
    assert names(state, ALIVE._replace(rx_unanswered=START), 10) == [Due.KEEPALIVE]


@pytest.mark.parametrize("stamp", ["last_tx_data"])
def test_the_initiator_renews_when_it_sends_at_120_s(stamp: str) -> None:
    assert names(TimerState(), ALIVE._replace(**{stamp: at(119.9)}), 130) == []
    assert names(TimerState(), ALIVE._replace(**{stamp: at(120)}), 120) == [Due.REKEY]


def test_a_keepalive_sent_at_120_s_renews_too() -> None:
    assert names(TimerState(keepalive_sent=at(121)), ALIVE, 121) == [Due.REKEY]


def test_the_responder_never_renews_by_time() -> None:
    responder = ALIVE._replace(is_initiator=False, last_tx_data=at(150), last_rx_auth=at(179))
    assert names(TimerState(), responder, 179) == []


def test_the_initiator_renews_once_when_it_receives_at_165_s() -> None:
    hearing = ALIVE._replace(last_rx_auth=at(165))
    assert names(TimerState(), ALIVE._replace(last_rx_auth=at(164.9)), 170) == []
    assert names(TimerState(), hearing, 165) == [Due.LAST_MINUTE_REKEY]
    assert names(TimerState(last_minute_sent=True), hearing, 166) == []


def test_the_message_limit_renews_for_both_sides() -> None:
    worn = ALIVE._replace(is_initiator=False, wants_rekey=True, last_tx_data=at(1))
    assert names(TimerState(), worn, 1) == [Due.REKEY]


def test_resend_after_5_s_and_jitter_nineteen_times_then_give_up() -> None:
    state = TimerState()
    now = at(0)
    resends = 0
    state.initiation_sent(now, 0, T)
    while True:
        assert due(state, Activity(), Instant(now + 5 * SECOND - 1), T) == []
        now = Instant(now + 5 * SECOND)
        (what,) = due(state, Activity(), now, T)
        if what is Due.GIVE_UP:
            break
        assert what is Due.RESEND
        resends += 1
        state.attempts += 1
        state.initiation_sent(now, 0, T)
    assert resends == 19  # twenty messages in all
    assert now - START == 100 * SECOND


def test_after_giving_up_the_old_silence_does_not_start_over_but_new_data_does() -> None:
    state = TimerState()
    state.give_up(at(100), T)
    silent = ALIVE._replace(tx_unanswered=START, last_tx_data=at(90))
    assert names(state, silent, 120) == []
    talking = silent._replace(last_tx_data=at(101))
    assert names(state, talking, 114) == []
    assert Due.NEW_HANDSHAKE in names(state, talking, 115)


def test_staged_packets_without_a_session_ask_for_one() -> None:
    assert names(TimerState(), Activity(staged=1), 0) == [Due.SESSION_WANTED]
    assert names(TimerState(), ALIVE._replace(staged=1), 0) == []  # behind the gate: the ring's business
    assert names(TimerState(), ALIVE._replace(staged=1), 180) == [Due.SESSION_WANTED]
    assert names(TimerState(), ALIVE._replace(staged=1, is_sendable=False), 0) == [Due.SESSION_WANTED]


def test_a_handshake_under_way_silences_every_other_reason_to_start_one() -> None:
    state = TimerState()
    state.initiation_sent(at(119), 0, T)
    busy = ALIVE._replace(last_tx_data=at(121), tx_unanswered=at(60), staged=1)
    assert names(state, busy, 122) == []


def test_keys_are_zeroed_540_s_after_the_last_session() -> None:
    state = TimerState()
    state.session_derived(at(0), T)
    assert names(state, ALIVE, 539.9) == []
    assert names(state, ALIVE, 540) == [Due.ZERO_KEYS]


def test_giving_up_arms_zeroing_only_where_it_is_not_armed() -> None:
    state = TimerState()
    state.give_up(at(100), T)
    assert state.zero_keys_at == at(640)
    state.session_derived(at(200), T)
    state.give_up(at(300), T)
    assert state.zero_keys_at == at(740)


def test_spacing_counts_from_initiations_and_responses() -> None:
    state = TimerState()
    assert state.may_send_handshake(at(0), T)
    state.response_sent(at(0))
    assert not state.may_send_handshake(at(4.9), T)
    assert state.may_send_handshake(at(5), T)


def test_a_stamp_later_than_now_counts_as_now() -> None:
    ahead = ALIVE._replace(current_birthdate=at(1), tx_unanswered=at(1), rx_unanswered=at(1))
    assert names(TimerState(persistent_keepalive=SECOND), ahead, 0) == []
    assert ahead.has_session(at(0), T)


def test_timings_are_overridden_by_name_in_seconds() -> None:
    short = T.with_overrides("rekey_after_time=5, reject_after_time=19.5,rekey_after_messages=100")
    assert (short.rekey_after_time, short.reject_after_time) == (5 * SECOND, 39 * SECOND // 2)
    assert short.rekey_after_messages == 100
    assert T.with_overrides("") == T


@pytest.mark.parametrize(
    "text",
    ["nonsense=1", "rekey_timeout=x", "rekey_timeout=", "jitter=-1", "jitter=inf", "reject_after_time=15"],
)
def test_a_wrong_override_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="WGPY_TIMINGS"):
        T.with_overrides(text)


def hurried(state: TimerState, at: int = 0) -> float:
    """Seconds until the initiation sent then is sent again."""
    state.initiation_sent(Instant(at), 0, Timings(), is_hurried=True)
    assert state.resend_at is not None
    assert state.may_send_handshake(state.resend_at, Timings(), is_hurried=True)
    return (state.resend_at - at) / SECOND


def test_a_hurried_initiation_is_repeated_after_half_a_second_then_1_2_and_4_s_and_again() -> None:
    state = TimerState()
    assert [hurried(state) for _ in range(6)] == [0.5, 1, 2, 4, 0.5, 1]
    state.attempts = 12
    assert hurried(state) == 5
    state.attempts = 0
    state.handshake_complete()
    assert hurried(state) == 0.5


def test_somebody_who_wants_the_session_does_not_shorten_the_hurried_waits() -> None:
    state, waits = TimerState(), []
    for _ in range(4):
        waits.append(hurried(state))
        state.attempts = 0  # as Tunnel.want_session does
    assert waits == [0.5, 1, 2, 4]


def test_a_hurried_initiation_leaves_the_answer_time_to_arrive() -> None:
    state = TimerState()
    hurried(state, at=10 * SECOND)
    state.initiation_answered(Instant(12 * SECOND))
    state.handshake_complete()
    assert [hurried(state) for _ in range(4)] == [3, 3, 3, 4]
    state.round_trip = 60 * SECOND
    assert hurried(state) == 5
