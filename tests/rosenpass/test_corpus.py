"""Every datagram ever found worth keeping, against a server at each stage of a handshake."""

from pathlib import Path

import pytest
from support.rosenpass_stages import remac, stage, untouched

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.bin"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
@pytest.mark.parametrize("number", range(4))
def test_a_kept_datagram_changes_nothing(number: int, path: Path) -> None:
    receiver, sender, _ = stage(number)
    wire = path.read_bytes()
    untouched(receiver, sender, wire)
    if len(wire) >= 64:
        untouched(receiver, sender, remac(receiver, wire))


def test_the_corpus_is_there() -> None:
    assert len(CORPUS) > 40
