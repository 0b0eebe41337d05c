import base64
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from wgpy.constants import Timings
from wgpy.model import NO_PRESHARED_KEY, SECOND, Instant, PresharedKey, PskKind, PublicKey
from wgpy.psk_ring import PskRing, Slot, netbird_seed

T = Timings()
START = Instant(10_000 * SECOND)
CONFIGURED = PresharedKey(b"c" * 32)
SEED = PresharedKey(b"s" * 32)
OSK1, OSK2, OSK3 = (bytes([n]) * 32 for n in (1, 2, 3))


def at(seconds: float) -> Instant:
    return Instant(START + round(seconds * SECOND))


def ring(
    configured: PresharedKey = NO_PRESHARED_KEY, *, rosenpass: bool = True, plain: bool = False
) -> PskRing:
    made = PskRing(configured, T)
    if rosenpass:
        made.enable_rosenpass(SEED, plain_fallback=plain)
    return made


def keys(slots: tuple[Slot, ...]) -> list[bytes]:
    return [bytes(slot.key) for slot in slots]


def tried(made: PskRing, seconds: float = 0) -> list[bytes]:
    return keys(made.candidates(at(seconds)))


def mixed(made: PskRing, seconds: float = 0) -> bytes:
    return bytes(made.for_response(at(seconds)).key)


# -- interim


def test_netbirds_seed_of_a_pair_known_from_the_field() -> None:
    greater = base64.b64decode("qrU64BbwDjOtz7UM" + "A" * 27 + "=")
    lesser = base64.b64decode("heCBbl1wruOxGnun" + "A" * 27 + "=")
    expected = b"qrU64BbwDjOtz7UMheCBbl1wruOxGnun"
    assert netbird_seed(PublicKey(greater), PublicKey(lesser)) == expected
    assert netbird_seed(PublicKey(lesser), PublicKey(greater)) == expected


@pytest.mark.parametrize(
    ("configured", "rosenpass", "expected", "kind"),
    [
        (NO_PRESHARED_KEY, False, NO_PRESHARED_KEY, PskKind.NONE),
        (CONFIGURED, False, CONFIGURED, PskKind.CONFIGURED),
        (NO_PRESHARED_KEY, True, SEED, PskKind.INTERIM),
        (CONFIGURED, True, CONFIGURED, PskKind.CONFIGURED),
    ],
)
def test_before_any_exchange_both_sides_use_the_interim_key(
    configured: PresharedKey, rosenpass: bool, expected: bytes, kind: PskKind
) -> None:
    made = ring(configured, rosenpass=rosenpass)
    assert tried(made) == [expected]
    assert made.newest.kind is kind
    assert mixed(made) == expected


def test_a_permissive_peer_without_rosenpass_is_met_on_zeros() -> None:
    assert tried(ring(plain=True)) == [SEED, NO_PRESHARED_KEY]


# -- the table of transitions: (what happens) -> what is tried, what a responder mixes


@dataclass(frozen=True)
class Case:
    name: str
    events: tuple[Callable[[PskRing], None], ...]
    tried: list[bytes]
    mixed: bytes
    follow_up: float | None


def pending(osk: bytes) -> Callable[[PskRing], None]:
    return lambda made: made.pending(osk, at(0))


def confirmed(osk: bytes) -> Callable[[PskRing], None]:
    return lambda made: made.confirmed(osk, at(0))


def proved(key: bytes) -> Callable[[PskRing], None]:
    def event(made: PskRing) -> None:
        (slot,) = (slot for slot in made.candidates(at(0)) if slot.holds(key))
        made.proved(slot, at(0))

    return event


def stale(made: PskRing) -> None:
    made.stale()


