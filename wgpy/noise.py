"""Noise_IKpsk2: create and consume an initiation and a response, on values alone.

Knows no peers, clocks, macs or timers. Every function either returns a new value or raises and changed
nothing; a forged message cannot disturb what waits for a true one. `SentInitiation` is what an initiator
keeps while it waits, `ReceivedInitiation` what a responder holds between the two messages.

    -> e, es, s, ss, {timestamp}
    <- e, ee, se, psk, {}

Paper: WireGuard §5.4.1 to §5.4.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from wgpy import crypto
from wgpy.constants import CONSTRUCTION, IDENTIFIER
from wgpy.crypto import Buffer
from wgpy.errors import AuthenticationError
from wgpy.messages import Initiation, Response
from wgpy.model import PrivateKey, PublicKey

INITIAL_CHAINING_KEY: Final = crypto.hash_(CONSTRUCTION)
INITIAL_HASH: Final = crypto.hash_(INITIAL_CHAINING_KEY, IDENTIFIER)


@dataclass(frozen=True, slots=True)
class StaticIdentity:
    """Our own static key pair."""

    private_key: PrivateKey = field(repr=False)
    public_key: PublicKey

    @classmethod
    def from_private(cls, private_key: bytes) -> "StaticIdentity":
        """Clamps, and computes the public half."""
        scalar = crypto.clamp(private_key)
        return cls(PrivateKey(scalar), PublicKey(crypto.public_key(scalar)))

    def shared_with(self, remote_static: PublicKey) -> bytes | None:
        """ss, or None where the remote key is of small order: no handshake with it may ever happen."""
        try:
            return crypto.dh(self.private_key, remote_static)
        except AuthenticationError:
            return None


class SymmetricState:
    """C and H of the paper. Mutable and wiped; work that may fail is done on a copy."""

    __slots__ = ("chaining_key", "hash")

    def __init__(self, chaining_key: Buffer | memoryview, hash_: bytes) -> None:
        self.chaining_key = bytearray(chaining_key)
        self.hash = hash_

    @classmethod
    def start(cls, responder_static: PublicKey) -> "SymmetricState":
        """Where both sides begin; S_r is always the responder's."""
        return cls(INITIAL_CHAINING_KEY, crypto.hash_(INITIAL_HASH, responder_static))

    def copy(self) -> "SymmetricState":
        """An independent one with the same values."""
        return SymmetricState(bytes(self.chaining_key), self.hash)

    def mix_hash(self, data: bytes) -> None:
        """H = Hash(H || data)."""
        self.hash = crypto.hash_(self.hash, data)

    def mix_ephemeral(self, ephemeral: bytes) -> None:
        """An ephemeral public key enters both."""
        self.mix_hash(ephemeral)
        self.mix_key(ephemeral)

    def mix_key(self, data: bytes) -> None:
        """C = Kdf1(C, data)."""
        self.chaining_key[:] = crypto.kdf1(self.chaining_key, data)

    def derive_key(self, data: bytes) -> bytes:
        """(C, k) = Kdf2(C, data)."""
        self.chaining_key[:], key = crypto.kdf2(self.chaining_key, data)
        return key

    def mix_psk(self, preshared_key: Buffer) -> bytes:
        """(C, tau, k) = Kdf3(C, Q); tau enters H."""
        self.chaining_key[:], tau, key = crypto.kdf3(self.chaining_key, preshared_key)
        self.mix_hash(tau)
        return key

    def seal(self, key: bytes, plaintext: bytes) -> bytes:
        """Seal with H as associated data, then hash what goes out."""
        sealed = crypto.aead_seal(key, 0, plaintext, self.hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, key: bytes, sealed: bytes) -> bytes:
        """The plaintext; AuthenticationError, and H as it was, when the tag does not verify."""
        plaintext = crypto.aead_open(key, 0, sealed, self.hash)
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytearray, bytearray]:
        """T1, T2: the initiator sends with the first. C is wiped."""
        first, second = crypto.kdf2(self.chaining_key, b"")
        self.wipe()
        return bytearray(first), bytearray(second)

    def wipe(self) -> None:
        """Forget C."""
        crypto.wipe(self.chaining_key)


