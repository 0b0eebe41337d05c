"""What comes out of the tunnel is only what its sender may say, and only whole IP packets.

    h1: subject 10.7.0.1, fd07::1 ═ 10.99.0.1 ─── 10.99.0.2 ═ alice 10.7.1.0/24                    :h2
                                                            ═ bob   10.7.1.64/26 and fd07:b::/64

Alice and Bob are made by hand, so that they can say what no honest peer would.
"""

import struct
from collections.abc import Iterator

import pytest
from capture import Capture
from handmade import DATA, HandmadePeer, Session, ipv4, ipv6, udp
from lab import LabError, Namespace, wait_until
from traffic import ECHO_PORT, Echo
from tunnel import LEFT
from wgpeer import PORT, SUBJECT, Peer, Remote

ALICE, BOB, BOB6, CAROL = "10.7.1.1", "10.7.1.65", "fd07:b::1", "10.9.9.9"
US, US6 = "10.7.0.1", "fd07::1"


class Scene:
    """The subject on h1 with two handmade peers on h2, sessions standing."""

    def __init__(self, h1: Namespace, h2: Namespace) -> None:
        self.h1 = h1
        self.subject: Peer = SUBJECT(h1, LEFT)
        self.subject.start()
        make = lambda: HandmadePeer(h2, ("10.99.0.1", PORT), self.subject.keys.public, "10.99.0.2")  # noqa: E731
        self.alice, self.bob = make(), make()
        self.subject.configure(
            [
                Remote(self.alice.keys.public, ["10.7.1.0/24"]),
                Remote(self.bob.keys.public, ["10.7.1.64/26", "fd07:b::/64"]),
            ]
        )
        h1.ip("route add 10.7.1.0/24 dev wg0")
        h1.ip("route add fd07:b::/64 dev wg0")
        h1.ip("route add 10.9.9.0/24 dev wg0")
        self.as_alice, self.as_bob = self.alice.shake_hands(), self.bob.shake_hands()

    def delivered(self, sender: HandmadePeer, session: Session, packets: list[bytes]) -> list[bytes]:
        """What the subject writes into its TUN of these; a last honest packet marks the end."""
        end = udp(ALICE if sender is self.alice else BOB, US, (9, 9), b"end of the list")
        with Capture(self.h1, "wg0", direction="in") as inside:
            for packet in (*packets, end):
                sender.send(session.seal(packet))
            wait_until(lambda: any(p.data == end for p in inside.packets()), 5, "the last packet")
            return [p.data for p in inside.packets() if p.data != end]


@pytest.fixture
def scene(hosts: tuple[Namespace, Namespace]) -> Iterator[Scene]:
    made = Scene(*hosts)
    yield made
    made.alice.close()
    made.bob.close()


def test_honest_packets_are_delivered_as_they_are(scene: Scene) -> None:
    four, six = udp(BOB, US, (1, 2), b"four"), udp(BOB6, US6, (1, 2), b"six, an odd one")
    padded = udp(BOB, US, (3, 2), b"padded")
    assert scene.delivered(scene.bob, scene.as_bob, [four, six, padded + bytes(16)]) == [four, six, padded]


def test_source_of_nobody_or_of_another_peer_is_dropped(scene: Scene) -> None:
    spoofed = [
        udp(source, US, (1, 2), b"spoofed") for source in (CAROL, BOB, US, "0.0.0.0", "255.255.255.255")
    ]
    spoofed += [udp(source, US6, (1, 2), b"spoofed") for source in (BOB6, US6, "::", "::ffff:10.7.1.1")]
    assert scene.delivered(scene.alice, scene.as_alice, spoofed) == []


def test_more_specific_prefix_of_the_other_peer_decides(scene: Scene) -> None:
    """Alice owns 10.7.1.0/24 but for Bob's 10.7.1.64/26 inside it."""
    mine = udp("10.7.1.63", US, (1, 2), b"mine")
    assert scene.delivered(scene.alice, scene.as_alice, [mine, udp("10.7.1.64", US, (1, 2), b"no")]) == [mine]


def test_malformed_inner_packets_are_dropped(scene: Scene) -> None:
    good4, good6 = udp(BOB, US, (1, 2), bytes(40)), udp(BOB6, US6, (1, 2), bytes(40))
    bad = [bytes((version << 4 | 5,)) + good4[1:] for version in (0, 1, 5, 7, 15)]
    bad += [good4[:length] for length in (1, 2, 3, 4, 8, 19, 20, 27, 67)]
    bad += [good6[:length] for length in (1, 4, 6, 39, 40, 47, 87)]
    bad += [ipv4(BOB, US, bytes(8), length=length) for length in (0, 1, 19, 29, 1500, 65535)]
    bad += [ipv6(BOB6, US6, bytes(8), length=length) for length in (9, 1500, 65535)]
    bad += [bytes(size) for size in (1, 16, 20, 40, 1420)]
    assert scene.delivered(scene.bob, scene.as_bob, bad) == []


