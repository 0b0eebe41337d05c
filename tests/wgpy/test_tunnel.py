"""The core's verbs, and each trap of the protocol digest by name; assertions are on actions."""

import base64
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import vectors
from support.fake_dataplane import Transport
from support.seeded import seeded_bytes
from support.world import OTHER, Host, World, pair

from wgpy import crypto
from wgpy.actions import (
    Action,
    ClearKeypairs,
    ClearSource,
    DropStaged,
    Flush,
    InstallKeypair,
    PeerAuthenticated,
    SendHandshake,
    SessionStands,
    StopSending,
    TickAt,
)
from wgpy.constants import MILLISECOND
from wgpy.errors import AuthenticationError, RemoteError, ReplayError, StateError, UnknownPeer
from wgpy.index import SeededIndices
from wgpy.model import (
    SECOND,
    Endpoint,
    Instant,
    PeerNumber,
    PresharedKey,
    PrivateKey,
    PskKind,
    PublicKey,
    SocketAddress,
    WallTime,
)
from wgpy.timers import Activity
from wgpy.tunnel import Tunnel

NOW = Instant(1_000 * SECOND)
WALL = WallTime(1_700_000_000 * SECOND)
HERE = Endpoint(SocketAddress(IPv4Address("192.0.2.1"), 51820))
THERE = Endpoint(SocketAddress(IPv4Address("192.0.2.2"), 51820))
STAGED = Activity(staged=1)


class End:
    """A core without any world around it."""

    def __init__(self, seed: int) -> None:
        self.random = seeded_bytes(seed)
        self.indices = SeededIndices(self.random)
        self.tunnel = Tunnel(self.indices, self.random)
        self.tunnel.set_private_key(PrivateKey(self.random(32)), NOW)
        assert self.tunnel.identity is not None
        self.public_key = self.tunnel.identity.public_key
        self.tunnel.device_up(NOW, WALL, {})

    def know(self, other: "End", psk: bytes = bytes(32)) -> None:
        self.tunnel.add_peer(OTHER, other.public_key, PresharedKey(psk))
        self.tunnel.set_endpoint_known(OTHER)

    def initiation(self, now: int = NOW, wall: int = WALL) -> bytes:
        self.tunnel.want_session(OTHER, Instant(now), WallTime(wall), STAGED)
        return self.message()

    def message(self) -> bytes:
        (message,) = (a.message for a in self.tunnel.take_actions() if isinstance(a, SendHandshake))
        return message

    def receive(self, message: bytes, now: int = NOW, wall: int = WALL) -> list[Action]:
        self.tunnel.receive(message, HERE, Instant(now), WallTime(wall))
        return self.tunnel.take_actions()

    def refuses(self, message: bytes, error: type[RemoteError], now: int = NOW) -> None:
        before = state_of(self)
        with pytest.raises(error):
            self.tunnel.receive(message, HERE, Instant(now), WALL)
        assert self.tunnel.take_actions() == []
        assert state_of(self) == before


def state_of(end: End) -> tuple[object, ...]:
    """Everything a refused message must leave as it was."""
    return (
        *tuple(
            (
                peer.greatest_timestamp,
                peer.last_consumed,
                peer.has_endpoint,
                peer.outstanding
                and (peer.outstanding.sender_index, bytes(peer.outstanding.ephemeral_private)),
                peer.outstanding
                and (bytes(peer.outstanding.state.chaining_key), peer.outstanding.state.hash),
                dict(peer.responses),
                repr(peer.timers),
                peer.cookie_index,
            )
            for peer in end.tunnel.peers()
        ),
        dict(end.indices.owners),
    )


def two(psk: bytes = bytes(32)) -> tuple[End, End]:
    a, b = End(1), End(2)
    a.know(b, psk)
    b.know(a, psk)
    return a, b


def kinds(actions: list[Action]) -> list[type[Action]]:
    return [type(action) for action in actions]


# -- a handshake


