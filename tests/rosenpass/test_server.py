"""What CryptoServer accepts, refuses, outputs and forgets; each refusal changes nothing."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from support.rosenpass_lab import START, End, Link, ToyKem, make_end, make_pair, sends, snapshot, toy_kems
from support.seeded import seeded_bytes

from rosenpass import handshake
from rosenpass.actions import KeyConfirmed, KeyExchanged, SendMessage
from rosenpass.constants import MILLISECOND, SECOND, SUITES, Instant, Role
from rosenpass.errors import RosenpassError, UnknownPeer
from rosenpass.hash_domains import OskLabel
from rosenpass.identity import Kems
from rosenpass.peers import Initiative, PeerConfig
from rosenpass.primitives import Buffer


def later(ms: int) -> Instant:
    return Instant(START + ms * MILLISECOND)


def step(sender: End, receiver: End, now: Instant = START) -> bytes:
    """Carry the one datagram that waits; return it."""
    (message,) = sends(sender.server.take_actions())
    receiver.server.receive(message.datagram, sender.address, now)
    return message.datagram


def start(a: End, now: Instant = START) -> None:
    a.server.initiate(a.peer, now)


def at_resp_hello() -> tuple[End, End, SendMessage]:
    """Two ends, and the RespHello of the second that waits to be carried."""
    a, b = make_pair()
    start(a)
    step(a, b)
    (message,) = sends(b.server.take_actions())
    return a, b, message


def at_init_conf() -> tuple[End, End, SendMessage]:
    """Two ends, and the InitConf of the first that waits to be carried."""
    a, b = make_pair()
    start(a)
    step(a, b)
    step(b, a)
    (message,) = sends(a.server.take_actions())
    return a, b, message


def refuses(end: End, datagram: bytes, source: End, why: str, now: Instant = START) -> None:
    end.server.take_actions()
    before, counted = snapshot(end.server), end.server.refused[why]
    end.server.receive(datagram, source.address, now)
    assert end.server.refused[why] == counted + 1, end.server.refused
    assert end.server.take_actions() == []
    assert snapshot(end.server) == before


def flip(datagram: bytes, offset: int, receiver: End, sender_view: End, reseal: bool = True) -> bytes:
    """Change one bit and, knowing the public key as everybody may, make the mac good again."""
    changed = bytearray(datagram)
    changed[offset] ^= 1
    if reseal:
        hashes = receiver.server._identity.hashes[
            sender_view.server._peers.by_id(sender_view.peer).config.suite.hash
        ]
        changed[-32:-16] = hashes.domains.hash(hashes.mac_key, bytes(changed[:-32]))[:16]
    return bytes(changed)


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_four_messages_give_both_ends_one_key(suite: object) -> None:
    a, b = make_pair(suite=suite)
    start(a)
    assert len(step(a, b)) == suite.init_hello_len
    assert len(step(b, a)) == suite.resp_hello_len
    exchanged, init_conf = a.server.take_actions()
    assert exchanged.role is Role.INITIATOR
    b.server.receive(init_conf.datagram, a.address, START)
    accepted, empty_data = b.server.take_actions()
    assert (len(init_conf.datagram), len(empty_data.datagram)) == (176, 64)
    assert accepted.role is Role.RESPONDER
    assert accepted.osk == exchanged.osk
    a.server.receive(empty_data.datagram, b.address, START)
    assert a.server.take_actions() == [KeyConfirmed(a.peer)]


@pytest.mark.parametrize("change", ["psk", "label", "suite"])
def test_ends_that_disagree_never_agree_on_a_key(change: str) -> None:
    a, b = make_pair()
    b.server.remove_peer(b.peer)
    psk = bytes(a.server._peers.by_id(a.peer).psk)
    other = {
        "psk": PeerConfig(a.spk, bytes(32)),
        "label": PeerConfig(a.spk, psk, osk_label=OskLabel("example.org", ("x",))),
        "suite": PeerConfig(a.spk, psk, SUITES["V03"]),
    }[change]
    b.peer = b.server.add_peer(other, START)
    link = Link(a, b)
    link.run(20 * SECOND)
    assert not set(a.keys) & set(b.keys)
    if change != "label":
        assert not a.keys
        assert b.server.refused["AuthenticationError"]


# Refusals, step by step. Offsets are those of the messages with the 188-byte form.


def test_envelope_wrong_mac_is_refused_before_any_decapsulation() -> None:
    a, b = make_pair()
    start(a)
    (message,) = sends(a.server.take_actions())
    refuses(b, flip(message.datagram, 5, b, a, reseal=False), a, "AuthenticationError")
    assert b.server.decapsulations == 0


@pytest.mark.parametrize(
    ("label", "offset"), [("IHR4", 4), ("IHR4", 8), ("IHR5", 808), ("IHR6", 996), ("IHR8", 1044)]
)
def test_init_hello_changed_on_the_way_is_refused(label: str, offset: int) -> None:
    a, b = make_pair()
    start(a)
    (message,) = sends(a.server.take_actions())
    refuses(b, flip(message.datagram, offset, b, a), a, "AuthenticationError")


def test_ihr6_init_hello_of_a_stranger_is_refused() -> None:
    a, b = make_pair()
    b.server.remove_peer(b.peer)
    c = make_end("c", 1)
    b.server.add_peer(PeerConfig(c.spk), START)
    start(a)
    (message,) = sends(a.server.take_actions())
    refuses(b, message.datagram, a, "UnknownPeer")


def test_ihr7_init_hello_with_another_psk_is_refused() -> None:
    a, b = make_pair()
    b.server.change_peer(b.peer, PeerConfig(a.spk, bytes(32)), START)
    start(a)
    (message,) = sends(a.server.take_actions())
    refuses(b, message.datagram, a, "AuthenticationError")


def test_rhr_init_hello_changes_nothing_but_the_biscuit_counter() -> None:
    a, b = make_pair()
    start(a)
    (message,) = sends(a.server.take_actions())
    peer = b.server._peers.by_id(b.peer)
    before = (peer.endpoint, peer.session, peer.handshake, peer.biscuit_used, peer.crossing_limit)
    answers = set()
    for _ in range(3):
        b.server.receive(message.datagram, a.address, START)
        (answer,) = sends(b.server.take_actions())
        answers.add(answer.datagram)
    assert len(answers) == 3, "each answer has its own sidr and biscuit"
    assert before == (peer.endpoint, peer.session, peer.handshake, peer.biscuit_used, peer.crossing_limit)


@pytest.mark.parametrize(
    ("label", "offset"),
    [("RHI3", 4), ("RHI4", 12), ("RHI5", 780), ("RHI6", 984), ("RHI7", 968)],
)
def test_resp_hello_changed_on_the_way_is_refused_and_the_real_one_still_works(
    label: str, offset: int
) -> None:
    a, b, message = at_resp_hello()
    refuses(a, flip(message.datagram, offset, a, b), b, "AuthenticationError")
    a.server.receive(message.datagram, b.address, START)
    assert isinstance(a.server.take_actions()[0], KeyExchanged)


def test_rhi2_resp_hello_to_no_handshake_is_refused() -> None:
    a, b, message = at_resp_hello()
    refuses(a, flip(message.datagram, 8, a, b), b, "StateError")
    a.server.receive(message.datagram, b.address, START)
    refuses(a, message.datagram, b, "StateError")


@pytest.mark.parametrize(
    ("label", "offset"), [("ICR1", 4), ("ICR1", 8), ("ICR1", 12), ("ICR1", 40), ("ICR4", 128)]
)
def test_init_conf_changed_on_the_way_is_refused_and_the_real_one_still_works(
    label: str, offset: int
) -> None:
    a, b, message = at_init_conf()
    refuses(b, flip(message.datagram, offset, b, a), a, "AuthenticationError")
    b.server.receive(message.datagram, a.address, START)
    assert isinstance(b.server.take_actions()[0], KeyExchanged)


def test_icr5_an_init_conf_older_than_the_last_is_a_replay() -> None:
    a, b, first = at_init_conf()
    a.server._own.start(a.server._peers.by_id(a.peer), START)
    step(a, b)
    step(b, a)
    step(a, b)
    refuses(b, first.datagram, a, "ReplayError")


def test_icr7_accepting_an_init_conf_ends_the_own_handshake() -> None:
    a, b = make_pair()
    b.server._own.start(b.server._peers.by_id(b.peer), START)
    b.server.take_actions()
    start(a)
    step(a, b)
    step(b, a)
    assert b.server.status(b.peer).handshake_since is not None
    a.server.tick(later(1000))  # held back: b has initiated too, as far as a can know
    for message in sends(a.server.take_actions()):
        b.server.receive(message.datagram, a.address, later(1000))
    assert b.server.status(b.peer).handshake_since is None
    assert b.server.status(b.peer).role is Role.RESPONDER


def test_the_same_init_conf_again_is_answered_from_the_cache_without_a_key() -> None:
    a, b, message = at_init_conf()
    b.server.receive(message.datagram, a.address, START)
    _, first = b.server.take_actions()
    b.server.receive(message.datagram, b.address, later(119_000))
    (again,) = b.server.take_actions()
    assert isinstance(again, SendMessage)
    assert again.datagram == first.datagram
    assert again.destination == b.address, "the answer goes where the question came from"
    refuses(b, message.datagram, a, "ReplayError", later(120_001))


@pytest.mark.parametrize("offset", [4, 8, 16])
def test_empty_data_changed_on_the_way_is_refused_and_the_real_one_still_works(offset: int) -> None:
    """Also with a counter of 2**64 - 1: upstream remembers it before the tag and goes deaf."""
    a, b = make_pair()
    start(a)
    step(a, b)
    step(b, a)
    step(a, b)
    (message,) = sends(b.server.take_actions())
    why = "StateError" if offset == 4 else "AuthenticationError"
    refuses(a, flip(message.datagram, offset, a, b), b, why)
    a.server.receive(message.datagram, b.address, START)
    assert a.server.take_actions() == [KeyConfirmed(a.peer)]


def test_a_message_of_another_suite_than_configured_is_refused() -> None:
    """Policy never falls back: not at InitHello, not at the responder's answer."""
    a, b = make_pair()
    b.server.remove_peer(b.peer)
    psk = bytes(a.server._peers.by_id(a.peer).psk)
    b.peer = b.server.add_peer(PeerConfig(a.spk, psk, SUITES["V02-156"]), START)
    start(a)
    (message,) = sends(a.server.take_actions())
    refuses(b, message.datagram, a, "AuthenticationError")
    assert b.server.decapsulations == 0, "no peer has this suite, so nothing is worth a decapsulation"


