"""Cookies: asked for only under load, bound to an address, given back by initiators."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from support.rosenpass_lab import START, End, Link, make_pair, sends
from support.rosenpass_transcripts import derived
from support.vectors import shared

from rosenpass.actions import SendMessage
from rosenpass.addresses import Address
from rosenpass.constants import MILLISECOND, SECOND, HashVariant, Instant
from rosenpass.cookie import CookieSecrets, CookieValue, cookie_field, cookie_value
from rosenpass.errors import AuthenticationError
from rosenpass.identity import KeyHashes
from rosenpass.load import LoadMeter, RateLimiter
from rosenpass.msgs import CookieReply, Envelope, InitHello
from rosenpass.primitives import xaead_encrypt


def overload(end: End, now: Instant = START) -> None:
    """As the edge would: decapsulations take long and InitHello come fast."""
    for _ in range(50):
        end.server.measured(10 * MILLISECOND)
    for _ in range(1000):
        end.server._admission.load.arrived(now)


def exhaust(end: End, now: Instant = START) -> None:
    """Others have used up what passes without a cookie."""
    while end.server._admission._without_in_all.allow(None, now):
        pass


def test_the_worked_example_of_the_specification() -> None:
    v = shared("rosenpass/primitives.json")["cookie"]
    t = derived("SHAKE256_ct156")
    raw = {name: bytes.fromhex(text) for name, text in v.items() if name != "_note"}
    value = cookie_value(raw["responder_cookie_secret"], raw["host_info_example"])
    assert value == raw["cookie_value"]
    key = KeyHashes(t.keys["responder_static_pk"], t.suite.hash).cookie_key
    assert key == raw["cookie_key"]
    box = xaead_encrypt(key, raw["nonce"], value, raw["ad_mac_of_InitHello"])
    assert box == raw["cookie_encrypted_56"]
    assert CookieReply(t.sidi, box, b"").pack() == raw["CookieReply_first_64_bytes"]
    reply = CookieReply.unpack(raw["CookieReply_first_64_bytes"] + bytes(996))
    opened = CookieValue.from_reply(reply, key, raw["ad_mac_of_InitHello"], START)
    hello = Envelope(t.v["msg_InitHello_cookie_zero"])
    assert cookie_field(opened.value, hello.before_cookie) == raw["retransmitted_InitHello_cookie_field"]


def test_host_id_is_socket_address_port_and_scope() -> None:
    v = shared("rosenpass/primitives.json")["cookie"]
    address = Address(IPv4Address("192.0.2.7"), 0xCA6C)
    assert address.host_id().hex() == v["host_info_example"]
    six = Address(IPv6Address("fe80::1"), 1, 7, 2)
    assert len(six.host_id()) == 30
    assert len({six.host_id(), replace(six, port=2).host_id(), replace(six, scope_id=8).host_id()}) == 3


def cookie_demanded() -> tuple[End, End, SendMessage, SendMessage]:
    """Two ends, the second under load; the first one's InitHello and what it was answered."""
    a, b = make_pair()
    overload(b)
    exhaust(b)
    a.server.initiate(a.peer, START)
    (hello,) = sends(a.server.take_actions())
    b.server.receive(hello.datagram, a.address, START)
    (reply,) = sends(b.server.take_actions())
    return a, b, hello, reply


def test_without_load_no_cookie_is_looked_at() -> None:
    a, b = make_pair()
    a.server.initiate(a.peer, START)
    (hello,) = sends(a.server.take_actions())
    b.server.receive(hello.datagram[:-16] + b"x" * 16, a.address, START)
    assert sends(b.server.take_actions())[0].datagram[0] == 0x82


