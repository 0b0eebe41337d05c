"""Two ends that both initiate always come to hold one key, whatever the network does."""

import random
from dataclasses import replace

import pytest
from support.rosenpass_lab import End, Link, bad_weather, make_end, make_pair
from support.seeded import seeded_bytes

from rosenpass.addresses import Address
from rosenpass.constants import MILLISECOND, SECOND, Instant, Timers
from rosenpass.identity import StaticIdentity
from rosenpass.peers import Initiative, PeerConfig
from rosenpass.responder import AcceptedInitConf
from rosenpass.server import CryptoServer


def agree(link: Link, a: End, b: End, within: int) -> bool:
    """Live until both ends rest on one key, at most `within` ns."""
    for _ in range(within // SECOND):
        link.run(SECOND)
        if a.keys and b.keys and a.keys[-1] == b.keys[-1] and a.server.status(a.peer).handshake_since is None:
            return True
    return False


def test_two_ends_started_together_agree_at_once() -> None:
    for seed in range(50):
        a, b = make_pair(seed, reachable=True)
        link = Link(a, b)
        link.run(3 * SECOND)
        assert a.keys == b.keys
        assert len(a.keys) == 1


def collide(seed: int, chance: random.Random) -> tuple[End, End]:
    """Both are made to start within 300 ms, against the delay that usually prevents it."""
    a, b = make_end("a", seed), make_end("b", seed)
    start = Link(a, b).now
    a.peer = a.server.add_peer(PeerConfig(b.spk, reachable=True, initiative=Initiative.NEVER), start)
    b.peer = b.server.add_peer(PeerConfig(a.spk, reachable=True, initiative=Initiative.NEVER), start)
    return a, b


@pytest.mark.parametrize("block", range(10))
def test_any_interleaving_with_loss_duplication_and_reordering_ends_in_one_key(block: int) -> None:
    """1,000 weathers in ten blocks: up to 60 % loss, copies, delays of up to 4 s, both initiating at will."""
    for seed in range(block * 100, block * 100 + 100):
        chance = random.Random(seed)
        a, b = collide(seed, chance)
        max_delay = chance.choice((20, 200, 1000, 4000)) * MILLISECOND
        storm = bad_weather(seed, chance.uniform(0, 0.6), chance.uniform(0, 0.5), max_delay)
        link = Link(a, b, storm)
        for _ in range(chance.randrange(1, 6)):
            for end in chance.sample((a, b), 2):
                if chance.random() < 0.8:
                    end.server.initiate(end.peer, link.now)
                link.run(chance.randrange(0, 300) * MILLISECOND)
            link.run(chance.randrange(0, 10) * SECOND)
        if not (a.keys or b.keys):
            a.server.initiate(a.peer, link.now)
        link.run(max_delay)
        link.fate = lambda *_: [20 * MILLISECOND]
        link.run(40 * SECOND)
        assert a.keys, f"seed {seed}"
        assert a.keys[-1] == b.keys[-1], f"seed {seed}"


class Upstream(CryptoServer):
    """As the Rust tool and go-rosenpass behave: no waiting, no looking back."""

    def _enter_live_as_responder(self, accepted: AcceptedInitConf, source: Address, now: Instant) -> None:
        super()._enter_live_as_responder(accepted, source, now)
        accepted.peer.initiate_at = None


@pytest.mark.parametrize("block", range(4))
def test_against_an_end_that_takes_no_care_ours_alone_is_enough(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        chance = random.Random(seed)
        a, b = collide(seed, chance)
        b.server.__class__ = Upstream
        b.server._timers = replace(b.server._timers, hold_back=4)
        max_delay = chance.choice((20, 200, 1000)) * MILLISECOND
        link = Link(a, b, bad_weather(seed, chance.uniform(0, 0.5), 0.2, max_delay))
        for _ in range(4):
            for end in chance.sample((a, b), 2):
                end.server.initiate(end.peer, link.now)
                link.run(chance.randrange(0, 100) * MILLISECOND)
            link.run(chance.randrange(0, 5) * SECOND)
        link.fate = lambda *_: [20 * MILLISECOND]
        link.run(40 * SECOND)
        assert a.keys[-1] == b.keys[-1], f"seed {seed}"


def test_crossed_init_confs_are_noticed_and_settled() -> None:
    """Both InitConf are under way at once: upstream ends with two keys here."""
    a, b = collide(1, random.Random(1))
    held: list[int] = []

    def fate(_end: End, datagram: bytes) -> list[int]:
        if datagram[0] == 0x83 and len(held) < 2:
            held.append(datagram[0])
            return [SECOND // 5]  # both InitConf arrive after both left
        if datagram[0] == 0x81 and link.now > start + SECOND:
            return [MILLISECOND]
        return [MILLISECOND]

    link = Link(a, b, fate)
    start = link.now
    a.server.initiate(a.peer, link.now)
    link.flush()
    link.run(100 * MILLISECOND)  # a has sent InitConf; b knows nothing of it yet
    b.server.initiate(b.peer, link.now)
    link.run(10 * SECOND)
    assert a.keys[-1] == b.keys[-1]
    assert len(set(a.keys)) == len(a.keys), "no key is output twice"


def test_one_accepted_handshake_outputs_one_key_however_often_its_messages_come() -> None:
    a, b = make_pair(3)
    link = Link(a, b, lambda *_: [MILLISECOND * n for n in (1, 2, 3, 50, 700)])
    link.run(30 * SECOND)
    assert len(a.keys) == len(b.keys) == 1
    assert a.confirmed == 1


def test_a_day_of_renewals_keeps_both_ends_on_one_key() -> None:
    a, b = make_pair(4, reachable=True)
    link = Link(a, b)
    for _ in range(24 * 60):
        link.run(60 * SECOND)
        assert a.keys == b.keys
    assert 24 * 3600 / 125 < len(a.keys) < 24 * 3600 / 90
    assert not a.stale
    assert not b.stale


def test_a_day_with_a_third_of_all_datagrams_lost_needs_no_person() -> None:
    a, b = make_pair(5, reachable=True)
    link = Link(a, b, bad_weather(5, 0.33, 0.1, 300 * MILLISECOND))
    for _ in range(24 * 6):
        link.run(600 * SECOND)
    assert a.stale == b.stale == 0
    link.fate = lambda *_: [MILLISECOND]
    link.run(20 * SECOND)
    assert a.keys[-1] == b.keys[-1]


@pytest.mark.parametrize("which", [0x81, 0x82, 0x83, 0x84])
@pytest.mark.parametrize("count", [1, 2])
def test_loss_of_the_first_message_of_a_kind_heals_within_3_s(which: int, count: int) -> None:
    a, b = make_pair(6)
    lost: list[int] = []

    def fate(_end: End, datagram: bytes) -> list[int]:
        if datagram[0] == which and len(lost) < count:
            lost.append(which)
            return []
        return [MILLISECOND]

    link = Link(a, b, fate)
    assert agree(link, a, b, 3 * SECOND)
    assert a.confirmed == 1


@pytest.mark.parametrize("moment", range(0, 12, 2))
def test_a_responder_that_restarts_at_any_moment_is_found_again(moment: int) -> None:
    """Its biscuit keys are gone: the initiator starts over when nobody answers its InitConf."""
    a, b = make_pair(7)
    link = Link(a, b, lambda *_: [3 * MILLISECOND])
    link.run(moment * MILLISECOND)
    reborn = End("b", make_end("b", 7).server, b.address, b.spk)
    reborn.peer = reborn.server.add_peer(PeerConfig(a.spk, psk_of(7)), link.now)
    link.ends[b.address] = reborn
    a.server.initiate(a.peer, link.now)
    link.run(15 * SECOND)
    assert reborn.keys
    assert a.keys[-1] == reborn.keys[-1]


@pytest.mark.parametrize("block", range(4))
def test_ends_that_restart_at_any_moment_in_any_weather_come_back_within_15_s(block: int) -> None:
    for seed in range(block * 50, block * 50 + 50):
        chance = random.Random(seed)
        a, b = make_pair(seed, reachable=True)
        max_delay = chance.choice((20, 200, 1000)) * MILLISECOND
        link = Link(a, b, bad_weather(seed, chance.uniform(0, 0.4), 0.2, max_delay))
        for life in range(1, 4):
            link.run(chance.randrange(0, 4000) * MILLISECOND)
            reborn(chance.choice((a, b)), seed, life, link)
        link.fate = lambda *_: [20 * MILLISECOND]
        link.run(15 * SECOND)
        assert a.keys[-1] == b.keys[-1], f"seed {seed}"


def reborn(end: End, seed: int, life: int, link: Link) -> None:
    """The same keys, nothing remembered, other randomness."""
    other = link.other(end)
    identity = StaticIdentity(end.spk, end.server._identity.sskm)
    end.server = CryptoServer(identity, seeded_bytes(f"{end.name} {seed} {life}"), end.server._kems)
    end.server.add_peer(PeerConfig(other.spk, psk_of(seed), reachable=True), link.now)


def psk_of(seed: int) -> bytes:
    return seeded_bytes(f"psk {seed}")(32)


def test_short_timers_renew_as_often_as_they_say() -> None:
    timers = Timers(
        rekey_after_responder=2 * SECOND,
        rekey_after_initiator=3 * SECOND,
        reject_after=5 * SECOND,
    )
    a, b = make_pair(8, timers, reachable=True)
    link = Link(a, b)
    link.run(20 * SECOND)
    assert 8 <= len(a.keys) <= 13
    assert a.keys == b.keys
