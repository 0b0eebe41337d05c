"""wgpy.noise once more, each function as one call of csrc/noise.c: twice as fast, and no copy of a key stays.

Values in and out are those of wgpy.noise, so that either may continue what the other began. Knows no peers,
clocks, macs or timers. The reference stays wgpy.noise; tests hold the two against each other.

Paper: WireGuard §5.4.1 to §5.4.5.
"""

import errno
from collections.abc import Sequence
from typing import Any

from wgpy import crypto
from wgpy._noise import ffi, lib
from wgpy.crypto import Buffer
from wgpy.errors import AuthenticationError
from wgpy.messages import Initiation, Response
from wgpy.model import KEY_LEN, PublicKey
from wgpy.noise import (
    ClaimedInitiation,
    ReceivedInitiation,
    SentInitiation,
    StaticIdentity,
    SymmetricState,
    TransportKeys,
)


class NativeNoise:
    """The functions of wgpy.noise as methods. One caller at a time.

    Secrets pass through a few C structs that are overwritten at the end of each call, but for our static key
    pair, which stays until another identity comes or `wipe` is called.

    Raises:
        MemoryError: libcrypto gives no contexts.
    """

    def __init__(self) -> None:
        self._noise = ffi.gc(lib.noise_new(), lib.noise_free)
        if self._noise == ffi.NULL:
            raise MemoryError("libcrypto lacks what a handshake needs, or memory")
        self._identity: StaticIdentity | None = None
        self._static = _Struct("struct noise_key_pair *")
        self._ephemeral = _Struct("struct noise_key_pair *")
        self._state = _Struct("struct noise_state *")
        self._keys = _Struct("struct noise_transport_keys *")
        self._initiation = _Struct("struct noise_initiation *")
        self._response = _Struct("struct noise_response *")
        self._public = _Struct("uint8_t[32]")
        self._timestamp = _Struct("uint8_t[12]")

    def create_initiation(
        self,
        identity: StaticIdentity,
        remote_static: PublicKey,
        shared: bytes,
        ephemeral_private: bytearray,
        sender_index: int,
        timestamp: bytes,
    ) -> tuple[SentInitiation, Initiation]:
        """As wgpy.noise.create_initiation."""
        try:
            self._ephemeral.bytes[:KEY_LEN] = ephemeral_private
            _check(lib.noise_public_key(self._noise, self._ephemeral.at))
            _check(
                lib.noise_create_initiation(
                    self._noise,
                    identity.public_key,
                    remote_static,
                    shared,
                    self._ephemeral.at,
                    timestamp,
                    self._state.at,
                    self._initiation.at,
                )
            )
            message = bytes(self._initiation.bytes)
            body = Initiation(sender_index, message[:32], message[32:80], message[80:])
            return SentInitiation(sender_index, ephemeral_private, body.ephemeral, self._take_state()), body
        finally:
            self._ephemeral.wipe()
            self._state.wipe()

    def open_initiation(self, identity: StaticIdentity, message: Initiation) -> ClaimedInitiation:
        """As wgpy.noise.open_initiation."""
        self._use(identity)
        self._put(message)
        try:
            _check(
                lib.noise_open_initiation(
                    self._noise, self._static.at, self._initiation.at, self._state.at, self._public.at
                )
            )
            return ClaimedInitiation(PublicKey(bytes(self._public.bytes)), message, self._take_state())
        finally:
            self._state.wipe()

    def consume_initiation(self, claimed: ClaimedInitiation, shared: bytes) -> ReceivedInitiation:
        """As wgpy.noise.consume_initiation."""
        message = claimed.message
        self._put(message)
        self._put_state(claimed.state)
        try:
            _check(
                lib.noise_consume_initiation(
                    self._noise, shared, self._initiation.at, self._state.at, self._timestamp.at
                )
            )
            return ReceivedInitiation(
                claimed.remote_static,
                message.sender_index,
                message.ephemeral,
                bytes(self._timestamp.bytes),
                self._take_state(),
            )
        finally:
            self._state.wipe()

    def create_response(
        self,
        received: ReceivedInitiation,
        ephemeral_private: bytearray,
        preshared_key: Buffer,
        sender_index: int,
    ) -> tuple[TransportKeys, Response]:
        """As wgpy.noise.create_response."""
        self._put_state(received.state)
        try:
            self._ephemeral.bytes[:KEY_LEN] = ephemeral_private
            _check(
                lib.noise_create_response(
                    self._noise,
                    self._state.at,
                    received.remote_ephemeral,
                    received.remote_static,
                    self._ephemeral.at,
                    ffi.from_buffer("uint8_t[32]", preshared_key),
                    self._response.at,
                    self._keys.at,
                )
            )
            crypto.wipe(ephemeral_private)
            received.state.wipe()
            message = bytes(self._response.bytes)
            receive_key, send_key = self._take_keys()
            keys = TransportKeys(send_key, receive_key, sender_index, received.remote_index)
            return keys, Response(sender_index, received.remote_index, message[:32], message[32:])
        finally:
            self._ephemeral.wipe()
            self._state.wipe()
            self._keys.wipe()

    def consume_response(
        self,
        identity: StaticIdentity,
        sent: SentInitiation,
        message: Response,
        preshared_keys: Sequence[Buffer],
    ) -> tuple[int, TransportKeys]:
        """As wgpy.noise.consume_response."""
        self._use(identity)
        self._put_state(sent.state)
        candidates = bytearray().join(preshared_keys)
        try:
            self._ephemeral.bytes[:KEY_LEN] = sent.ephemeral_private
            self._ephemeral.bytes[KEY_LEN:] = sent.ephemeral
            self._response.bytes[:] = message.ephemeral + message.encrypted_empty
            position = _check(
                lib.noise_consume_response(
                    self._noise,
                    self._static.at,
                    self._state.at,
                    self._ephemeral.at,
                    self._response.at,
                    ffi.from_buffer("uint8_t[]", candidates),
                    len(preshared_keys),
                    self._keys.at,
                )
            )
            send_key, receive_key = self._take_keys()
            return position, TransportKeys(send_key, receive_key, sent.sender_index, message.sender_index)
        finally:
            crypto.wipe(candidates)
            self._ephemeral.wipe()
            self._state.wipe()
            self._keys.wipe()

    def wipe(self) -> None:
        """Forget the identity."""
        self._identity = None
        self._static.wipe()

    # -- within

    def _use(self, identity: StaticIdentity) -> None:
        if identity is not self._identity:
            self._static.bytes[:KEY_LEN] = identity.private_key
            self._static.bytes[KEY_LEN:] = identity.public_key
            self._identity = identity

    def _put(self, message: Initiation) -> None:
        self._initiation.bytes[:] = message.ephemeral + message.encrypted_static + message.encrypted_timestamp

    def _put_state(self, state: SymmetricState) -> None:
        self._state.bytes[:KEY_LEN] = state.chaining_key
        self._state.bytes[KEY_LEN:] = state.hash

    def _take_state(self) -> SymmetricState:
        found = self._state.bytes
        return SymmetricState(found[:KEY_LEN], bytes(found[KEY_LEN:]))

    def _take_keys(self) -> tuple[bytearray, bytearray]:
        found = self._keys.bytes
        return bytearray(found[:KEY_LEN]), bytearray(found[KEY_LEN:])


class _Struct:
    """A C struct or array of bytes: `at` is the pointer, `bytes` its memory."""

    __slots__ = ("_zeros", "at", "bytes")

    def __init__(self, declaration: str) -> None:
        self.at: Any = ffi.new(declaration)
        self.bytes = memoryview(ffi.buffer(self.at))
        self._zeros = bytes(len(self.bytes))

    def wipe(self) -> None:
        self.bytes[:] = self._zeros


def _check(result: int) -> int:
    if result >= 0:
        return result
    if result == -errno.EBADMSG:
        raise AuthenticationError("a tag does not verify, or a public key is of small order")
    raise OSError(-result, "libcrypto failed in a handshake")