def test_under_load_an_init_hello_costs_a_cookie_and_then_passes() -> None:
    a, b, hello, reply = cookie_demanded()
    assert reply.datagram[0] == 0x86
    assert len(reply.datagram) == len(hello.datagram), "never more bytes than were asked with"
    assert b.server.decapsulations == 0

    a.server.receive(reply.datagram, b.address, START)
    (again,) = sends(a.server.take_actions())
    assert again.datagram[:-16] == hello.datagram[:-16]
    assert again.datagram[-16:] != bytes(16)
    b.server.receive(again.datagram, a.address, START)
    (answer,) = sends(b.server.take_actions())
    assert answer.datagram[0] == 0x82


def test_a_cookie_of_another_address_does_not_pass() -> None:
    a, b, _, reply = cookie_demanded()
    a.server.receive(reply.datagram, b.address, START)
    (again,) = sends(a.server.take_actions())
    b.server.receive(again.datagram, replace(a.address, port=1), START)
    assert sends(b.server.take_actions())[0].datagram[0] == 0x86


def test_a_cookie_reply_to_another_message_or_twice_is_refused() -> None:
    a, b, _, reply = cookie_demanded()
    forged = bytearray(reply.datagram)
    forged[40] ^= 1
    a.server.receive(bytes(forged), b.address, START)
    assert a.server.refused["AuthenticationError"] == 1
    a.server.receive(reply.datagram, b.address, START)
    assert len(sends(a.server.take_actions())) == 1
    a.server.receive(reply.datagram, b.address, START)
    assert a.server.refused["StateError"] == 1
    assert a.server.take_actions() == [], "a replayed cookie makes nobody send"


def test_of_many_cookies_one_is_answered_at_once_in_each_step_of_retransmission() -> None:
    """Who knows the public key and sees an InitHello can make any number of good replies to it."""
    a, b = make_pair()
    a.server.initiate(a.peer, START)
    (hello,) = sends(a.server.take_actions())
    envelope = Envelope(hello.datagram)
    key = b.server._identity.hashes[HashVariant.SHAKE256].cookie_key

    def flood(now: Instant) -> int:
        for number in range(20):
            value = bytes([number, now % 251]) * 8
            box = xaead_encrypt(key, bytes(24), value, envelope.mac)
            reply = CookieReply(InitHello.unpack(hello.datagram).sidi, box, b"").pack()
            a.server.receive(reply.ljust(len(hello.datagram), b"x"), b.address, now)
        return len(sends(a.server.take_actions()))

    assert flood(START) == 1
    (again,) = due(a, Instant(START + 600 * MILLISECOND))
    assert again.datagram[-16:] != bytes(16), "the newest cookie is sent with the next resend"
    assert flood(Instant(START + 601 * MILLISECOND)) == 1


def due(end: End, now: Instant) -> list[SendMessage]:
    end.server.tick(now)
    return sends(end.server.take_actions())


def test_under_load_the_other_messages_need_no_cookie() -> None:
    """An end under load that initiates itself must still hear the answers."""
    a, b = make_pair()
    overload(a)
    link = Link(a, b)
    link.run(SECOND * 2)
    assert a.confirmed == 1
    assert a.keys == b.keys


def test_under_load_peers_that_cannot_do_cookies_still_come_through() -> None:
    """Known addresses and a first try per address pass; go-rosenpass and every release depend on it."""
    a, b = make_pair()
    link = Link(a, b, lambda end, datagram: [] if datagram[0] == 0x86 else [MILLISECOND])
    overload(b, START)
    link.run(2 * SECOND)
    assert a.confirmed == 1, "first try of a new address"
    now = link.now
    overload(b, now)
    exhaust(b, now)
    a.server.initiate(a.peer, now)
    link.run(5 * MILLISECOND)
    assert len(a.keys) == 2, "an address where a peer was heard"