@dataclass(frozen=True, slots=True)
class TransportKeys:
    """What a finished handshake leaves behind."""

    send_key: bytearray = field(repr=False)
    receive_key: bytearray = field(repr=False)
    local_index: int
    remote_index: int

    def wipe(self) -> None:
        """Forget both keys."""
        crypto.wipe(self.send_key)
        crypto.wipe(self.receive_key)


@dataclass(frozen=True, slots=True)
class SentInitiation:
    """An initiator's state while it waits for the response."""

    sender_index: int
    ephemeral_private: bytearray = field(repr=False)
    ephemeral: bytes
    state: SymmetricState = field(repr=False)

    def wipe(self) -> None:
        """Forget the ephemeral key and C."""
        crypto.wipe(self.ephemeral_private)
        self.state.wipe()


@dataclass(frozen=True, slots=True)
class ClaimedInitiation:
    """An initiation whose static field opened; `ss` of that peer has yet to prove it."""

    remote_static: PublicKey
    message: Initiation
    state: SymmetricState = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReceivedInitiation:
    """An authentic initiation, ready to be answered once."""

    remote_static: PublicKey
    remote_index: int
    remote_ephemeral: bytes
    timestamp: bytes
    state: SymmetricState = field(repr=False)


class Arithmetic(Protocol):
    """Who does what the functions below say: this module, or wgpy.noise_native."""

    def create_initiation(
        self,
        identity: StaticIdentity,
        remote_static: PublicKey,
        shared: bytes,
        ephemeral_private: bytearray,
        sender_index: int,
        timestamp: bytes,
    ) -> tuple[SentInitiation, Initiation]:
        """Message 1."""

    def open_initiation(self, identity: StaticIdentity, message: Initiation) -> ClaimedInitiation:
        """Who calls."""

    def consume_initiation(self, claimed: ClaimedInitiation, shared: bytes) -> ReceivedInitiation:
        """Prove it."""

    def create_response(
        self,
        received: ReceivedInitiation,
        ephemeral_private: bytearray,
        preshared_key: Buffer,
        sender_index: int,
    ) -> tuple[TransportKeys, Response]:
        """Message 2."""

    def consume_response(
        self,
        identity: StaticIdentity,
        sent: SentInitiation,
        message: Response,
        preshared_keys: Sequence[Buffer],
    ) -> tuple[int, TransportKeys]:
        """The end."""


def create_initiation(
    identity: StaticIdentity,
    remote_static: PublicKey,
    shared: bytes,
    ephemeral_private: bytearray,
    sender_index: int,
    timestamp: bytes,
) -> tuple[SentInitiation, Initiation]:
    """Message 1 and what to keep until message 2 comes.

    Args:
        identity: ours.
        remote_static: the responder's.
        shared: ss, from StaticIdentity.shared_with.
        ephemeral_private: fresh, clamped; kept and later wiped by the returned state.
        sender_index: reserved for this handshake.
        timestamp: 12 bytes, greater than all sent to this peer before.
    Raises:
        AuthenticationError: remote_static is of small order.

    Paper: WireGuard §5.4.2.
    """
    state = SymmetricState.start(remote_static)
    ephemeral = crypto.public_key(ephemeral_private)
    state.mix_ephemeral(ephemeral)
    encrypted_static = state.seal(
        state.derive_key(crypto.dh(ephemeral_private, remote_static)), identity.public_key
    )
    encrypted_timestamp = state.seal(state.derive_key(shared), timestamp)
    message = Initiation(sender_index, ephemeral, encrypted_static, encrypted_timestamp)
    return SentInitiation(sender_index, ephemeral_private, ephemeral, state), message


