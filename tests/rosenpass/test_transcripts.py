"""Recorded handshakes replay bit for bit, as sender and as receiver, with every chaining key compared."""

import os
from ipaddress import ip_address

import pytest
from support.rosenpass_lab import START, RecordedKem, ScriptedRandom, sends
from support.rosenpass_transcripts import Transcript, derived, our_own, upstream_entries

from rosenpass.actions import KeyConfirmed, KeyExchanged, SendMessage
from rosenpass.addresses import Address
from rosenpass.constants import Role
from rosenpass.cookie import CookieValue
from rosenpass.handshake import HandshakeState
from rosenpass.hash_domains import OskLabel
from rosenpass.identity import Kems, StaticIdentity
from rosenpass.kem import EphemeralKem, StaticKem, StaticSecretKey
from rosenpass.peers import PeerConfig, PeerId
from rosenpass.server import CryptoServer

NAMES = ["BLAKE2b_ct188", "SHAKE256_ct188", "BLAKE2b_ct156", "SHAKE256_ct156"]
INITIATOR = Address(ip_address("192.0.2.1"), 1000)
RESPONDER = Address(ip_address("192.0.2.2"), 2000)


@pytest.fixture(params=[f"{origin} {name}" for origin in ("shared", "own") for name in NAMES])
def transcript(request: pytest.FixtureRequest) -> Transcript:
    origin, name = request.param.split()
    return derived(name) if origin == "shared" else our_own(name)