# Peers come, change and go.


def test_a_removed_peer_is_forgotten_under_every_name() -> None:
    a, b = make_pair()
    link = Link(a, b)
    link.run(SECOND)
    b.server.remove_peer(b.peer)
    with pytest.raises(UnknownPeer):
        b.server.status(b.peer)
    start(a, link.now)
    (message,) = sends(a.server.take_actions())
    refuses(b, message.datagram, a, "AuthenticationError", link.now)


def test_a_peer_added_again_does_not_take_an_init_conf_of_its_former_life() -> None:
    a, b, message = at_init_conf()
    b.server.receive(message.datagram, a.address, START)
    b.server.take_actions()
    config = PeerConfig(a.spk, bytes(b.server._peers.by_id(b.peer).psk))
    b.server.remove_peer(b.peer)
    b.server.add_peer(config, START)
    refuses(b, message.datagram, a, "ReplayError")


def test_a_changed_psk_ends_handshakes_made_with_the_old_one() -> None:
    a, b, message = at_init_conf()
    b.server.change_peer(b.peer, PeerConfig(a.spk, b"n" * 32), START)
    refuses(b, message.datagram, a, "ReplayError")
    a.server.change_peer(a.peer, PeerConfig(b.spk, b"n" * 32, reachable=True), START)
    assert a.server.status(a.peer).handshake_since is None
    link = Link(a, b)
    link.run(5 * SECOND)
    assert a.keys[-1] == b.keys[-1]


