"""Two cores on a lossy link: half an hour of simulated clock per test, and a day where it matters."""

import random

import pytest
from support.fake_dataplane import Datagram, Transport
from support.seeded import seeded_bytes
from support.world import EPOCH, OTHER, Host, World, pair

from wgpy.constants import MILLISECOND
from wgpy.model import SECOND, PresharedKey, PskKind
from wgpy.psk_ring import netbird_seed

HALF_HOUR = 1_800


def talk(world: World, a: Host, b: Host, seconds: int) -> tuple[int, int]:
    """Both send a numbered packet each second; returns how many of each reached the other."""
    before = len(a.received()), len(b.received())
    for number in range(seconds):
        a.send(OTHER, b"a%d" % number)
        b.send(OTHER, b"b%d" % number)
        world.run(SECOND)
    world.run(SECOND)
    return len(b.received()) - before[1], len(a.received()) - before[0]


def test_a_day_of_rekeys_loses_nothing_and_renews_every_two_minutes() -> None:
    world, a, b = pair(tick=SECOND)
    packets = 24 * 360
    for _ in range(packets):
        a.send(OTHER, b"x")
        world.run(10 * SECOND)
    assert len(b.received()) == packets
    assert b.initiations == 0
    assert 660 <= a.initiations <= 720  # every 120 s, or with the next packet, at most 10 s later
    assert not a.errors
    assert not b.errors


def test_half_an_hour_both_ways_loses_nothing() -> None:
    world, a, b = pair()
    assert talk(world, a, b, HALF_HOUR) == (HALF_HOUR, HALF_HOUR)


def test_only_the_initiator_of_the_session_renews() -> None:
    world, a, b = pair()
    a.send(OTHER, b"first")
    world.run(SECOND)
    for _ in range(600):
        b.send(OTHER, b"y")  # the responder talks; the initiator answers with keepalives only
        world.run(SECOND)
    assert b.initiations == 0
    assert 4 <= a.initiations <= 5  # keepalives after 120 s renew as well
    assert len(a.received()) == 600


@pytest.mark.parametrize("seed", range(4))
def test_loss_duplication_and_reordering_are_survived(seed: int) -> None:
    world, a, b = pair(seed)
    world.link.loss, world.link.duplication, world.link.jitter = 0.2, 0.1, 300 * MILLISECOND
    there, back = talk(world, a, b, HALF_HOUR)
    assert there > 0.7 * HALF_HOUR
    assert back > 0.7 * HALF_HOUR
    assert len(set(b.received())) == len(b.received())  # duplicates never get through


def test_heavy_loss_heals_within_15_s_of_the_network_being_whole() -> None:
    for seed in range(5):
        world, a, b = pair(seed)
        talk(world, a, b, 5)
        world.link.is_cut = True
        talk(world, a, b, 600)
        world.link.is_cut = False
        a.send(OTHER, b"again")
        world.run(15 * SECOND)
        assert b.received()[-1] == b"again"


@pytest.mark.parametrize("kind", [1, 2, "confirmation"])
def test_any_one_lost_handshake_message_costs_one_resend(kind: int | str) -> None:
    world, a, b = pair()
    dropped: list[Datagram] = []

    def drop_first(sender: str, datagram: Datagram) -> bool:
        hit = isinstance(datagram, Transport) if kind == "confirmation" else datagram[:1] == bytes([kind])
        if hit and not dropped:
            dropped.append(datagram)
            return True
        return False

    world.link.drop = lambda sender, datagram: (
        drop_first(sender, datagram)
        if not isinstance(datagram, Transport) or kind == "confirmation"
        else False
    )
    a.send(OTHER, b"1")
    world.run(7 * SECOND)
    a.send(OTHER, b"2")
    world.run(SECOND)
    assert b.received()[-1] == b"2"
    assert dropped


def test_cookies_under_load_delay_but_do_not_stop_a_handshake() -> None:
    world, a, b = pair()
    b.dataplane.is_under_load = True
    a.send(OTHER, b"x")
    world.run(SECOND)
    assert b.received() == []
    world.run(6 * SECOND)
    assert b.received() == [b"x"]
    assert a.dataplane.mac2_sent == 1
    a.dataplane.is_under_load = True
    there, _ = talk(world, a, b, 600)
    assert there == 600


@pytest.mark.parametrize("step_s", [-31_536_000, -1, 1, 31_536_000])
def test_a_step_of_the_wall_clock_does_not_disturb_anything(step_s: int) -> None:
    world, a, b = pair()
    talk(world, a, b, 200)
    a.wall_offset += step_s * SECOND
    assert talk(world, a, b, 400) == (400, 400)


def test_a_far_future_stamp_is_a_floor_until_restart() -> None:
    """CVE-2021-46873: our own run keeps working; a restarted sender with the true clock is refused."""
    world, a, b = pair()
    a.wall_offset = EPOCH + 31_536_000 * SECOND
    talk(world, a, b, 130)
    a.wall_offset = EPOCH
    assert talk(world, a, b, 300) == (300, 300)
    assert a.tunnel.identity is not None
    reborn = restart(world, a, b)
    reborn.send(OTHER, b"x")
    before = len(b.errors)
    world.run(20 * SECOND)
    assert "not newer" in str(b.errors[before])
    b.send(OTHER, b"and the other way round it still works")
    b.tunnel.device_down()
    b.settle()
    b.up()
    b.send(OTHER, b"y")
    world.run(10 * SECOND)
    assert reborn.received()[-1] == b"y"