def open_initiation(identity: StaticIdentity, message: Initiation) -> ClaimedInitiation:
    """Who claims to be calling. Proves nothing yet.

    Raises:
        AuthenticationError: not for us, or mangled.

    Paper: WireGuard §5.4.2, read backwards.
    """
    state = SymmetricState.start(identity.public_key)
    state.mix_ephemeral(message.ephemeral)
    key = state.derive_key(crypto.dh(identity.private_key, message.ephemeral))
    return ClaimedInitiation(PublicKey(state.open(key, message.encrypted_static)), message, state)


def consume_initiation(claimed: ClaimedInitiation, shared: bytes) -> ReceivedInitiation:
    """Prove the claim with ss. Replay and flood are the caller's to judge.

    Raises:
        AuthenticationError: the timestamp does not open.
    """
    state = claimed.state.copy()
    timestamp = state.open(state.derive_key(shared), claimed.message.encrypted_timestamp)
    message = claimed.message
    return ReceivedInitiation(
        claimed.remote_static, message.sender_index, message.ephemeral, timestamp, state
    )


def create_response(
    received: ReceivedInitiation, ephemeral_private: bytearray, preshared_key: Buffer, sender_index: int
) -> tuple[TransportKeys, Response]:
    """Message 2 and the transport keys, which may not send before the initiator has used them.

    Args:
        received: the initiation to answer.
        ephemeral_private: fresh, clamped; wiped here.
        preshared_key: 32 bytes, zeros for none.
        sender_index: reserved for this handshake.
    Raises:
        AuthenticationError: one of the remote keys is of small order.

    Paper: WireGuard §5.4.3.
    """
    state = received.state.copy()
    ephemeral = crypto.public_key(ephemeral_private)
    state.mix_ephemeral(ephemeral)
    state.mix_key(crypto.dh(ephemeral_private, received.remote_ephemeral))
    state.mix_key(crypto.dh(ephemeral_private, received.remote_static))
    encrypted_empty = state.seal(state.mix_psk(preshared_key), b"")
    receive_key, send_key = state.split()
    crypto.wipe(ephemeral_private)
    received.state.wipe()
    message = Response(sender_index, received.remote_index, ephemeral, encrypted_empty)
    return TransportKeys(send_key, receive_key, sender_index, received.remote_index), message


def consume_response(
    identity: StaticIdentity, sent: SentInitiation, message: Response, preshared_keys: Sequence[Buffer]
) -> tuple[int, TransportKeys]:
    """Finish the handshake this side started, with the first preshared key that fits.

    The psk enters in message 2 only, so C and H before it are kept and each candidate is tried on a copy: a
    few hashes each, no Diffie-Hellman.

    Args:
        identity: ours.
        sent: what create_initiation left; untouched, the caller wipes it on success.
        message: the response, its receiver index already matched to `sent`.
        preshared_keys: candidates in the order they are tried.
    Returns:
        The position of the key that fitted, and the transport keys.
    Raises:
        AuthenticationError: the empty payload opens with none of them.

    Paper: WireGuard §5.4.3, read backwards.
    """
    before_psk = sent.state.copy()
    before_psk.mix_ephemeral(message.ephemeral)
    before_psk.mix_key(crypto.dh(sent.ephemeral_private, message.ephemeral))
    before_psk.mix_key(crypto.dh(identity.private_key, message.ephemeral))
    try:
        for position, preshared_key in enumerate(preshared_keys):
            state = before_psk.copy()
            try:
                state.open(state.mix_psk(preshared_key), message.encrypted_empty)
            except AuthenticationError:
                state.wipe()
                continue
            send_key, receive_key = state.split()
            return position, TransportKeys(send_key, receive_key, sent.sender_index, message.sender_index)
    finally:
        before_psk.wipe()
    raise AuthenticationError("the response opens with none of the preshared keys")
