"""bench/units/guard.py judges counts; that they are right is callgrind's business."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

DUMP = """desc: Trigger: Client Request: splitter, TCP|10
positions: line
events: Ir

ob=/x/bench/out/count
fl=split.c
fn=split_next
12 300
cob=/usr/lib/libc.so.6
cfn=memcpy
calls=20 0
13 9999
14 100
cfn=checksum
calls=5 0
15 77
ob=/usr/lib/libc.so.6
fl=???
fn=memcpy
0 9999
ob=/x/bench/out/count
fl=checksum.c
fn=checksum
3 77
"""


@pytest.fixture(scope="module")
def guard() -> ModuleType:
    path = Path(__file__).parents[1] / "bench" / "units" / "guard.py"
    spec = importlib.util.spec_from_file_location("guard", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["guard"] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


def test_only_our_own_code_and_our_calls_out_of_it_count(guard: ModuleType) -> None:
    assert dict(guard.read(DUMP)) == {"splitter, TCP": {"instructions": 47.7, "calls": 2.0}}


def test_the_dump_at_the_end_is_no_unit(guard: ModuleType) -> None:
    assert dict(guard.read("desc: Trigger: Program termination\n")) == {}


def figures(instructions: float, calls: float = 4) -> dict[str, dict[str, float]]:
    return {"seal": {"instructions": instructions, "calls": calls}}


@pytest.mark.parametrize(
    ("now", "fails"),
    [
        (figures(100), False),
        (figures(105), False),
        (figures(106), True),
        (figures(60), False),
        (figures(100, 5), True),
        ({}, True),
        (figures(100) | {"new": {"instructions": 5}}, False),
    ],
)
def test_growth_of_more_than_five_percent_fails(guard: ModuleType, now: object, fails: bool) -> None:
    assert bool(guard.compare(now, figures(100))) is fails


@pytest.mark.parametrize(("many", "fails"), [(119, False), (121, True)])
def test_ten_thousand_peers_may_cost_a_fifth_more(guard: ModuleType, many: float, fails: bool) -> None:
    now = {"x, 1 peer": {"instructions": 100}, "x, 10000 peers": {"instructions": many}}
    assert bool(guard.flat_in_peers(now)) is fails