def test_under_load_a_whole_ipv6_network_passes_no_more_than_one_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever has a /64 can get a cookie for every address of it."""
    admission = make_pair()[1].server._admission
    monkeypatch.setattr(admission.load, "is_high", lambda now: True)
    monkeypatch.setattr(admission.secrets, "accepts", lambda envelope, host_id, now: True)

    def admitted(network: str) -> int:
        sources = [Address(IPv6Address(f"{network}::{number:x}"), 1) for number in range(1000)]
        return sum(admission.admits(Envelope(bytes(1092)), source, False, START) for source in sources)

    assert admitted("2001:db8:0:1") == 20
    assert admitted("2001:db8:0:2") == 20


def test_secrets_change_every_epoch_and_live_for_two() -> None:
    from support.seeded import seeded_bytes

    from rosenpass.constants import DEFAULT_TIMERS

    secrets = CookieSecrets(seeded_bytes(1), DEFAULT_TIMERS)
    envelope = Envelope(bytes(1092))
    key, host = b"k" * 32, b"h" * 30

    def give(seconds: int) -> Envelope:
        now = Instant(START + seconds * SECOND)
        reply = secrets.reply(envelope, b"sidi", host, key, now)
        value = CookieValue.from_reply(reply, key, envelope.mac, now)
        return Envelope(envelope.before_cookie + cookie_field(value.value, envelope.before_cookie))

    def takes(asked: Envelope, seconds: int) -> bool:
        return secrets.accepts(asked, host, Instant(START + seconds * SECOND))

    first = give(0)
    assert takes(first, 119)
    second = give(121)
    assert takes(first, 239)
    assert takes(second, 239)
    assert not takes(first, 241)
    assert not secrets.accepts(second, b"g" * 30, Instant(START + 200 * SECOND))
    old = [secret.value for secret in secrets._secrets]
    secrets.expire(Instant(START + 1000 * SECOND))
    assert all(not any(value) for value in old)
    assert secrets.next_deadline() is None


def test_an_expired_cookie_is_not_sent() -> None:
    a, _ = make_pair()
    peer = a.server._peers.by_id(a.peer)
    peer.cookie = CookieValue(bytearray(b"c" * 16), START)
    a.server.initiate(a.peer, Instant(START + 121 * SECOND))
    (hello,) = sends(a.server.take_actions())
    assert hello.datagram[-16:] == bytes(16)


def test_a_reply_that_does_not_open_raises() -> None:
    with pytest.raises(AuthenticationError):
        CookieValue.from_reply(CookieReply(b"sidi", bytes(56), b""), b"k" * 32, bytes(16), START)


@pytest.mark.parametrize(
    ("rate", "cost_ms", "high"), [(1000, 4, True), (100, 4, False), (20, 40, True), (5, 40, False)]
)
def test_load_is_rate_times_measured_cost(rate: int, cost_ms: int, high: bool) -> None:
    meter = LoadMeter()
    for _ in range(100):
        meter.measured(cost_ms * MILLISECOND)
    for i in range(3 * rate):
        meter.arrived(Instant(START + i * SECOND // rate))
    now = Instant(START + 3 * SECOND)
    assert meter.is_high(now) is high
    assert not meter.is_high(Instant(now + 2 * SECOND)), "over with the flood"


def test_load_is_never_high_before_anything_was_measured() -> None:
    meter = LoadMeter()
    for _ in range(10_000):
        meter.arrived(START)
    assert not meter.is_high(START)


def test_a_token_bucket_gives_a_burst_then_its_rate_and_stays_small() -> None:
    limiter = RateLimiter(per_second=2, burst=3, size=10)
    assert [limiter.allow("k", START) for _ in range(4)] == [True, True, True, False]
    assert not limiter.allow("k", Instant(START + SECOND // 2 - 1))
    assert limiter.allow("k", Instant(START + SECOND // 2))
    assert not limiter.allow("k", Instant(START + SECOND // 2))
    for i in range(1000):
        assert limiter.allow(i, START)
    assert len(limiter._full_at) == 10
    for i in range(10):
        assert limiter.allow(i, Instant(START + 10 * SECOND))
    assert limiter.allow("last", Instant(START + 60 * SECOND))
    assert len(limiter._full_at) == 9  # two of those whose buckets are full again made room