@pytest.fixture
def cks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every chaining key in the order in which the steps made them."""
    seen: list[bytes] = []
    mix = HandshakeState.mix

    def recording(self: HandshakeState, *pieces: bytes) -> None:
        mix(self, *pieces)
        seen.append(bytes(self.ck))

    monkeypatch.setattr(HandshakeState, "mix", recording)
    return seen


def initiator(
    t: Transcript, label: OskLabel | None = None, record: bool = True
) -> tuple[CryptoServer, PeerId]:
    form = t.suite.static_ciphertext_len
    static = RecordedKem(StaticKem(form, os.urandom), encapsulations=[(t.v["sctr"], t.v["sptr"])])
    ephemeral = RecordedKem(EphemeralKem(), keypairs=[(t.epki, t.eski)])
    return make(t, "initiator", "responder", Kems({form: static}, ephemeral), ScriptedRandom(t.sidi), label)


def responder(t: Transcript, label: OskLabel | None = None) -> tuple[CryptoServer, PeerId]:
    form = t.suite.static_ciphertext_len
    static = RecordedKem(StaticKem(form, os.urandom), encapsulations=[(t.v["scti"], t.v["spti"])])
    ephemeral = RecordedKem(EphemeralKem(), encapsulations=[(t.ecti, t.epti)])
    # The first 32 bytes drawn key the response cache; nothing on the wire depends on them.
    draws = ScriptedRandom(bytes(32), t.sidr, t.biscuit_key, t.biscuit_nonce)
    return make(t, "responder", "initiator", Kems({form: static}, ephemeral), draws, label)


def make(
    t: Transcript, own: str, peer: str, kems: Kems, draws: ScriptedRandom, label: OskLabel | None
) -> tuple[CryptoServer, PeerId]:
    sskm = StaticSecretKey(t.keys[f"{own}_static_sk"])
    server = CryptoServer(StaticIdentity(t.keys[f"{own}_static_pk"], sskm), draws, kems)
    extra = {"osk_label": label} if label else {}
    config = PeerConfig(t.keys[f"{peer}_static_pk"], t.psk, t.suite, reachable=own == "initiator", **extra)
    return server, server.add_peer(config, START)


def start(server: CryptoServer, peer: PeerId) -> bytes:
    server.initiate(peer, START)
    (action,) = server.take_actions()
    assert isinstance(action, SendMessage)
    return action.datagram


def expected(t: Transcript, *steps: str) -> list[bytes]:
    return [t.v[f"ck_after_{step}"] for step in steps]


INIT_HELLO_STEPS = ("IHI4", "IHI5", "IHI6", "IHI7", "IHI8")  # and IHR4 to IHR8
RESP_HELLO_STEPS = ("RHR3", "RHR4", "RHR5", "RHR6", "RHR7")  # and RHI3 to RHI7
INIT_CONF_STEPS = ("ICI3", "ICI4")  # and ICR3, ICR4


def test_init_hello_is_sent_as_recorded(transcript: Transcript, cks: list[bytes]) -> None:
    server, peer = initiator(transcript)
    assert start(server, peer) == transcript.v["msg_InitHello_cookie_zero"]
    assert cks == expected(transcript, *INIT_HELLO_STEPS)


def test_resp_hello_is_sent_as_recorded(transcript: Transcript, cks: list[bytes]) -> None:
    server, _ = responder(transcript)
    server.receive(transcript.v["msg_InitHello_cookie_zero"], INITIATOR, START)
    (action,) = sends(server.take_actions())
    assert action.datagram == transcript.v["msg_RespHello"]
    assert action.destination == INITIATOR
    assert cks == expected(transcript, *INIT_HELLO_STEPS, *RESP_HELLO_STEPS)


def test_init_conf_is_sent_as_recorded(transcript: Transcript, cks: list[bytes]) -> None:
    server, peer = initiator(transcript)
    start(server, peer)
    cks.clear()
    server.receive(transcript.v["msg_RespHello"], RESPONDER, START)
    exchanged, sent = server.take_actions()
    assert isinstance(exchanged, KeyExchanged)
    assert bytes(exchanged.osk) == transcript.v["osk_wireguard_psk"]
    assert exchanged.role is Role.INITIATOR
    assert isinstance(sent, SendMessage)
    assert sent.datagram == transcript.v["msg_InitConf"]
    assert cks == expected(transcript, *RESP_HELLO_STEPS, *INIT_CONF_STEPS)


def test_empty_data_is_sent_as_recorded(transcript: Transcript, cks: list[bytes]) -> None:
    server, _ = responder(transcript)
    server.receive(transcript.v["msg_InitHello_cookie_zero"], INITIATOR, START)
    server.take_actions()
    cks.clear()
    server.receive(transcript.v["msg_InitConf"], INITIATOR, START)
    exchanged, sent = server.take_actions()
    assert isinstance(exchanged, KeyExchanged)
    assert bytes(exchanged.osk) == transcript.v["osk_wireguard_psk"]
    assert exchanged.role is Role.RESPONDER
    assert isinstance(sent, SendMessage)
    assert sent.datagram == transcript.v["msg_EmptyData_ctr0"]
    assert cks == expected(transcript, "RHR6", "RHR7", *INIT_CONF_STEPS)


def test_empty_data_confirms_the_key(transcript: Transcript) -> None:
    server, peer = initiator(transcript)
    start(server, peer)
    server.receive(transcript.v["msg_RespHello"], RESPONDER, START)
    server.take_actions()
    server.receive(transcript.v["msg_EmptyData_ctr0"], RESPONDER, START)
    assert server.take_actions() == [KeyConfirmed(peer)]
    assert not server.refused


def test_peer_ids_and_first_chaining_key_are_the_recorded_ones(transcript: Transcript) -> None:
    server, peer = initiator(transcript)
    assert peer == transcript.v["pidr"]
    known = server._peers.by_id(peer)
    assert known.hashes.ck_init == transcript.v["ck_after_IHI1"]
    assert responder(transcript)[1] == transcript.v["pidi"]


def test_custom_osk_labels_give_the_recorded_key(transcript: Transcript) -> None:
    label = OskLabel("myorg.com", ("My Custom Messenger app", "Backend VPN Example Subusecase"))
    server, peer = initiator(transcript, label)
    start(server, peer)
    server.receive(transcript.v["msg_RespHello"], RESPONDER, START)
    exchanged = server.take_actions()[0]
    assert isinstance(exchanged, KeyExchanged)
    assert bytes(exchanged.osk) == transcript.v["osk_custom_myorg_com"]


def test_a_cookie_enters_the_last_16_bytes_as_recorded(transcript: Transcript) -> None:
    server, peer = initiator(transcript)
    value = transcript.v.get("initiator_cookie_value") or bytes.fromhex("06bc99464d4a47919cf80126d29947d5")
    server._peers.by_id(peer).cookie = CookieValue(bytearray(value), START)
    assert start(server, peer) == transcript.v["msg_InitHello_cookie_set"]


def test_upstream_recording_replays_whole() -> None:
    """The one transcript upstream publishes: SHAKE256 with the 156-byte form, its own cookies in place."""
    upstream, t = upstream_entries(), derived("SHAKE256_ct156")
    ours, peer = initiator(t)
    ours._peers.by_id(peer).cookie = CookieValue(bytearray(upstream["initiator_cookie_value"]), START)
    theirs, _ = responder(t)

    assert start(ours, peer) == upstream["msg_InitHello"]
    theirs.receive(upstream["msg_InitHello"], INITIATOR, START)
    (resp_hello,) = sends(theirs.take_actions())
    assert resp_hello.datagram == upstream["msg_RespHello"]
    ours.receive(upstream["msg_RespHello"], RESPONDER, START)
    exchanged, init_conf = ours.take_actions()
    assert bytes(exchanged.osk) == upstream["osk"]
    assert init_conf.datagram == upstream["msg_InitConf"]
    theirs.receive(upstream["msg_InitConf"], INITIATOR, START)
    exchanged, empty_data = theirs.take_actions()
    assert bytes(exchanged.osk) == upstream["osk"]
    assert empty_data.datagram[:48] == upstream["msg_EmptyData"][:48]  # upstream's cookie is stale buffer
    ours.receive(upstream["msg_EmptyData"], RESPONDER, START)
    assert ours.take_actions() == [KeyConfirmed(peer)]
    assert not ours.refused
    assert not theirs.refused


IHI = [f"IHI{n}" for n in range(4, 9)]
IHR = [f"IHR{n}" for n in range(4, 9)]
RHR = [f"RHR{n}" for n in range(3, 8)]
RHI = [f"RHI{n}" for n in range(3, 8)]
ICI, ICR = ["ICI3", "ICI4"], ["ICR1", "ICR2", "ICR3", "ICR4"]
RECORDED_AS = {"IHR": "IHI", "RHI": "RHR", "ICR1": "RHR6", "ICR2": "RHR7", "ICR3": "ICI3", "ICR4": "ICI4"}


@pytest.mark.parametrize("step", [*IHI, *IHR, *RHR, *RHI, *ICI, *ICR])
def test_chaining_key_of_step(step: str, cks: list[bytes]) -> None:
    t = our_own("BLAKE2b_ct188")
    if step in IHI + RHI + ICI:
        server, peer = initiator(t)
        start(server, peer)
        server.receive(t.v["msg_RespHello"], RESPONDER, START)
        order = IHI + RHI + ICI
    else:
        server, _ = responder(t)
        server.receive(t.v["msg_InitHello_cookie_zero"], INITIATOR, START)
        server.receive(t.v["msg_InitConf"], INITIATOR, START)
        order = IHR + RHR + ICR
    recorded = RECORDED_AS.get(step) or RECORDED_AS.get(step[:3], step[:3]) + step[3:]
    assert len(cks) == len(order)
    assert cks[order.index(step)] == t.v[f"ck_after_{recorded}"]


@pytest.mark.parametrize("step", [*IHI, *IHR, *RHR])
def test_derived_transcripts_agree_with_the_upstream_recording(step: str) -> None:
    recorded = RECORDED_AS.get(step[:3], step[:3]) + step[3:]
    assert derived("SHAKE256_ct156").v[f"ck_after_{recorded}"] == upstream_entries()[f"ck_after_{step}"]
