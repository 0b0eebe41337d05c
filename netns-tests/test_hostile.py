"""Nonsense written into the interface, by a local program or a forwarding kernel gone wrong, is counted.

h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2 ═ 10.7.0.2 other: h2

What strangers send to our port is in test_floods.py.
"""

import json
import random
import socket
from contextlib import suppress

from floods import ask
from handmade import udp
from tunnel import Tunnel, tunnel
from wgpeer import Peer


def drops(t: Tunnel) -> dict[str, int]:
    return dict(json.loads(ask(t.h1, "wgpy=1").partition("\n")[0].removeprefix("status="))["drops"])


def test_nonsense_read_from_the_tun_is_counted_and_carries_on(other: type[Peer]) -> None:
    with tunnel(other) as t:
        t.subject.ping(t.other.address4)
        dice, before = random.Random(5), drops(t)
        with t.h1.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300) as inject:
            inject.bind(("wg0", 0x0800))
            for number in range(30_000):
                whole = bytearray(udp("10.7.0.1", "10.7.0.2", (1, 7), bytes(number % 1300)))
                whole[dice.randrange(28)] ^= 1 << dice.randrange(8)
                cut = whole[: dice.randrange(1, len(whole) + 1)]
                with suppress(OSError):  # ENOBUFS: its queue is full
                    inject.send(
                        dice.choice((cut, dice.randbytes(number % 1400), bytes((0x45, 0, 0, 0)), b""))
                    )
        t.subject.ping(t.other.address4)
        after = drops(t)
        assert after["tun_malformed"] - before["tun_malformed"] > 1000
        assert t.subject.process is not None
        assert t.subject.process.running