def test_a_handshake_asks_for_exactly_these_actions() -> None:
    a, b = two()
    initiation = a.initiation()
    assert len(initiation) == 148
    answered = b.receive(initiation)
    assert kinds(answered) == [PeerAuthenticated, InstallKeypair, SendHandshake]
    authenticated, theirs, response = answered
    assert isinstance(authenticated, PeerAuthenticated)
    assert (authenticated.source, authenticated.length) == (HERE, 148)
    assert isinstance(theirs, InstallKeypair)
    assert not theirs.is_initiator
    assert isinstance(response, SendHandshake)
    finished = a.receive(response.message)
    assert kinds(finished) == [PeerAuthenticated, InstallKeypair, SessionStands, Flush]
    ours, flush = finished[1], finished[3]
    assert isinstance(ours, InstallKeypair)
    assert ours.is_initiator
    assert (ours.send_key, ours.receive_key) == (theirs.receive_key, theirs.send_key)
    assert (ours.local_index, ours.remote_index) == (theirs.remote_index, theirs.local_index)
    assert flush == Flush(OTHER, keepalive=True)  # the key confirmation


def test_the_session_keeps_the_index_of_its_handshake() -> None:
    a, b = two()
    initiation = a.initiation()
    (install,) = (x for x in a.receive(response_to(b, initiation)) if isinstance(x, InstallKeypair))
    assert install.local_index == int.from_bytes(initiation[4:8], "little")
    assert a.indices.owners == {install.local_index: OTHER}


def response_to(end: End, initiation: bytes, now: int = NOW) -> bytes:
    (message,) = (x.message for x in end.receive(initiation, now) if isinstance(x, SendHandshake))
    return message


def test_every_keypair_names_the_kind_of_its_psk() -> None:
    for psk, kind in ((bytes(32), PskKind.NONE), (b"k" * 32, PskKind.CONFIGURED)):
        a, b = two(psk)
        answered = b.receive(a.initiation())
        (install,) = (x for x in answered if isinstance(x, InstallKeypair))
        assert install.psk_kind is kind


def test_confirmation_completes_the_responders_handshake() -> None:
    a, b = two()
    (install,) = (x for x in b.receive(a.initiation()) if isinstance(x, InstallKeypair))
    assert b.tunnel.peer(OTHER).last_handshake == 0
    b.tunnel.session_confirmed(OTHER, install.local_index, NOW, WALL)
    assert b.tunnel.take_actions() == [SessionStands(OTHER, PskKind.NONE), Flush(OTHER, keepalive=False)]
    assert b.tunnel.peer(OTHER).last_handshake == WALL
    b.tunnel.session_confirmed(OTHER, install.local_index, NOW, WALL)
    assert b.tunnel.take_actions() == []


# -- section 15 of the digest


def test_a_hybrid_peer_that_fell_silent_is_asked_again_soon() -> None:
    a, _ = two()
    a.tunnel.set_rosenpass(OTHER, enabled=True, permissive=False)
    a.tunnel.peer(OTHER).last_pq_session = NOW
    silent = Activity(current_birthdate=NOW, is_sendable=True, tx_unanswered=NOW)
    a.tunnel.take_actions()
    a.tunnel.tick(Instant(NOW + 13 * SECOND), WALL, {OTHER: silent})
    a.message()
    a.tunnel.tick(Instant(NOW + 14 * SECOND), WALL, {OTHER: silent})
    assert len(a.message()) == 148


@pytest.mark.parametrize("ago", [5, 3600])
def test_an_authentic_initiation_of_long_ago_makes_a_hybrid_end_call_back_where_the_peer_is(ago: int) -> None:
    """The peer may have been restored from a snapshot together with its clock."""
    a, b = two()
    b.tunnel.set_rosenpass(OTHER, enabled=True, permissive=False)
    b.tunnel.take_actions()
    of_then = a.initiation(NOW, WALL - ago * SECOND)
    resend_ready(a)
    b.receive(a.initiation(NOW + 6 * SECOND))
    (action,) = b.receive(of_then, NOW + 20 * SECOND)
    assert isinstance(action, SendHandshake)
    assert action.message[0] == 1
    assert b.tunnel.due_by(Instant(NOW + 21 * SECOND)) == [OTHER]  # to send it again, if it was lost
    resend_ready(b)
    b.refuses(of_then, ReplayError, NOW + 34 * SECOND)


