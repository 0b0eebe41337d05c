from hypothesis import given
from hypothesis import strategies as st
from support import vectors

from wgpy import tai64n
from wgpy.model import SECOND, WallTime

WALL = st.integers(min_value=0, max_value=4_000_000_000 * SECOND)


def test_encoding_and_whitening_match_the_vectors() -> None:
    table = vectors.shared("wireguard/tai64n.json")
    for vector in table["encode"]:
        wall = WallTime(vector["unix_seconds"] * SECOND + vector["nanoseconds"])
        assert tai64n.stamp(wall).hex() == vector["stamp"]
    for vector in table["vectors"]:
        first, second = (tai64n.stamp(WallTime(vector[name])) for name in ("t1_ns", "t2_ns"))
        assert (first.hex(), second.hex()) == (vector["stamp1"], vector["stamp2"])
        assert (second > first) is vector["second_is_after_first"]


def test_known_stamp() -> None:
    assert tai64n.stamp(WallTime(1_700_000_000 * SECOND + 999_999_999)).hex() == "400000006553f10a3b000000"


@given(WALL, WALL)
def test_stamps_grow_whatever_the_clock_does(first: int, second: int) -> None:
    earlier = tai64n.stamp_after(WallTime(first), tai64n.ZERO)
    assert tai64n.stamp_after(WallTime(second), earlier) > earlier


def test_a_clock_stepped_back_costs_one_step_not_a_lock_out() -> None:
    ahead = tai64n.stamp_after(WallTime(2_000_000_000 * SECOND), tai64n.ZERO)
    after = tai64n.stamp_after(WallTime(SECOND), ahead)
    assert int.from_bytes(after[8:]) - int.from_bytes(ahead[8:]) == 1 << 24
    assert after[:8] == ahead[:8]


def test_the_last_step_of_a_second_carries_into_the_next() -> None:
    last = tai64n.stamp(WallTime(5 * SECOND + 999_999_999))
    assert tai64n.stamp_after(WallTime(0), last) == tai64n.stamp(WallTime(6 * SECOND))
