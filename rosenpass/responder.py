"""The responder's half: consume InitHello, create RespHello, consume InitConf, create EmptyData.

Between the two messages the responder keeps nothing: its state travels in the biscuit. Everything here
computes on values and returns them; server.py commits. Step labels are the white paper's.
"""

from dataclasses import dataclass, field

from .biscuit import BiscuitKeys, is_fresh
from .constants import NONCE_LEN, HashVariant, Instant, Suite
from .errors import AuthenticationError, ReplayError, UnknownPeer
from .handshake import HandshakeState
from .identity import Kems, StaticIdentity
from .msgs import EmptyData, InitConf, InitHello, RespHello
from .peers import Peer, Peers
from .primitives import aead_encrypt


@dataclass(frozen=True, slots=True)
class AcceptedInitConf:
    """An InitConf that verified and is new; nothing is committed yet."""

    peer: Peer
    biscuit_no: int
    osk: bytearray = field(repr=False)
    txkr: bytearray = field(repr=False)


def consume_init_hello(
    identity: StaticIdentity, peers: Peers, kems: Kems, suite: Suite, message: InitHello
) -> tuple[HandshakeState, Peer]:
    """Follow the initiator to its auth tag and learn who it is.

    Raises:
        AuthenticationError: a tag does not verify, or the peer is configured with another suite.
        MalformedMessage: a ciphertext no honest peer would send.
        UnknownPeer: nobody with this id is configured.

    White paper: InitHello, IHR1 to IHR8.
    """
    mine = identity.hashes[suite.hash]
    hs = HandshakeState(mine.domains, mine.ck_init)  # IHR1
    try:
        hs.mix(message.sidi, message.epki)  # IHR4
        hs.decaps_and_mix(
            kems.static[suite.static_ciphertext_len], identity.sskm, mine.spk, message.sctr
        )  # IHR5
        peer = peers.by_id(hs.decrypt_and_mix(message.pidi_ct))  # IHR6
        if peer.config.suite != suite:
            raise AuthenticationError("the peer speaks another suite than its configuration says")
        hs.mix(peer.config.spkt, peer.psk)  # IHR7
        hs.decrypt_and_mix(message.auth)  # IHR8
    except Exception:
        hs.wipe()
        raise
    return hs, peer


def create_resp_hello(
    identity: StaticIdentity,
    peer: Peer,
    kems: Kems,
    biscuits: BiscuitKeys,
    hs: HandshakeState,
    message: InitHello,
    sidr: bytes,
    now: Instant,
) -> RespHello:
    """Answer an authentic InitHello and forget it.

    Raises:
        MalformedMessage: the ephemeral public key is out of range.

    White paper: RespHello, RHR1 to RHR7.
    """
    suite = peer.config.suite
    mine = identity.hashes[suite.hash]
    try:
        hs.mix(sidr, message.sidi)  # RHR3
        ecti = hs.encaps_and_mix(kems.ephemeral, message.epki)  # RHR4
        scti = hs.encaps_and_mix(kems.static[suite.static_ciphertext_len], peer.config.spkt)  # RHR5
        biscuit_ct = biscuits.store(peer.id, hs.ck, mine.biscuit_ad(message.sidi, sidr), now)  # RHR6
        hs.mix(biscuit_ct)  # RHR6
        auth = hs.encrypt_and_mix(b"")  # RHR7
    finally:
        hs.wipe()
    return RespHello(sidr, message.sidi, ecti, scti, auth, biscuit_ct)


def consume_init_conf(
    identity: StaticIdentity,
    peers: Peers,
    biscuits: BiscuitKeys,
    variant: HashVariant,
    message: InitConf,
    now: Instant,
) -> AcceptedInitConf:
    """Open the biscuit, redo RHR7, verify the initiator's auth and that the biscuit is new.

    Raises:
        AuthenticationError: the biscuit or the tag does not verify.
        UnknownPeer: the peer was removed meanwhile.
        ReplayError: a newer biscuit of this peer was used before.

    White paper: InitConf, ICR1 to ICR7.
    """
    mine = identity.hashes[variant]
    biscuit = biscuits.load(message.biscuit_ct, mine.biscuit_ad(message.sidi, message.sidr), now)  # ICR1
    peer = peers.by_id(biscuit.pidi)
    if peer.config.suite.hash != variant:
        raise UnknownPeer("no peer of this hash variant has this id")
    hs = HandshakeState(mine.domains, biscuit.ck)
    try:
        hs.mix(message.biscuit_ct)  # ICR1
        hs.encrypt_and_mix(b"")  # ICR2
        hs.mix(message.sidi, message.sidr)  # ICR3
        hs.decrypt_and_mix(message.auth)  # ICR4
        if not is_fresh(biscuit.number, peer.biscuit_used):  # ICR5
            raise ReplayError("this biscuit is not newer than the last one used")
        osk = hs.extract(peer.osk_leaf)  # ICR7
        txkr = hs.extract(mine.domains.res_enc)  # ICR7
    finally:
        hs.wipe()
    return AcceptedInitConf(peer, biscuit.number, osk, txkr)


def create_empty_data(accepted: AcceptedInitConf, sidi: bytes) -> EmptyData:
    """Tell the initiator that its InitConf was accepted; the counter begins at 0. White paper: EmptyData."""
    auth = aead_encrypt(accepted.txkr, bytes(NONCE_LEN), b"", b"")
    return EmptyData(sidi, 0, auth)
