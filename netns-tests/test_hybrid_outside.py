"""The exchange outside the tunnel, as `rosenpass` runs it, with wgpy at both ends.

h1: a 10.7.0.1 ═ 10.99.0.1, fd99::1 ─── 10.99.0.2, fd99::2 ═ 10.7.0.2 b: h2
                 :51821 ────────────────────── :51821 the exchange
"""

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

import pytest
from hybrid import FAST_ROTATION, hybrid, up_together, wait_for_rotations, wait_for_yes
from lab import Namespace

INIT_HELLO = 0x81
ATTACKER = "10.99.0.66"
PER_SECOND = 15_000  # the lab has two cores for all


@contextmanager
def flood(host: Namespace, datagrams: Sequence[bytes], port: int) -> Iterator[None]:
    """The datagrams over and over."""
    ended = threading.Event()
    attacker = host.socket(socket.AF_INET, socket.SOCK_DGRAM)
    attacker.bind((ATTACKER, 0))
    attacker.connect(("10.99.0.1", port))

    def send() -> None:
        for number, datagram in enumerate(cycle(datagrams)):
            if number % 150 == 0 and ended.wait(150 / PER_SECOND):
                return
            with suppress(OSError):
                attacker.send(datagram)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        attacker.close()


@pytest.mark.parametrize("hosts", [("10.99.0.1", "10.99.0.2"), ("[fd99::1]", "[fd99::2]")], ids=["v4", "v6"])
def test_exchange_starts_and_renews_outside_the_tunnel(tmp_path: Path, hosts: tuple[str, str]) -> None:
    with hybrid(tmp_path, environment=FAST_ROTATION) as (a, b):
        a.peers[0].extra = f"RosenpassEndpoint = {hosts[1]}:51821"
        b.peers[0].extra = f"RosenpassEndpoint = {hosts[0]}:51821"
        up_together(a, b)
        wait_for_yes(a, b)
        wait_for_rotations(a, 2, within=20)
        assert a.reaches(b.address4)
        b.kill()  # the link of the other stays up: what it sends now must not go into it
        b.quick.wgpy("down", b.write())
        b.up()
        wait_for_yes(b)


def test_end_that_only_answers_is_asked_by_the_other(tmp_path: Path) -> None:
    with hybrid(tmp_path) as (a, b):
        a.peers[0].extra = "RosenpassEndpoint = none"
        b.peers[0].extra = "RosenpassEndpoint = 10.99.0.1:51821"
        a.up()
        b.up()
        wait_for_yes(a, b)


def test_garbage_for_the_exchange_is_counted_and_delays_no_renewal(tmp_path: Path) -> None:
    with hybrid(tmp_path, environment=FAST_ROTATION) as (a, b):
        a.peers[0].extra = "RosenpassEndpoint = 10.99.0.2:51821"
        b.peers[0].extra = "RosenpassEndpoint = 10.99.0.1:51821"
        b.host.add_address("eth0", f"{ATTACKER}/24")
        up_together(a, b)
        wait_for_yes(a, b)
        hello = bytes([INIT_HELLO, 0, 0, 0])
        garbage = [os.urandom(100), os.urandom(1092), hello + os.urandom(1088), hello + os.urandom(1172)]
        with flood(b.host, garbage, port=51821):
            wait_for_rotations(a, 2, within=20)
            assert a.reaches(b.address4)
        drops = a.state()["drops"]
        assert drops["exchange_malformed"] + drops["exchange_authentication"] + drops["exchange_full"] > 500
        assert drops["exchange_overflow"] > 1000  # the kernel thins them out
