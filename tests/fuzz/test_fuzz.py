"""Each parser in Python on what was ever worth keeping, and for a moment on anything.

The long run is `make fuzz`. What it finds goes into corpus/TARGET, by whatever name says best what it was.
"""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fuzz_targets import TARGETS, Target

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = 120


def kept(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_kept_is_survived(name: str) -> None:
    for data in (*TARGETS[name].seeds, *kept(name)):
        TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_small(name: str) -> None:
    files = list((CORPUS / name).glob("*"))
    assert sum(path.stat().st_size for path in files) < 200_000


def test_no_corpus_without_its_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)


def inputs(target: Target, corpus: list[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes; words of the language in any order; something known, damaged in a few places."""
    pieces = st.binary(max_size=8)
    if target.words:
        pieces = st.sampled_from(target.words) | pieces
    edit = st.tuples(st.integers(0, 5000), st.integers(0, 40), pieces)
    damaged = st.builds(
        damage, st.sampled_from([*target.seeds, *corpus]), st.lists(edit, min_size=1, max_size=4)
    )
    return st.one_of(st.binary(max_size=300), st.lists(pieces, max_size=12).map(b"".join), damaged)


def damage(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Each edit replaces some bytes at a place by a piece."""
    for at, length, piece in edits:
        start = at % (len(data) + 1)
        data = data[:start] + piece + data[start + length :]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_survived(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(inputs(target, kept(name)))
    def check(data: bytes) -> None:
        target.run(data)

    check()