def test_trap_a_replayed_initiation_is_dropped() -> None:
    a, b = two()
    initiation = a.initiation()
    b.receive(initiation)
    b.refuses(initiation, ReplayError, NOW + 60 * SECOND)


def test_trap_an_older_initiation_is_dropped() -> None:
    a, b = two()
    older = a.initiation()
    newer = a.initiation(NOW + 6 * SECOND, WALL + 6 * SECOND) if resend_ready(a) else b""
    b.receive(newer, NOW + 6 * SECOND)
    b.refuses(older, ReplayError, NOW + 7 * SECOND)


def resend_ready(end: End) -> bool:
    end.tunnel.peer(OTHER).timers.resend_at = None  # as after giving up
    return True


def test_trap_a_flood_of_fresh_initiations_is_held_to_one_per_20_ms() -> None:
    a, b = two()
    b.receive(a.initiation())
    resend_ready(a)
    second = a.initiation(NOW + 5 * SECOND, WALL + 5 * SECOND)
    b.refuses(second, ReplayError, NOW + 20 * MILLISECOND - 1)
    assert b.receive(second, NOW + 20 * MILLISECOND)


def test_trap_a_refused_timestamp_names_both_values() -> None:
    a, b = two()
    initiation = a.initiation()
    b.receive(initiation)
    stamp = b.tunnel.peer(OTHER).greatest_timestamp.hex()
    with pytest.raises(ReplayError, match=f"{stamp}.*{stamp}"):
        b.tunnel.receive(initiation, HERE, Instant(NOW + SECOND), WALL)


def test_trap_a_wall_clock_stepped_back_does_not_lock_us_out() -> None:
    a, b = two()
    b.receive(a.initiation())
    resend_ready(a)
    b.receive(a.initiation(NOW + 6 * SECOND, WALL - 31_536_000 * SECOND), NOW + 6 * SECOND)


def test_trap_an_immediate_new_handshake_has_a_greater_stamp_within_one_whitening_step() -> None:
    a, b = two()
    b.receive(a.initiation())
    later = Instant(NOW + 25 * MILLISECOND)
    a.tunnel.set_preshared_key(OTHER, PresharedKey(b"n" * 32), later, WALL, STAGED)
    b.receive(a.message(), later)


def test_trap_a_stranger_gets_no_answer() -> None:
    _a, b = two()
    stranger = End(3)
    stranger.know(b)
    b.refuses(stranger.initiation(), UnknownPeer)


def test_trap_a_response_nobody_waits_for_is_dropped() -> None:
    a, b = two()
    response = response_to(b, a.initiation())
    a.receive(response)
    a.refuses(response, StateError)
    b.refuses(response, StateError)


def test_trap_a_forged_response_leaves_the_handshake_waiting_for_the_true_one() -> None:
    a, b = two()
    response = response_to(b, a.initiation())
    forged = bytearray(response)
    forged[44] ^= 1
    a.refuses(bytes(forged), AuthenticationError)
    assert a.receive(response)


def test_trap_a_response_to_an_index_that_is_a_keypair_is_dropped() -> None:
    a, b = two()
    a.receive(response_to(b, a.initiation()))
    (index,) = a.indices.owners
    fake = b"\x02\0\0\0" + bytes(4) + index.to_bytes(4, "little") + bytes(80)
    a.refuses(fake, StateError)