def test_peers_that_cannot_be_are_refused_with_a_reason() -> None:
    a, b = make_pair()
    for config, word in [
        (PeerConfig(b.spk), "another peer"),
        (PeerConfig(a.spk), "own"),
        (PeerConfig(b.spk[:-1]), "63"),
        (PeerConfig(b.spk, b"short"), "5"),
    ]:
        with pytest.raises(RosenpassError, match=word):
            a.server.add_peer(config, START)
    with pytest.raises(RosenpassError, match="add it anew"):
        a.server.change_peer(a.peer, PeerConfig(b.spk, suite=SUITES["V03"]), START)


def test_a_peer_without_an_endpoint_is_initiated_to_once_it_was_heard() -> None:
    a, b = make_pair()
    assert sends(b.server.take_actions()) == []
    link = Link(a, b)
    link.run(SECOND)
    assert b.server.status(b.peer).endpoint == a.address
    renew_at = b.server.status(b.peer).renew_at
    assert renew_at is not None
    b.server.tick(renew_at)
    (message,) = sends(b.server.take_actions())
    assert message.datagram[0] == 0x81
    assert message.destination == a.address


def test_a_responder_only_peer_is_never_initiated_to() -> None:
    a, b = make_pair()
    b.server.change_peer(
        b.peer, PeerConfig(a.spk, psk(b), reachable=True, initiative=Initiative.NEVER), START
    )
    link = Link(a, b)
    link.run(1000 * SECOND)
    assert b.sent[0x81] == 0
    assert len(b.keys) >= 7


