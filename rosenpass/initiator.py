"""The initiator's half: create InitHello, consume RespHello, create InitConf, consume EmptyData.

Everything here computes on values and returns them; server.py commits. Step labels are the white paper's,
each at the end of its line. A handshake is in exactly one of three phases:

    AwaitingRespHello -> AwaitingEmptyData                  the normal way
    AwaitingRespHello -> HeldBack -> AwaitingEmptyData      both ends initiated: see collision.py
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .constants import NONCE_LEN, Instant
from .erasure import wipe
from .errors import StateError
from .handshake import HandshakeState
from .identity import Kems, StaticIdentity
from .msgs import COUNTER_LEN, EmptyData, InitConf, InitHello, RespHello
from .primitives import aead_decrypt
from .retransmission import Retransmission

if TYPE_CHECKING:
    from .peers import Peer


@dataclass(slots=True)
class AwaitingRespHello:
    """InitHello is out."""

    state: HandshakeState = field(repr=False)
    epki: bytes
    eski: bytearray = field(repr=False)

    def wipe(self) -> None:
        """Overwrite the secrets."""
        self.state.wipe()
        wipe(self.eski)


@dataclass(slots=True)
class HeldBack:
    """RespHello was good, InitConf is ready but waits: the peer's own InitConf may be on its way."""

    init_conf: InitConf
    osk: bytearray = field(repr=False)
    txkr: bytearray = field(repr=False)
    release_at: Instant

    def wipe(self) -> None:
        """Overwrite the secrets."""
        wipe(self.osk, self.txkr)


@dataclass(slots=True)
class AwaitingEmptyData:
    """InitConf is out and the key is in use."""

    txkr: bytearray = field(repr=False)
    sent_at: Instant

    def wipe(self) -> None:
        """Overwrite the secret."""
        wipe(self.txkr)


@dataclass(slots=True)
class InitiatorHandshake:
    """One handshake of ours, from InitHello to EmptyData. It exists only while it waits for something.

    Attributes:
        sealed: the message last sent, with zeros as cookie: the cookie is written at each send.
        peer_initiates: an authentic InitHello of the same peer came meanwhile.
        sent: datagrams sent in this handshake.
        resolved: whether one of them went to the configured endpoint, whose name was looked up then.
    """

    sidi: bytes
    created_at: Instant
    phase: AwaitingRespHello | HeldBack | AwaitingEmptyData
    sealed: bytes = field(repr=False)
    retransmission: Retransmission
    peer_initiates: bool = False
    sent: int = 0
    resolved: bool = False

    def enter(self, phase: HeldBack | AwaitingEmptyData) -> None:
        """Move on, wiping what the old phase held (the keys a new phase took over are its own)."""
        if isinstance(self.phase, AwaitingRespHello):
            self.phase.wipe()
        self.phase = phase

    def wipe(self) -> None:
        """Overwrite every secret."""
        self.phase.wipe()


def create_init_hello(
    identity: StaticIdentity, peer: "Peer", kems: Kems, sidi: bytes
) -> tuple[AwaitingRespHello, InitHello]:
    """Start a handshake with `peer`. White paper: InitHello, IHI1 to IHI8."""
    domains = peer.hashes.domains
    mine = identity.hashes[peer.config.suite.hash]
    static = kems.static[peer.config.suite.static_ciphertext_len]
    epki, eski = kems.ephemeral.keypair()  # IHI3
    hs = HandshakeState(domains, peer.hashes.ck_init)  # IHI1
    try:
        hs.mix(sidi, epki)  # IHI4
        sctr = hs.encaps_and_mix(static, peer.config.spkt)  # IHI5
        pidi_ct = hs.encrypt_and_mix(mine.peer_id)  # IHI6
        hs.mix(identity.spkm, peer.psk)  # IHI7
        auth = hs.encrypt_and_mix(b"")  # IHI8
    except Exception:
        hs.wipe()
        wipe(eski)
        raise
    return AwaitingRespHello(hs, epki, eski), InitHello(sidi, epki, sctr, pidi_ct, auth)


def consume_resp_hello(
    identity: StaticIdentity, peer: "Peer", kems: Kems, waiting: AwaitingRespHello, message: RespHello
) -> HandshakeState:
    """Follow the responder to its auth tag; the waiting state stays as it is.

    Raises:
        AuthenticationError: not the answer of this peer to this InitHello.
        MalformedMessage: a ciphertext no honest peer would send.

    White paper: RespHello, RHI3 to RHI7.
    """
    static = kems.static[peer.config.suite.static_ciphertext_len]
    hs = waiting.state.copy()
    try:
        hs.mix(message.sidr, message.sidi)  # RHI3
        hs.decaps_and_mix(kems.ephemeral, waiting.eski, waiting.epki, message.ecti)  # RHI4
        hs.decaps_and_mix(static, identity.sskm, identity.spkm, message.scti)  # RHI5
        hs.mix(message.biscuit_ct)  # RHI6
        hs.decrypt_and_mix(message.auth)  # RHI7
    except Exception:
        hs.wipe()
        raise
    return hs


def create_init_conf(
    hs: HandshakeState, message: RespHello, osk_leaf: bytes, release_at: Instant
) -> HeldBack:
    """Confirm, and derive what the handshake was for. White paper: InitConf, ICI3 to ICI7."""
    hs.mix(message.sidi, message.sidr)  # ICI3
    auth = hs.encrypt_and_mix(b"")  # ICI4
    init_conf = InitConf(message.sidi, message.sidr, message.biscuit_ct, auth)
    osk = hs.extract(osk_leaf)  # ICI7
    txkr = hs.extract(hs.domains.res_enc)  # ICI7
    hs.wipe()
    return HeldBack(init_conf, osk, txkr, release_at)


def consume_empty_data(phase: object, message: EmptyData) -> None:
    """Check that the responder accepted our InitConf.

    Raises:
        StateError: this handshake does not wait for it.
        AuthenticationError: it is not from the responder.
    """
    if not isinstance(phase, AwaitingEmptyData):
        raise StateError("EmptyData before InitConf")
    # Any first counter is right: 0 from the Rust tool, 1 from go-rosenpass; this is the only one we take.
    nonce = message.ctr.to_bytes(COUNTER_LEN, "little") + bytes(NONCE_LEN - COUNTER_LEN)
    aead_decrypt(phase.txkr, nonce, message.auth, b"")