def test_trap_low_order_peers_are_kept_and_never_spoken_to() -> None:
    for point in vectors.shared("wireguard/low_order_points.json")["points"]:
        end = End(1)
        end.tunnel.add_peer(OTHER, PublicKey(base64.b64decode(point)))
        end.tunnel.set_endpoint_known(OTHER)
        end.tunnel.set_persistent_keepalive(OTHER, 1, NOW, WALL)
        end.tunnel.want_session(OTHER, NOW, WALL, STAGED)
        for second in range(1, 40):
            end.tunnel.tick(Instant(NOW + second * SECOND), WALL, {OTHER: STAGED})
        assert end.tunnel.take_actions() == []


def test_trap_a_removed_peer_is_not_resurrected_by_a_message_in_flight() -> None:
    a, b = two()
    initiation = a.initiation()
    response = response_to(b, initiation)
    a.tunnel.remove_peer(OTHER)
    a.refuses(response, StateError)
    a.tunnel.session_confirmed(OTHER, 1, NOW, WALL)
    a.tunnel.want_session(OTHER, NOW, WALL, STAGED)
    a.tunnel.tick(Instant(NOW + 600 * SECOND), WALL, {OTHER: STAGED})
    assert a.tunnel.take_actions() == []
    assert a.indices.owners == {}
    assert a.tunnel.next_deadline() is None


def test_trap_removing_a_peer_takes_its_pending_actions_along_and_wipes_their_keys() -> None:
    a, b = two()
    b.tunnel.receive(a.initiation(), HERE, NOW, WALL)
    install = next(x for x in b.tunnel.take_actions() if isinstance(x, InstallKeypair))
    assert any(install.send_key)
    resend_ready(a)
    b.tunnel.receive(a.initiation(NOW + 6 * SECOND), HERE, Instant(NOW + 6 * SECOND), WALL)
    b.tunnel.remove_peer(OTHER)
    assert b.tunnel.take_actions() == []


def test_peers_that_come_and_go_leave_no_deadlines_behind() -> None:
    """An entry of the heap would stay for 540 s: a churn of 300 handshakes a second would hold 7 MB."""
    end, other = End(1), End(2)
    for number in range(320):
        end.know(other)
        end.tunnel.set_persistent_keepalive(OTHER, 25, Instant(NOW + number), WALL)
        end.tunnel.remove_peer(OTHER)
    assert len(end.tunnel._agenda) < 300
    world, a, _ = pair()
    a.send(OTHER, b"x")
    world.run(10 * SECOND)
    deadline = a.tunnel.next_deadline()
    a.tunnel._agenda.drop_stale()
    assert deadline is not None
    assert a.tunnel.next_deadline() == deadline


def test_trap_a_keepalive_is_not_answered_by_a_keepalive() -> None:
    world, a, b = pair()
    a.dataplane.peers[OTHER].current = None
    a.send(OTHER, b"x")
    world.run(30 * SECOND)
    sent = [host.dataplane.peers[OTHER].current for host in (a, b)]
    counters = [keypair.counter for keypair in sent if keypair]
    world.run(120 * SECOND)
    assert counters == [keypair.counter for keypair in sent if keypair]
    assert sum(counters) == 2  # the data, and the one keepalive that answered it


def test_trap_the_responder_does_not_send_before_confirmation() -> None:
    world, a, b = pair()
    world.link.drop = lambda sender, datagram: isinstance(datagram, Transport)
    a.send(OTHER, b"x")
    world.run(SECOND)
    b.send(OTHER, b"y")
    assert b.dataplane.peers[OTHER].current is None
    assert len(b.dataplane.peers[OTHER].staged) == 1


def test_trap_collision_completes_on_either_response() -> None:
    world, a, b = pair()
    a.send(OTHER, b"from a")
    b.send(OTHER, b"from b")
    world.run(100 * MILLISECOND)
    assert a.received() == [b"from b"]
    assert b.received() == [b"from a"]
    assert a.initiations == b.initiations == 1


# -- timers through the core


