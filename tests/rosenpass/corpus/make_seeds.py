"""Writes the datagrams that test_corpus.py replays: each message of a toy handshake, and what became of it.

Run from the project's root: `.venv/bin/python tests/rosenpass/corpus/make_seeds.py`. What a fuzzer or a bug
report finds is added beside them by hand, under a name that says what it was.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from support.rosenpass_lab import START, make_pair, sends  # noqa: E402

NAMES = ("init_hello", "resp_hello", "init_conf", "empty_data")
EDGES = (0, 1, 3, 4, 8, 12, 16, 128, 780, 808)  # where fields begin


def messages() -> dict[str, bytes]:
    a, b = make_pair("corpus")
    a.server.initiate(a.peer, START)
    ends, found = [a, b], {}
    for name in NAMES:
        (message,) = sends(ends[0].server.take_actions())
        found[name] = message.datagram
        ends[1].server.receive(message.datagram, ends[0].address, START)
        ends.reverse()
    return found


def variants(wire: bytes) -> dict[str, bytes]:
    found = {"whole": wire, "long": wire + b"\0", "short": wire[:-1]}
    found |= {f"cut_{edge}": wire[:edge] for edge in EDGES if edge < len(wire)}
    found |= {f"type_{kind:02x}": bytes([kind]) + wire[1:] for kind in (0x80, 0x85, 0x86, 0x01)}
    found["ones"] = wire[:1] + b"\xff" * (len(wire) - 1)
    found["zeros"] = wire[:1] + bytes(len(wire) - 1)
    return found


if __name__ == "__main__":
    for name, wire in messages().items():
        for variant, data in variants(wire).items():
            (HERE / f"{name}-{variant}.bin").write_bytes(data)