def test_bad_packets_do_not_end_the_session(scene: Scene) -> None:
    with Echo(scene.h1, US):
        for junk in (b"\x45", bytes(1420), ipv4(CAROL, US, bytes(8)), b"\xff" * 1420):
            scene.bob.send(scene.as_bob.seal(junk))
        question = udp(BOB, US, (5, ECHO_PORT), b"still there?")
        scene.bob.send(scene.as_bob.seal(question))
        answer = scene.bob.receive_inner(scene.as_bob)
        assert answer[28:40] == b"still there?"


def test_answers_go_to_the_owner_of_the_longest_prefix(scene: Scene) -> None:
    with Echo(scene.h1, US), Echo(scene.h1, US6):
        scene.bob.send(scene.as_bob.seal(udp(BOB, US, (5, ECHO_PORT), b"bob's")))
        assert b"bob's" in scene.bob.receive_inner(scene.as_bob)
        scene.alice.send(scene.as_alice.seal(udp(ALICE, US, (5, ECHO_PORT), b"alice's")))
        assert b"alice's" in scene.alice.receive_inner(scene.as_alice)
        scene.bob.send(scene.as_bob.seal(udp(BOB6, US6, (5, ECHO_PORT), b"six")))
        assert b"six" in scene.bob.receive_inner(scene.as_bob)


def test_moved_prefix_counts_at_once_in_both_directions(scene: Scene) -> None:
    packet = udp(BOB, US, (5, ECHO_PORT), b"whose?")
    scene.subject.wg("peer", scene.alice.keys.public, "allowed-ips", "10.7.1.0/24,10.7.1.64/26")
    with Echo(scene.h1, US) as echo:
        scene.bob.send(scene.as_bob.seal(packet))
        with pytest.raises(LabError, match="no message of type 4"):
            scene.bob.receive(DATA, within=0.3)
        scene.alice.send(scene.as_alice.seal(packet))
        assert b"whose?" in scene.alice.receive_inner(scene.as_alice)
        assert echo.heard == [b"whose?"]


def test_destination_of_nobody_is_refused_with_an_icmp_error(scene: Scene) -> None:
    """As the kernel module does, and no other userspace implementation."""
    answer = scene.h1.result("ping", "-c1", "-W2", CAROL)
    assert "Destination Host Unreachable" in answer.stdout
    scene.h1.ip("route add fd07:c::/64 dev wg0")
    answer = scene.h1.result("ping", "-c1", "-W2", "fd07:c::1")
    assert "Address unreachable" in answer.stdout


def test_replayed_and_exhausted_counters_are_dropped(scene: Scene) -> None:
    packet = udp(BOB, US, (1, 2), b"once")
    sealed = scene.as_bob.seal(packet, counter=5000)  # each of its own flow, lest they merge in the TUN
    limit = (1 << 64) - (1 << 13) - 1
    with Capture(scene.h1, "wg0", direction="in") as inside:
        for datagram in (sealed, sealed, sealed):
            scene.bob.send(datagram)
        for counter in (limit, limit + 1, (1 << 64) - 1):
            scene.bob.send(scene.as_bob.seal(udp(BOB, US, (1, 2), b"too late"), counter=counter))
        late = udp(BOB, US, (3, 2), b"old but new")
        scene.bob.send(scene.as_bob.seal(late, counter=4000))
        wait_until(lambda: any(p.data == late for p in inside.packets()), 5, "the packet inside the window")
        assert [p.data for p in inside.packets()] == [packet, late]


def test_replay_window_is_8128_wide(scene: Scene) -> None:
    with Capture(scene.h1, "wg0", direction="in") as inside:
        top = 20_000
        numbers = [top, top - 8128, top - 8129, top - 8127]
        for number in numbers:
            packet = udp(BOB, US, (number % 100, 2), struct.pack(">I", number))
            scene.bob.send(scene.as_bob.seal(packet, counter=number))
        wait_until(lambda: len(inside.packets()) >= 3, 5, "three packets")
        heard = [struct.unpack(">I", p.data[28:32])[0] for p in inside.packets()]
        assert heard == [top, top - 8128, top - 8127]