def test_twenty_initiations_go_out_and_then_the_staged_packets_are_dropped() -> None:
    world, a, _b = pair()
    world.link.is_cut = True
    a.send(OTHER, b"x")
    world.run(120 * SECOND)
    assert a.initiations == 20
    assert a.dataplane.peers[OTHER].tx_dropped == 1
    assert a.dataplane.peers[OTHER].source_clears == 19
    world.run(600 * SECOND)
    assert a.initiations == 20
    assert a.tunnel.peer(OTHER).outstanding is None  # zeroed
    assert a.dataplane.indices.owners == {}


def test_at_least_5_s_lie_between_handshake_messages() -> None:
    a, _b = two()
    a.initiation()
    resend_ready(a)
    a.tunnel.want_session(OTHER, Instant(NOW + 5 * SECOND - 1), WALL, STAGED)
    assert a.tunnel.take_actions() == []
    a.tunnel.want_session(OTHER, Instant(NOW + 5 * SECOND), WALL, STAGED)
    assert kinds(a.tunnel.take_actions()) == [SendHandshake]


def test_a_response_counts_for_the_spacing_too() -> None:
    a, b = two()
    b.receive(a.initiation())
    b.tunnel.want_session(OTHER, Instant(NOW + SECOND), WALL, STAGED)
    assert b.tunnel.take_actions() == []


def test_new_data_keeps_a_handshake_from_giving_up() -> None:
    a, _ = two()
    a.initiation()
    a.tunnel.peer(OTHER).timers.attempts = 18
    a.tunnel.want_session(OTHER, Instant(NOW + SECOND), WALL, STAGED)
    assert a.tunnel.peer(OTHER).timers.attempts == 0


def test_without_an_endpoint_nothing_is_sent_and_no_index_taken() -> None:
    a, b = End(1), End(2)
    a.tunnel.add_peer(OTHER, b.public_key)
    a.tunnel.want_session(OTHER, NOW, WALL, STAGED)
    a.tunnel.set_persistent_keepalive(OTHER, 1, NOW, WALL)
    a.tunnel.tick(Instant(NOW + 10 * SECOND), WALL, {OTHER: STAGED})
    assert a.tunnel.take_actions() == []
    assert a.indices.owners == {}


def test_an_incoming_handshake_makes_the_endpoint_known() -> None:
    a, b = End(1), End(2)
    a.know(b)
    b.tunnel.add_peer(OTHER, a.public_key)
    b.receive(a.initiation())
    b.tunnel.want_session(OTHER, Instant(NOW + 6 * SECOND), WALL, STAGED)
    assert kinds(b.tunnel.take_actions()) == [SendHandshake]


def test_persistent_keepalive_from_off_to_on_sends_at_once() -> None:
    a, _ = two()
    live = Activity(current_birthdate=NOW, is_sendable=True, last_tx_auth=NOW, last_rx_auth=NOW)
    a.tunnel.set_persistent_keepalive(OTHER, 25, NOW, WALL, live)
    assert a.tunnel.take_actions() == [Flush(OTHER, keepalive=True)]
    a.tunnel.set_persistent_keepalive(OTHER, 20, NOW, WALL, live)
    assert a.tunnel.take_actions() == []


def test_a_change_of_something_else_sends_no_keepalive() -> None:
    a, _ = two()
    live = Activity(current_birthdate=NOW, is_sendable=True, last_tx_auth=NOW, last_rx_auth=NOW)
    a.tunnel.set_persistent_keepalive(OTHER, 25, NOW, WALL, live)
    a.tunnel.take_actions()
    a.tunnel.start_peer(OTHER, NOW, WALL, live)
    assert a.tunnel.take_actions() == [Flush(OTHER, keepalive=False)]


def test_a_device_that_comes_up_sends_the_persistent_keepalives() -> None:
    a, _ = two()
    a.tunnel.device_down()
    a.tunnel.set_persistent_keepalive(OTHER, 25, NOW, WALL)
    a.tunnel.take_actions()
    a.tunnel.device_up(NOW, WALL, {})
    assert kinds(a.tunnel.take_actions()) == [SendHandshake]


def test_persistent_keepalive_without_a_session_starts_a_handshake() -> None:
    a, _ = two()
    a.tunnel.set_persistent_keepalive(OTHER, 25, NOW, WALL)
    assert kinds(a.tunnel.take_actions()) == [SendHandshake]


