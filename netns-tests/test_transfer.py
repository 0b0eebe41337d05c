"""A gigabyte each way, every byte checked, over TCP and over UDP.

h1: subject 10.7.0.1 ═ 10.99.0.1, fd99::1 ─── 10.99.0.2, fd99::2 ═ 10.7.0.2 other: h2
"""

import json
import sys
from pathlib import Path

import pytest
from lab import Namespace, wait_until
from traffic import overflows
from tunnel import tunnel
from wgpeer import Peer, WgpyPeer

STREAM = str(Path(__file__).with_name("stream.py"))
GIGABYTE = 1 << 30
PORT = 5000


def transfer(
    protocol: str, sender: Namespace, receiver: Namespace, address: str, size: int = GIGABYTE
) -> tuple[dict[str, object], dict[str, object]]:
    """What the sender and the receiver say at the end."""
    sink = receiver.spawn(sys.executable, STREAM, "receive", protocol, address, PORT, size)
    bound = ("ss", "-Hln", "-t" if protocol == "tcp" else "-u", f"sport = :{PORT}")
    wait_until(lambda: receiver.run(*bound).strip(), 10, "the receiver")
    sent = json.loads(sender.run(sys.executable, STREAM, "send", protocol, address, PORT, size, timeout=240))
    assert sink.wait(within=30) == 0, sink.output()
    return sent, json.loads(sink.output())


@pytest.mark.parametrize("direction", ["out", "in"])
def test_tcp_gigabyte_arrives_unchanged(other: type[Peer], direction: str) -> None:
    with tunnel(other) as t:
        t.subject.ping(t.other.address4)
        if direction == "out":
            sent, got = transfer("tcp", t.h1, t.h2, t.other.address4)
        else:
            sent, got = transfer("tcp", t.h2, t.h1, t.subject.address6)
        print(f"{t.other.name} tcp {direction}: {GIGABYTE * 8 / float(str(got['seconds'])) / 1e9:.2f} Gbit/s")
        assert got["bytes"] == GIGABYTE
        assert got["sha256"] == sent["sha256"]


@pytest.mark.parametrize("direction", ["out", "in"])
def test_udp_gigabyte_arrives_unchanged_and_once(other: type[Peer], direction: str) -> None:
    with tunnel(other) as t:
        t.subject.ping(t.other.address4)
        if direction == "out":
            sent, got = transfer("udp", t.h1, t.h2, t.other.address6)
        else:
            sent, got = transfer("udp", t.h2, t.h1, t.subject.address4)
        print(f"{t.other.name} udp {direction}: {got} {sent}")
        assert got["corrupt"] == 0
        assert got["duplicated"] == 0
        full = overflows(t.other) if not isinstance(t.other, WgpyPeer) else 0  # theirs, not ours
        assert int(str(got["lost"])) - full <= int(str(sent["sent"])) // 1000