def restart(world: World, old: Host, other: Host) -> Host:
    """The same identity and address, and no memory."""
    assert old.tunnel.identity is not None
    private = old.tunnel.identity.private_key
    psk = PresharedKey(bytes(old.tunnel.peer(OTHER).ring.configured))
    old.tunnel.device_down()
    old.settle()
    new = world.host(old.name + "'", str(old.address.ip))
    new.wall_offset = old.wall_offset
    new.set_private_key(private)
    new.add_peer(other, psk)
    new.up()
    return new


def test_a_restarted_end_is_back_with_its_first_packet() -> None:
    world, a, b = pair()
    talk(world, a, b, 10)
    reborn = restart(world, a, b)
    reborn.send(OTHER, b"hello again")
    world.run(SECOND)
    assert b.received()[-1] == b"hello again"


def test_the_other_end_notices_a_restart_after_15_s_of_silence() -> None:
    world, a, b = pair()
    talk(world, a, b, 10)
    reborn = restart(world, a, b)
    for _ in range(20):
        b.send(OTHER, b"anybody there?")
        world.run(SECOND)
    assert reborn.received()


def test_persistent_keepalive_keeps_a_silent_session_alive() -> None:
    world, a, b = pair()
    a.tunnel.set_persistent_keepalive(OTHER, 25, a.now, a.wall)
    a.settle()
    world.run(HALF_HOUR * SECOND)
    silence = world.now - b.dataplane.peers[OTHER].last_rx_auth
    assert silence <= 26 * SECOND
    assert b.dataplane.activity(OTHER).has_session(b.now, world.timings)


def test_without_traffic_nothing_is_sent_at_all() -> None:
    world, a, b = pair()
    talk(world, a, b, 2)
    world.run(60 * SECOND)
    sent = a.dataplane.handshakes_sent, b.dataplane.handshakes_sent
    world.run(HALF_HOUR * SECOND)
    assert sent == (a.dataplane.handshakes_sent, b.dataplane.handshakes_sent)
    assert a.dataplane.indices.owners == {}  # keys zeroed after 540 s
    assert a.dataplane.peers[OTHER].slots() == []


def test_a_replaced_identity_meets_again_when_the_peer_learns_it() -> None:
    world, a, b = pair()
    talk(world, a, b, 5)
    a.set_private_key(b"\x11" * 32)
    b.tunnel.remove_peer(OTHER)
    b.dataplane.peers.clear()
    b.add_peer(a)
    a.send(OTHER, b"new face")
    world.run(SECOND)
    assert b.received() == [b"new face"]


# -- preshared keys


def swap(world: World, a: Host, b: Host, key: bytes, lag: int) -> None:
    a.set_preshared_key(OTHER, key)
    world.after(lag, lambda: b.set_preshared_key(OTHER, key))