# -- device and identity


def test_a_device_that_is_down_sends_and_takes_nothing() -> None:
    a, b = two()
    initiation = a.initiation()
    b.tunnel.device_down()
    assert b.tunnel.take_actions() == [DropStaged(OTHER), ClearKeypairs(OTHER)]
    b.refuses(initiation, StateError)
    b.tunnel.want_session(OTHER, NOW, WALL, STAGED)
    b.tunnel.tick(Instant(NOW + 600 * SECOND), WALL, {OTHER: STAGED})
    assert b.tunnel.take_actions() == []
    assert b.tunnel.next_deadline() is None


def test_up_after_down_may_handshake_at_once() -> None:
    a, _ = two()
    a.initiation()
    a.tunnel.device_down()
    a.tunnel.take_actions()
    a.tunnel.device_up(Instant(NOW + 1), WALL, {OTHER: STAGED})
    assert kinds(a.tunnel.take_actions()) == [SendHandshake]


def test_the_replay_floor_survives_down_and_up() -> None:
    a, b = two()
    initiation = a.initiation()
    b.receive(initiation)
    b.tunnel.device_down()
    b.tunnel.device_up(NOW, WALL, {})
    b.tunnel.take_actions()
    b.refuses(initiation, ReplayError, NOW + 60 * SECOND)


def test_a_new_private_key_stops_sending_and_may_handshake_at_once() -> None:
    a, _ = two()
    a.initiation()
    new = PrivateKey(crypto.clamp(b"n" * 32))
    a.tunnel.set_private_key(new, NOW)
    assert a.tunnel.take_actions() == [StopSending(OTHER)]
    a.tunnel.want_session(OTHER, Instant(NOW + 1), WALL, STAGED)
    assert kinds(a.tunnel.take_actions()) == [SendHandshake]


def test_the_same_private_key_again_changes_nothing() -> None:
    a, _ = two()
    assert a.tunnel.identity is not None
    a.tunnel.set_private_key(a.tunnel.identity.private_key, NOW)
    assert a.tunnel.take_actions() == []


def test_a_peer_with_our_new_public_key_is_removed() -> None:
    a, b = two()
    assert b.tunnel.identity is not None
    removed = a.tunnel.set_private_key(b.tunnel.identity.private_key, NOW)
    assert removed is not None
    assert removed.number == OTHER
    assert a.tunnel.peers() == []


def test_without_a_private_key_nothing_is_initiated_or_consumed() -> None:
    a, b = two()
    initiation = a.initiation()
    b.tunnel.set_private_key(None, NOW)
    b.tunnel.take_actions()
    b.refuses(initiation, StateError)
    b.tunnel.want_session(OTHER, NOW, WALL, STAGED)
    assert b.tunnel.take_actions() == []


# -- preshared keys


def test_a_new_psk_starts_a_handshake_at_once_and_touches_no_session() -> None:
    a, b = two()
    a.receive(response_to(b, a.initiation()))
    live = Activity(current_birthdate=NOW, is_sendable=True, is_initiator=True)
    later = Instant(NOW + 25 * MILLISECOND)
    a.tunnel.set_preshared_key(OTHER, PresharedKey(b"n" * 32), later, WALL, live)
    assert kinds(a.tunnel.take_actions()) == [SendHandshake]


def test_a_new_psk_within_20_ms_of_an_initiation_waits_until_the_peer_takes_another() -> None:
    a, b = two()
    a.receive(response_to(b, a.initiation()))
    live = Activity(current_birthdate=NOW, is_sendable=True, is_initiator=True)
    soon, later = Instant(NOW + 10 * MILLISECOND), Instant(NOW + 25 * MILLISECOND)
    a.tunnel.set_preshared_key(OTHER, PresharedKey(b"n" * 32), soon, WALL, live)
    assert a.tunnel.take_actions() == [TickAt(OTHER, later)]
    assert a.tunnel.next_deadline() == later
    a.tunnel.tick(Instant(later - 1), WALL, {OTHER: live})
    assert a.tunnel.take_actions() == []
    a.tunnel.tick(later, WALL, {OTHER: live})
    b.receive(a.message(), later)
    a.tunnel.tick(Instant(later + 1), WALL, {OTHER: live})
    assert a.tunnel.take_actions() == []