def test_an_end_that_waits_until_overdue_leaves_renewals_to_the_other() -> None:
    a, b = make_pair(reachable=True)
    b.server.change_peer(
        b.peer, PeerConfig(a.spk, psk(b), reachable=True, initiative=Initiative.WHEN_OVERDUE), START
    )
    link = Link(a, b)
    link.run(1000 * SECOND)
    assert b.sent[0x81] == 0
    link.fate = lambda end, _: [] if end is a else [MILLISECOND]
    link.run(150 * SECOND)
    assert b.sent[0x81] > 0


def psk(end: End) -> bytes:
    return bytes(end.server._peers.by_id(end.peer).psk)


def test_secrets_print_nowhere() -> None:
    a, b = make_pair()
    start(a)
    step(a, b)
    step(b, a)
    peer = a.server._peers.by_id(a.peer)
    text = repr(peer) + repr(peer.handshake) + repr(a.server.take_actions()) + repr(peer.config)
    for secret in (peer.psk, peer.handshake.phase.txkr):
        assert repr(bytes(secret))[2:-1] not in text
        assert secret.hex() not in text
    assert " osk=" not in text


def test_secrets_of_a_finished_handshake_are_overwritten() -> None:
    a, b = make_pair()
    start(a)
    handshake = a.server._peers.by_id(a.peer).handshake
    first = handshake.phase
    step(a, b)
    step(b, a)
    assert not any(first.state.ck)
    assert not any(first.eski)
    second = handshake.phase
    step(a, b)
    (message,) = sends(b.server.take_actions())
    a.server.receive(message.datagram, b.address, START)
    assert not any(second.txkr)
    a.server.wipe()
    assert len(a.server._peers) == 0


def test_public_keys_are_held_once() -> None:
    kems = toy_kems("memory", public_key_len=524160)
    a, b = make_end("a", "memory", kems=kems), make_end("b", "memory", kems=kems)
    a.peer = a.server.add_peer(PeerConfig(b.spk, reachable=True), START)
    b.peer = b.server.add_peer(PeerConfig(a.spk), START)
    link = Link(a, b)
    link.run(10 * SECOND)
    assert a.keys
    assert a.server._peers.by_id(a.peer).config.spkt is b.spk
    assert a.server._peers.by_id(a.peer).hashes.spk is b.spk


def test_the_status_of_a_peer_tells_age_and_next_renewal() -> None:
    a, b = make_pair()
    assert a.server.status(a.peer).key_since is None
    link = Link(a, b)
    link.run(SECOND)
    status = a.server.status(a.peer)
    assert status.key_since is not None
    assert status.role is Role.INITIATOR
    assert 97 * SECOND < status.renew_at - status.key_since < 130 * SECOND


