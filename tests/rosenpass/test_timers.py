"""Moments with an injected clock: backoff, renewal, death, staleness, and the heap that finds them."""

from itertools import pairwise

import pytest
from support.rosenpass_lab import START, Link, make_pair, sends
from support.seeded import seeded_bytes

from rosenpass.actions import KeyStale, SendMessage
from rosenpass.agenda import Agenda
from rosenpass.constants import DEFAULT_TIMERS, MILLISECOND, SECOND, Instant, Role
from rosenpass.peers import Initiative
from rosenpass.renewal import session_of
from rosenpass.retransmission import retransmission_delay


def at(seconds: float) -> Instant:
    return Instant(START + round(seconds * SECOND))


@pytest.mark.parametrize(
    ("attempt", "base"), [(0, 0.5), (1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (6, 10), (10_000, 10)]
)
def test_resends_back_off_from_half_a_second_to_ten(attempt: int, base: float) -> None:
    delays = [retransmission_delay(attempt, seeded_bytes(seed), DEFAULT_TIMERS) for seed in range(200)]
    assert base / 2 * SECOND <= min(delays)
    assert max(delays) < base * SECOND
    assert max(delays) - min(delays) > 0.4 * base * SECOND


def test_init_hello_is_resent_unchanged_until_the_handshake_dies_and_a_new_one_starts() -> None:
    a, _ = make_pair()
    first: set[bytes] = set()
    times = []
    now = a.server.next_deadline()
    while now < at(200):
        a.server.tick(now)
        for message in sends(a.server.take_actions()):
            times.append(now)
            first.add(message.datagram)
        now = a.server.next_deadline()
    assert len(first) == 2, "one before 180 s, one after"
    assert 20 <= len(times) <= 45
    gaps = [b - a for a, b in pairwise(times)]
    assert max(gaps) < 10 * SECOND


def test_a_tick_between_deadlines_does_nothing() -> None:
    a, _ = make_pair()
    a.server.tick(a.server.next_deadline())
    a.server.take_actions()
    deadline = a.server.next_deadline()
    a.server.tick(Instant(deadline - 10 * MILLISECOND))
    assert a.server.take_actions() == []
    a.server.tick(Instant(deadline - 2 * MILLISECOND))  # EVENT_GRACE
    assert len(a.server.take_actions()) == 1


def test_the_responder_renews_within_120_s_and_the_initiator_would_within_130_s() -> None:
    a, b = make_pair(reachable=True)
    link = Link(a, b)
    link.run(2 * SECOND)
    ages = {}
    for end in (a, b):
        status = end.server.status(end.peer)
        ages[status.role.value] = (status.renew_at - status.key_since) / SECOND
    assert 90 <= ages["responder"] < 120
    assert 97.5 <= ages["initiator"] < 130


@pytest.mark.parametrize(
    ("role", "initiative", "least", "most", "expected"),
    [
        (Role.INITIATOR, Initiative.AT_ONCE, 97.5, 130, None),
        (Role.RESPONDER, Initiative.AT_ONCE, 90, 120, None),
        (Role.RESPONDER, Initiative.WHEN_OVERDUE, 135, 150, 130),
        (Role.INITIATOR, Initiative.WHEN_OVERDUE, 145, 160, 120),
    ],
)
def test_renewals_are_spread_over_the_last_quarter_and_who_waits_for_the_peer_comes_after_it(
    role: Role, initiative: Initiative, least: float, most: float, expected: float | None
) -> None:
    sessions = [session_of(role, initiative, at(0), seeded_bytes(n), DEFAULT_TIMERS) for n in range(500)]
    times = [session.renew_at for session in sessions]
    assert at(least) <= min(times)
    assert max(times) < at(most)
    assert max(times) - min(times) > 0.9 * (at(most) - at(least))
    for session in sessions:
        assert session.expected_at == (session.renew_at if expected is None else at(expected))


def test_who_never_starts_expects_the_peers_renewal() -> None:
    session = session_of(Role.RESPONDER, Initiative.NEVER, at(0), seeded_bytes(1), DEFAULT_TIMERS)
    assert (session.renew_at, session.expected_at) == (None, at(130))


def test_a_key_that_nobody_renews_is_stale_after_180_s() -> None:
    a, b = make_pair()
    link = Link(a, b)
    link.run(2 * SECOND)
    key_since = b.server.status(b.peer).key_since
    b.server.tick(Instant(key_since + 179 * SECOND))
    assert not any(isinstance(action, KeyStale) for action in b.server.take_actions())
    b.server.tick(Instant(key_since + 180 * SECOND))
    stale = [action for action in b.server.take_actions() if isinstance(action, KeyStale)]
    assert len(stale) == 1
    assert bytes(stale[0].osk) not in b.keys
    assert b.server.status(b.peer).key_since is None


def test_names_are_looked_up_once_for_each_handshake_and_learned_addresses_come_first() -> None:
    a, b = make_pair()
    link = Link(a, b)
    link.run(2 * SECOND)
    link.fate = lambda *_: []
    renew = a.server.status(a.peer).renew_at
    sent: list[SendMessage] = []
    now = renew
    while now < renew + 20 * SECOND:
        a.server.tick(now)
        sent += sends(a.server.take_actions())
        now = a.server.next_deadline()
    assert [message.destination for message in sent[:4]] == [b.address, None, b.address, None]
    assert [message.resolve for message in sent[:4]] == [False, True, False, False]


def test_an_init_conf_nobody_answers_gives_way_to_a_new_handshake() -> None:
    a, b = make_pair()
    link = Link(a, b, lambda end, datagram: [] if datagram[0] == 0x84 else [MILLISECOND])
    link.run(30 * SECOND)
    assert a.sent[0x81] >= 3
    assert a.keys == b.keys
    link.fate = lambda *_: [MILLISECOND]
    link.run(15 * SECOND)
    assert a.confirmed
    assert a.keys == b.keys


def test_initiate_resends_a_waiting_message_at_once() -> None:
    a, _ = make_pair()
    a.server.initiate(a.peer, START)
    (first,) = sends(a.server.take_actions())
    a.server.initiate(a.peer, at(0.1))
    (again,) = sends(a.server.take_actions())
    assert again.datagram == first.datagram


def test_the_agenda_keeps_one_moment_per_peer_and_does_not_grow() -> None:
    a, b = make_pair()
    peer, other = a.server._peers.by_id(a.peer), b.server._peers.by_id(b.peer)
    peer.scheduled = other.scheduled = None
    agenda = Agenda()
    for i in range(10_000):
        agenda.set(peer, Instant(10_000 - i))
        agenda.set(other, Instant(20_000 + i))
    assert len(agenda._heap) < 200
    assert agenda.next() == 1
    assert agenda.take_due(Instant(15_000)) == [peer]
    agenda.set(other, None)
    assert agenda.next() is None
    assert agenda.take_due(Instant(10**9)) == []