def test_a_new_psk_on_a_quiet_peer_waits_for_the_next_handshake() -> None:
    a, _ = two()
    a.tunnel.set_preshared_key(OTHER, PresharedKey(b"n" * 32), NOW, WALL)
    assert a.tunnel.take_actions() == []


def test_a_response_under_the_replaced_psk_still_completes() -> None:
    a, b = two(b"o" * 32)
    response = response_to(b, a.initiation())
    a.tunnel.set_preshared_key(OTHER, PresharedKey(b"n" * 32), NOW, WALL)
    assert InstallKeypair in kinds(a.receive(response, NOW + SECOND))


# -- cookies


def test_a_cookie_reply_is_used_by_the_next_resend() -> None:
    a, b = two()
    initiation = a.initiation()
    cookie_key = crypto.hash_(b"cookie--", b.public_key)
    sealed = crypto.xaead_seal(cookie_key, bytes(24), b"c" * 16, initiation[116:132])
    reply = b"\x03\0\0\0" + initiation[4:8] + bytes(24) + sealed
    assert a.receive(reply) == []  # nothing is resent at once, nobody roams
    a.tunnel.tick(Instant(NOW + 6 * SECOND), WALL, {OTHER: STAGED})
    actions = a.tunnel.take_actions()
    assert kinds(actions) == [ClearSource, SendHandshake]
    message = next(x.message for x in actions if isinstance(x, SendHandshake))
    assert crypto.mac(b"c" * 16, message[:132]) == message[132:]


def test_a_cookie_reply_to_a_response_is_taken_too() -> None:
    a, b = two()
    response = response_to(b, a.initiation())
    cookie_key = crypto.hash_(b"cookie--", a.public_key)
    sealed = crypto.xaead_seal(cookie_key, bytes(24), b"c" * 16, response[60:76])
    b.receive(b"\x03\0\0\0" + response[4:8] + bytes(24) + sealed)
    b.refuses(b"\x03\0\0\0" + response[4:8] + bytes(24) + sealed, StateError)


def test_trap_even_a_genuine_cookie_reply_from_elsewhere_moves_no_endpoint() -> None:
    a, b = two()
    initiation = a.initiation()
    cookie_key = crypto.hash_(b"cookie--", b.public_key)
    sealed = crypto.xaead_seal(cookie_key, bytes(24), b"c" * 16, initiation[116:132])
    elsewhere = Endpoint(SocketAddress(IPv4Address("203.0.113.9"), 9))
    reply = b"\x03\0\0\0" + initiation[4:8] + bytes(24) + sealed
    a.tunnel.receive(reply, elsewhere, NOW, WALL)
    assert a.tunnel.take_actions() == []  # no PeerAuthenticated, which is what roams
    a.tunnel.tick(Instant(NOW + 6 * SECOND), WALL, {OTHER: STAGED})
    assert kinds(a.tunnel.take_actions()) == [ClearSource, SendHandshake]  # and it was taken


# -- totality


@settings(max_examples=200)
@given(st.binary(max_size=160))
def test_arbitrary_bytes_are_refused_and_change_nothing(datagram: bytes) -> None:
    a, _b = two()
    a.initiation()
    a.refuses(datagram, RemoteError)


@settings(max_examples=100)
@given(st.sampled_from([148, 92, 64]), st.binary(min_size=140, max_size=140), st.booleans())
def test_well_shaped_nonsense_is_refused_and_changes_nothing(
    length: int, filling: bytes, aims_at_us: bool
) -> None:
    a, _b = two()
    initiation = a.initiation()
    kind = {148: 1, 92: 2, 64: 3}[length]
    middle = filling[:4] + initiation[4:8] if kind == 2 else initiation[4:8]
    body = (middle if aims_at_us else b"") + filling
    a.refuses((bytes([kind, 0, 0, 0]) + body + bytes(8))[:length], RemoteError)