@pytest.mark.parametrize("lag_ms", [0, 5, 50, 900, 4_000])
def test_swapping_the_psk_under_traffic_loses_nothing(lag_ms: int) -> None:
    world, a, b = pair(psk=b"o" * 32)
    rng = random.Random(lag_ms)
    sent_a = sent_b = 0
    for second in range(HALF_HOUR):
        if second % 120 == 60:
            swap(world, a, b, rng.randbytes(32), lag_ms * MILLISECOND)
        for _ in range(4):
            a.send(OTHER, b"a%d" % sent_a)
            b.send(OTHER, b"b%d" % sent_b)
            sent_a, sent_b = sent_a + 1, sent_b + 1
            world.run(SECOND // 4)
    world.run(SECOND)
    assert b.received() == [b"a%d" % number for number in range(sent_a)]
    assert a.received() == [b"b%d" % number for number in range(sent_b)]


def test_after_a_swap_the_new_key_carries_within_seconds() -> None:
    world, a, b = pair(psk=b"o" * 32)
    talk(world, a, b, 5)
    swap(world, a, b, b"n" * 32, 500 * MILLISECOND)
    talk(world, a, b, 10)
    world.run(60 * SECOND)
    old = a.dataplane.peers[OTHER].current
    assert old is not None
    assert a.tunnel.peer(OTHER).ring.follow_up_at is None
    assert b.tunnel.peer(OTHER).ring.follow_up_at is None
    assert a.dataplane.peers[OTHER].current.psk_kind is PskKind.CONFIGURED  # type: ignore[union-attr]


def hybrid(seed: int = 1) -> tuple[World, Host, Host]:
    """Both ends strict: only post-quantum sessions carry user packets."""
    world, a, b = pair(seed)
    for host in (a, b):
        host.tunnel.set_rosenpass(OTHER, enabled=True, permissive=False)
        host.dataplane.peers[OTHER].user_kinds = frozenset({PskKind.PQ})
        host.tunnel.start_peer(OTHER, host.now, host.wall)
        host.settle()
    return world, a, b


def exchange(initiator: Host, responder: Host, osk: bytes, *, confirm: bool = True) -> None:
    """What a Rosenpass run tells both cores, its last message lost where not `confirm`."""
    initiator.tunnel.rosenpass_pending(OTHER, osk, initiator.now)
    initiator.settle()
    responder.tunnel.rosenpass_confirmed(OTHER, osk, responder.now, responder.wall)
    responder.settle()
    if confirm:
        initiator.tunnel.rosenpass_confirmed(OTHER, osk, initiator.now, initiator.wall)
        initiator.settle()


def carried_kinds(host: Host) -> set[PskKind]:
    return {kind for _, kind in host.dataplane.peers[OTHER].received}


def test_both_ends_of_a_hybrid_pair_derive_the_same_interim_key() -> None:
    _, a, b = hybrid()
    assert netbird_seed(a.public_key, b.public_key) == netbird_seed(b.public_key, a.public_key)


def test_strict_user_packets_wait_for_the_first_post_quantum_session() -> None:
    world, a, b = hybrid()
    a.send(OTHER, b"secret")
    world.run(3 * SECOND)
    assert a.dataplane.activity(OTHER).has_session(a.now, world.timings)  # the interim one
    assert b.received() == []
    exchange(a, b, b"1" * 32)
    world.run(200 * MILLISECOND)
    assert b.received() == [b"secret"]
    assert carried_kinds(b) == {PskKind.PQ}


@pytest.mark.parametrize("confirm", [True, False])
def test_rotations_under_traffic_lose_nothing_and_leak_nothing(confirm: bool) -> None:
    world, a, b = hybrid()
    random_bytes = seeded_bytes("osk")
    exchange(a, b, random_bytes(32))
    world.run(SECOND)
    sent = 0
    for second in range(HALF_HOUR):
        if second % 120 == 119:
            ends = (a, b) if second % 240 == 119 else (b, a)
            exchange(*ends, random_bytes(32), confirm=confirm)
        a.send(OTHER, b"%d" % sent)
        b.send(OTHER, b"%d" % sent)
        sent += 1
        world.run(SECOND)
    assert b.received() == a.received() == [b"%d" % number for number in range(sent)]
    assert carried_kinds(a) == carried_kinds(b) == {PskKind.PQ}
    assert not a.dataplane.peers[OTHER].rx_gated
    world.run(20 * SECOND)
    for host in (a, b):
        assert host.tunnel.peer(OTHER).ring.follow_up_at is None


def test_a_restarted_strict_end_heals_through_the_interim_key() -> None:
    world, a, b = hybrid()
    exchange(a, b, b"1" * 32)
    talk(world, a, b, 10)
    reborn = restart(world, a, b)
    reborn.tunnel.set_rosenpass(OTHER, enabled=True, permissive=False)
    reborn.dataplane.peers[OTHER].user_kinds = frozenset({PskKind.PQ})
    reborn.tunnel.start_peer(OTHER, reborn.now, reborn.wall)
    reborn.settle()
    took = world.run_until(
        lambda: reborn.dataplane.activity(OTHER).has_session(reborn.now, world.timings), 15 * SECOND
    )
    assert took <= 15 * SECOND
    exchange(reborn, b, b"2" * 32)
    reborn.send(OTHER, b"back")
    world.run(SECOND)
    assert b.received()[-1] == b"back"
    assert carried_kinds(b) == {PskKind.PQ}


def test_ends_that_drifted_apart_meet_again() -> None:
    for seed in range(10):
        world, a, b = hybrid(seed)
        rng = random.Random(seed)
        world.run(SECOND)
        for host in (a, b):
            for _ in range(rng.randrange(4)):
                host.tunnel.rosenpass_confirmed(OTHER, rng.randbytes(32), host.now, host.wall)
            host.settle()
        world.run(30 * SECOND)
        exchange(a, b, b"9" * 32)
        a.send(OTHER, b"met")
        world.run_until(lambda b=b: bool(b.received()), 15 * SECOND)  # type: ignore[misc]
        assert carried_kinds(b) == {PskKind.PQ}


def test_a_key_past_its_age_closes_the_gate() -> None:
    world, a, b = hybrid()
    exchange(a, b, b"1" * 32)
    talk(world, a, b, 590)
    before = len(b.received())
    assert before >= 585
    talk(world, a, b, 60)
    assert len(b.received()) - before < 15
    assert a.dataplane.activity(OTHER).user_birthdate == 0
    exchange(a, b, b"2" * 32)
    world.run(SECOND)
    assert a.dataplane.activity(OTHER).user_psk_kind is PskKind.PQ


def test_a_permissive_end_meets_a_peer_without_rosenpass() -> None:
    for silent in (0, 1):
        world, a, b = pair()
        ends = (a, b)
        ends[silent].tunnel.set_rosenpass(OTHER, enabled=True, permissive=True)
        ends[1 - silent].send(OTHER, b"plain")
        took = world.run_until(lambda b=ends[silent]: bool(b.received()), 40 * SECOND)  # type: ignore[misc]
        assert took <= 20 * SECOND