def test_a_stale_key_is_replaced_by_fresh_random_bytes_each_time() -> None:
    stale = []
    for seed in range(2):
        a, b = make_pair(seed)
        link = Link(a, b)
        link.run(SECOND)
        link.fate = lambda *_: []
        link.run(183 * SECOND)
        stale.append(a.keys[-1])
        assert a.stale == 1
        assert len(a.keys[-1]) == 32
    assert len(set(map(bytes, stale))) == 2


def test_of_forged_resp_hello_few_cost_a_decapsulation_and_the_honest_one_still_comes_through() -> None:
    a, b = make_pair()
    start(a)
    step(a, b)
    (answer,) = sends(b.server.take_actions())
    forged = flip(answer.datagram, 20, a, b)
    for _ in range(1000):
        a.server.receive(forged, b.address, START)
    assert a.server.refused["AuthenticationError"] <= 8
    assert a.server.refused["Overloaded"] >= 992
    a.server.receive(answer.datagram, b.address, later(1000))
    assert isinstance(a.server.take_actions()[0], KeyExchanged)


def test_keys_of_single_messages_are_overwritten_after_use(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[bytearray] = []
    for name in ("aead_encrypt", "aead_decrypt"):
        sound = getattr(handshake, name)

        def noting(key: bytearray, *rest: object, sound: Callable[..., bytes] = sound) -> bytes:
            used.append(key)
            return sound(key, *rest)

        monkeypatch.setattr(handshake, name, noting)
    a, b = make_pair()
    start(a)
    forged = flip(sends(a.server.take_actions())[0].datagram, 900, b, b)
    b.server.receive(forged, a.address, START)
    start(a)
    step(a, b)
    step(b, a)
    assert len(used) > 6
    assert not any(any(key) for key in used)


def test_an_init_hello_that_comes_to_nothing_leaves_no_secret() -> None:
    made: list[bytearray] = []

    class Failing(ToyKem):
        def encaps(self, public_key: bytes) -> tuple[bytes, bytearray]:
            raise MemoryError

        def keypair(self) -> tuple[bytes, bytearray]:
            public, secret = super().keypair()
            made.append(secret)
            return public, secret

    a, _ = make_pair()
    kems = a.server._own._kems
    draw = seeded_bytes("failing")
    a.server._own._kems = Kems({188: Failing(188, 64, draw)}, Failing(768, 800, draw))
    with pytest.raises(MemoryError):
        start(a)
    assert len(made) == 1
    assert not any(made[0])
    a.server._own._kems = kems
    start(a)
    assert len(sends(a.server.take_actions())) == 1


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_no_answer_is_longer_than_its_question_but_a_resp_hello_by_40(suite: object) -> None:
    a, b = make_pair(suite=suite)
    start(a)
    conversation = [step(a, b), step(b, a), step(a, b), step(b, a)]
    lengths = [len(datagram) for datagram in conversation]
    grown = [answer - question for question, answer in pairwise(lengths)]
    assert grown[0] == 40
    assert max(grown[1:]) <= 0


def test_no_key_seals_two_plaintexts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nonce is always zero, so a chaining key must never be used to encrypt twice."""
    sealed: dict[bytes, set[bytes]] = {}
    real = handshake.aead_encrypt

    def noting(key: Buffer, nonce: bytes, plaintext: Buffer, additional: Buffer) -> bytes:
        sealed.setdefault(bytes(key) + nonce, set()).add(bytes(plaintext) + b"|" + bytes(additional))
        return real(key, nonce, plaintext, additional)

    monkeypatch.setattr(handshake, "aead_encrypt", noting)
    for seed in range(5):
        a, b = make_pair(seed)
        Link(a, b, lambda *_: [MILLISECOND, 3 * MILLISECOND]).run(600 * SECOND)
        assert len(a.keys) > 3
    assert len(sealed) > 40
    assert all(len(plaintexts) == 1 for plaintexts in sealed.values())