@settings(max_examples=100)
@given(st.integers(min_value=0, max_value=91), st.integers(min_value=1, max_value=255))
def test_a_mangled_response_changes_nothing(position: int, flip: int) -> None:
    a, b = two()
    response = bytearray(response_to(b, a.initiation()))
    response[position] ^= flip
    if 4 <= position < 8 or position >= 60:
        return  # the sender index is the responder's to choose; the macs are C's to check
    a.refuses(bytes(response), RemoteError)


# -- what the edge relies on


def test_deadlines_name_the_peer_once() -> None:
    a, _ = two()
    a.initiation()
    deadline = a.tunnel.next_deadline()
    assert deadline is not None
    assert a.tunnel.due_by(Instant(deadline - 1)) == []
    assert a.tunnel.due_by(deadline) == [OTHER]
    assert a.tunnel.due_by(deadline) == []


def test_what_came_due_while_the_device_was_down_is_due_when_it_is_up() -> None:
    a, b = End(1), End(2)
    a.tunnel.add_peer(OTHER, b.public_key)
    a.tunnel.set_rosenpass(OTHER, enabled=True, permissive=False)
    a.tunnel.rosenpass_confirmed(OTHER, b"o" * 32, NOW, WALL)
    a.tunnel.device_down()
    later = Instant(NOW + 5 * SECOND)
    assert a.tunnel.due_by(later) == []
    a.tunnel.device_up(later, WALL, {})
    assert a.tunnel.due_by(later) == [OTHER]


def test_a_deadline_that_moved_away_leaves_the_next_one_standing() -> None:
    a, b = two()
    for end in (a, b):
        end.tunnel.set_rosenpass(OTHER, enabled=True, permissive=False)
    a.tunnel.rosenpass_pending(OTHER, b"o" * 32, NOW)
    a.receive(response_to(b, a.initiation()))
    a.tunnel.rosenpass_stale(OTHER)  # takes the follow-up along, which came before all else
    zeroing = Instant(NOW + 540 * SECOND)
    while (moment := a.tunnel.next_deadline()) is not None and moment < zeroing:
        a.tunnel.tick(moment, WALL, dict.fromkeys(a.tunnel.due_by(moment), Activity()))
    assert a.tunnel.next_deadline() == zeroing


def test_an_unknown_number_in_an_event_is_ignored() -> None:
    a, _ = two()
    a.tunnel.want_session(PeerNumber(99), NOW, WALL)
    a.tunnel.session_confirmed(PeerNumber(99), 5, NOW, WALL)
    a.tunnel.tick(NOW, WALL, {PeerNumber(99): STAGED})
    assert a.tunnel.take_actions() == []


def test_the_initiators_keys_never_reach_a_log() -> None:
    a, b = two()
    (install,) = (x for x in b.receive(a.initiation()) if isinstance(x, InstallKeypair))
    assert install.send_key.hex() not in repr(install)
    assert repr(a.tunnel.peer(OTHER)).startswith("peer(")


def test_five_hundred_peers_on_one_device_all_handshake() -> None:
    world = World()
    hub = world.host("hub", "192.0.2.1")
    spokes: list[Host] = []
    for number in range(500):
        spoke = world.host(f"s{number}", f"198.51.{number // 250}.{number % 250 + 1}")
        spoke.add_peer(hub)
        hub.add_peer(spoke, with_endpoint=False)
        spokes.append(spoke)
    hub.up()
    for spoke in spokes:
        spoke.up()
        spoke.send(OTHER, spoke.name.encode())
    world.run(2 * SECOND)
    for number, spoke in enumerate(spokes):
        assert hub.received(PeerNumber(number)) == [spoke.name.encode()]