CASES = [
    Case("nothing", (), [SEED], SEED, None),
    Case("pending", (pending(OSK1),), [OSK1, SEED], SEED, 2),
    Case("pending replaced", (pending(OSK1), pending(OSK2)), [OSK2, SEED], SEED, 2),
    Case("initiator confirmed", (pending(OSK1), confirmed(OSK1)), [OSK1, SEED], OSK1, 1),
    Case("responder confirmed", (confirmed(OSK1),), [OSK1, SEED], OSK1, 0),
    Case("confirmed twice", (confirmed(OSK1), proved(OSK1), confirmed(OSK1)), [OSK1, SEED], OSK1, None),
    Case("other than pending", (pending(OSK1), confirmed(OSK2)), [OSK2, SEED], OSK2, 0),
    Case("rotation", (confirmed(OSK1), confirmed(OSK2)), [OSK2, OSK1, SEED], OSK2, 0),
    Case("two rotations", (confirmed(OSK1), confirmed(OSK2), confirmed(OSK3)), [OSK3, OSK2, SEED], OSK3, 0),
    Case(
        "pending over current",
        (confirmed(OSK1), proved(OSK1), pending(OSK2)),
        [OSK2, OSK1, SEED],
        OSK1,
        2,
    ),
    Case("pending proved", (pending(OSK1), proved(OSK1)), [OSK1, SEED], OSK1, None),
    Case(
        "pending proved, then confirmed",
        (pending(OSK1), proved(OSK1), confirmed(OSK1)),
        [OSK1, SEED],
        OSK1,
        None,
    ),
    Case("newest proved", (confirmed(OSK1), proved(OSK1)), [OSK1, SEED], OSK1, None),
    Case("interim proved", (proved(SEED),), [SEED], SEED, None),
    Case("interim proved beside pending", (pending(OSK1), proved(SEED)), [OSK1, SEED], SEED, 2),
    Case(
        "older proved",
        (confirmed(OSK1), proved(OSK1), confirmed(OSK2), proved(OSK1)),
        [OSK2, OSK1, SEED],
        OSK2,
        0,
    ),
    Case("stale drops pending", (pending(OSK1), stale), [SEED], SEED, 2),
    Case("stale, proved before", (proved(SEED), pending(OSK1), stale), [SEED], SEED, None),
    Case("stale keeps current", (confirmed(OSK1), proved(OSK1), stale), [OSK1, SEED], OSK1, None),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_transition(case: Case) -> None:
    made = ring()
    for event in case.events:
        event(made)
    assert tried(made) == case.tried
    expected = None if case.follow_up is None else at(case.follow_up)
    assert made.follow_up_at == expected
    assert mixed(made) == case.mixed


@pytest.mark.parametrize("osk", [bytes(32), b"short", b"x" * 33, b""])
def test_a_zero_or_misshapen_output_is_refused_as_an_error(osk: bytes) -> None:
    made = ring()
    with pytest.raises(ValueError, match="Rosenpass output"):
        made.pending(osk, at(0))
    with pytest.raises(ValueError, match="Rosenpass output"):
        made.confirmed(osk, at(0))
    assert tried(made) == [SEED]


# -- follow-ups


def test_follow_ups_come_after_1_2_4_8_15_15_s_until_the_newest_carries() -> None:
    made = ring()
    made.confirmed(OSK1, at(0))
    now = 0.0
    gaps = []
    for _ in range(7):
        made.follow_up_started(at(now))
        assert made.follow_up_at is not None
        gap = (made.follow_up_at - at(now)) / SECOND
        gaps.append(gap)
        (interim,) = (slot for slot in made.candidates(at(now)) if slot.holds(SEED))
        made.proved(interim, at(now))
        now += gap
    assert gaps == [1, 2, 4, 8, 15, 15, 15]
    made.proved(made.newest, at(now))
    assert made.follow_up_at is None
    made.confirmed(OSK2, at(now))
    made.follow_up_started(at(now))
    assert made.follow_up_at == at(now + 1)  # starts small again


def test_a_pending_key_that_nobody_confirms_is_probed_until_it_carries() -> None:
    made = ring()
    made.proved(made.newest, at(0))
    made.pending(OSK1, at(0))
    now, moments = 0.0, []
    for _ in range(4):
        assert made.follow_up_at is not None
        now = (made.follow_up_at - START) / SECOND
        moments.append(now)
        made.follow_up_started(at(now))
        made.proved(made.newest, at(now))  # the peer does not have it yet
    assert moments == [2, 4, 8, 16]
    made.proved(made.candidates(at(now))[0], at(now))
    assert made.follow_up_at is None
    assert mixed(made, now) == OSK1


def test_a_session_on_an_older_slot_is_followed_up_after_1_s() -> None:
    made = ring()
    made.confirmed(OSK1, at(0))
    made.proved(made.newest, at(0))
    (interim,) = (slot for slot in made.candidates(at(5)) if slot.holds(SEED))
    made.proved(interim, at(5))
    assert made.follow_up_at == at(6)


def test_a_response_that_the_confirmation_overtook_is_repaired_at_once() -> None:
    made = ring()
    made.pending(OSK1, at(0))
    assert mixed(made, 0.1) == SEED  # the responder's initiation came before its EmptyData
    made.proved(made.newest, at(0.15))
    made.confirmed(OSK1, at(0.2))
    assert made.follow_up_at == at(0.2)


def test_there_is_no_haste_where_a_post_quantum_session_carries_meanwhile() -> None:
    """Of two handshakes in a moment the second drops the keypair of packets that are on their way."""
    made = ring()
    made.confirmed(OSK1, at(0))
    made.proved(made.newest, at(0))
    made.pending(OSK2, at(100))
    assert mixed(made, 100.1) == OSK1
    made.proved(made.newest, at(100.15))
    made.confirmed(OSK2, at(100.2))
    assert made.follow_up_at == at(101.2)


# -- walking


def test_a_peer_that_confirms_nothing_is_led_through_the_slots() -> None:
    made = ring()
    for osk in (OSK1, OSK2):
        made.confirmed(osk, at(0))
    made.pending(OSK3, at(0))
    walk = [mixed(made, 5 * step) for step in range(10)]
    assert walk == [OSK2, SEED, OSK1, SEED, OSK3, SEED, OSK2, SEED, OSK1, SEED]


def test_every_candidate_is_met_within_one_walk() -> None:
    made = ring(plain=True)
    for osk in (OSK1, OSK2):
        made.confirmed(osk, at(0))
    made.pending(OSK3, at(0))
    assert {mixed(made, 5 * step) for step in range(12)} == set(tried(made))


def test_the_walk_ends_with_the_first_confirmed_session() -> None:
    made = ring()
    made.confirmed(OSK1, at(0))
    assert [mixed(made, 5 * step) for step in range(3)] == [OSK1, SEED, OSK1]
    (interim,) = (slot for slot in made.candidates(at(11)) if slot.holds(SEED))
    made.proved(interim, at(11))
    assert mixed(made, 15) == OSK1


def test_initiations_in_quick_succession_are_one_attempt() -> None:
    made = ring()
    made.confirmed(OSK1, at(0))
    assert [mixed(made, step / 10) for step in range(8)] == [OSK1] * 8


def test_a_peer_that_comes_back_after_long_begins_at_the_newest() -> None:
    made = ring()
    made.confirmed(OSK1, at(0))
    assert [mixed(made, 5 * step) for step in range(2)][-1] == SEED
    assert mixed(made, 10 + 90) == OSK1


# -- configured keys


def test_a_replaced_configured_key_is_tried_for_30_s_more() -> None:
    made = ring(CONFIGURED, rosenpass=False)
    new = PresharedKey(b"n" * 32)
    assert made.configure(new, at(0))
    assert tried(made, 29.9) == [new, CONFIGURED]
    assert made.expires_at == at(30)
    assert tried(made, 30) == [new]


def test_setting_the_same_key_again_is_no_change() -> None:
    assert not ring(CONFIGURED, rosenpass=False).configure(CONFIGURED, at(0))


def test_a_session_under_the_replaced_key_is_followed_up() -> None:
    made = ring(CONFIGURED, rosenpass=False)
    made.configure(PresharedKey(b"n" * 32), at(0))
    _, retired = made.candidates(at(1))
    made.proved(retired, at(1))
    assert made.follow_up_at == at(2)


def test_a_configured_key_under_a_live_output_changes_nothing_now() -> None:
    made = ring()
    made.confirmed(OSK1, at(0))
    assert not made.configure(CONFIGURED, at(0))
    assert tried(made) == [OSK1, CONFIGURED]


def test_a_first_configured_key_leaves_no_way_without_it() -> None:
    made = ring(rosenpass=False)
    assert made.configure(CONFIGURED, at(0))
    assert tried(made, 0) == [CONFIGURED]
    assert made.for_response(at(0)).holds(CONFIGURED)


# -- age


def test_an_output_older_than_10_minutes_is_gone() -> None:
    made = ring()
    made.confirmed(OSK1, at(0))
    made.confirmed(OSK2, at(300))
    assert made.expires_at == at(600)
    assert tried(made, 599.9) == [OSK2, OSK1, SEED]
    assert tried(made, 600) == [OSK2, SEED]
    assert tried(made, 900) == [SEED]
    assert made.follow_up_at is None
    assert not made.has_output


def test_disabling_and_wiping_leave_no_key_behind() -> None:
    made = ring(CONFIGURED)
    made.pending(OSK2, at(0))
    made.confirmed(OSK1, at(0))
    slots = made.candidates(at(0))
    made.wipe()
    assert all(not any(slot.key) for slot in slots)


def test_no_key_is_shown() -> None:
    assert "ccc" not in repr(ring(CONFIGURED).newest)
