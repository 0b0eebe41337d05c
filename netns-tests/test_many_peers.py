"""Five hundred peers on one device, each with its session, and a look-up costs none of them anything.

h1: subject 10.7.0.1 ═ 10.99.0.1 ─── 10.99.0.2:random ═ 500 handmade peers 10.20.x.y/32: h2
"""

import statistics
import time
from collections.abc import Iterator

import pytest
from handmade import HandmadePeer, Session, udp
from lab import Namespace, wait_until
from traffic import ECHO_PORT, Echo
from tunnel import LEFT
from wgpeer import PORT, SUBJECT, Peer, Remote

COUNT = 500
US = "10.7.0.1"


def address(number: int) -> str:
    return f"10.20.{number >> 8}.{number & 255}"


@pytest.fixture
def crowd(hosts: tuple[Namespace, Namespace]) -> Iterator[tuple[Peer, list[HandmadePeer]]]:
    h1, h2 = hosts
    subject = SUBJECT(h1, LEFT)
    subject.start()
    h1.ip("route add 10.20.0.0/16 dev wg0")
    peers = [HandmadePeer(h2, ("10.99.0.1", PORT), subject.keys.public, "10.99.0.2") for _ in range(COUNT)]
    subject.configure([Remote(peer.keys.public, [address(n)]) for n, peer in enumerate(peers)])
    yield subject, peers
    for peer in peers:
        peer.close()


def ask(peer: HandmadePeer, session: Session, number: int) -> float:
    """Seconds until the echo of h1 came back to this peer's session."""
    question = udp(address(number), US, (9, ECHO_PORT), f"peer {number}".encode())
    start = time.perf_counter()
    peer.send(session.seal(question))
    answer = peer.receive_inner(session)
    assert f"peer {number}".encode() in answer
    return time.perf_counter() - start


def test_every_peer_has_a_session_of_its_own(crowd: tuple[Peer, list[HandmadePeer]]) -> None:
    subject, peers = crowd
    start = time.monotonic()
    sessions = [peer.shake_hands() for peer in peers]
    print(f"{COUNT} handshakes in {time.monotonic() - start:.1f} s")
    with Echo(subject.host, US):
        took = [ask(peer, sessions[n], n) for n, peer in enumerate(peers)]
        took += [ask(peer, sessions[n], n) for n, peer in reversed(list(enumerate(peers)))]
    print(f"echo: median {statistics.median(took) * 1e6:.0f} us, at most {max(took) * 1e6:.0f} us")
    lines = subject.host.run("wg", "show", "wg0", "dump").splitlines()[1:]
    assert len(lines) == COUNT
    assert all(int(line.split("\t")[4]) > 0 for line in lines)


def test_half_of_them_removed_leaves_the_other_half(crowd: tuple[Peer, list[HandmadePeer]]) -> None:
    subject, peers = crowd
    sessions = {n: peer.shake_hands() for n, peer in enumerate(peers) if n % 10 == 0}
    gone = [word for n in range(0, COUNT, 20) for word in ("peer", peers[n].keys.public, "remove")]
    subject.wg(*gone)
    with Echo(subject.host, US) as echo:
        for n in range(10, COUNT, 20):
            ask(peers[n], sessions[n], n)
        heard = len(echo.heard)
        for n in range(0, COUNT, 20):
            peers[n].send(sessions[n].seal(udp(address(n), US, (9, ECHO_PORT), b"gone")))
        ask(peers[10], sessions[10], 10)
        assert len(echo.heard) == heard + 1


def test_stock_wg_configures_and_lists_them_quickly(crowd: tuple[Peer, list[HandmadePeer]]) -> None:
    subject, peers = crowd
    shown = subject.host.run("wg", "showconf", "wg0")
    subject.host.run("wg", "syncconf", "wg0", "/dev/stdin", stdin=shown, timeout=10)
    wait_until(lambda: len(subject.host.run("wg", "show", "wg0", "peers").split()) == len(peers), 5, "all")
