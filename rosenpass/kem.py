"""The two key encapsulation mechanisms of Rosenpass, behind one seam.

* `StaticKem`: Classic McEliece 460896, in our own constant-time C (csrc/), for both ciphertext forms.
  liboqs makes the keys where it is present, else pqcrypto.
* `EphemeralKem`: Kyber512 as of round 3, by liboqs where it is present, else built on pqcrypto's
  ML-KEM-512. Both put the same bytes on the wire.

What is known of them. Both rest on problems believed to be hard, not on proofs. Cryptanalysis published in
2026 (ePrint 2026/1630 and follow-ups) puts Classic McEliece below the security level it claims, and it is
what authenticates the peers here. So give every pair of peers a preshared key: one that stays secret
authenticates and protects the exchange even where both mechanisms fall.

What is not promised. Our C takes the same time whatever the secrets and wipes what it used. Python cannot
promise that: the interpreter copies objects as it likes, randomness arrives as `bytes`, and pqcrypto takes
and returns `bytes` (this module overwrites those it made or was given; what the library copied is beyond
reach). liboqs spares that last part. Nor have we checked how those libraries use time.

Knows no messages, no hash tree and no files. White paper: section 2.1; its letters are spkt and sskm for
the static keys, epki and eski for the ephemeral ones.
"""

import errno
import functools
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from . import liboqs
from ._mceliece import ffi, lib
from .erasure import wipe
from .errors import KemUnavailable, MalformedMessage

if TYPE_CHECKING:
    from ._mceliece import _CData

Buffer = bytes | bytearray | memoryview
RandomBytes = Callable[[int], bytes]

SHARED_SECRET_LEN = 32

STATIC_PUBLIC_KEY_LEN = lib.MCELIECE_PUBLIC_KEY_LEN  # 524160
STATIC_SECRET_KEY_RUST_LEN = lib.MCELIECE_SECRET_KEY_RUST_LEN  # 13568
STATIC_SECRET_KEY_GO_LEN = lib.MCELIECE_SECRET_KEY_GO_LEN  # 13608
STATIC_CIPHERTEXT_LENS = (lib.MCELIECE_CIPHERTEXT_PC_LEN, lib.MCELIECE_CIPHERTEXT_LEN)  # 188, 156

EPHEMERAL_PUBLIC_KEY_LEN = 800
EPHEMERAL_SECRET_KEY_LEN = 1632
EPHEMERAL_CIPHERTEXT_LEN = 768


class Kem(Protocol):
    """What the handshake needs of a mechanism: `StaticKem` or `EphemeralKem`, in tests a toy."""

    @property
    def public_key_len(self) -> int:
        """Length of a public key in bytes."""
        ...

    @property
    def ciphertext_len(self) -> int:
        """Length of a ciphertext in bytes."""
        ...

    def keypair(self) -> tuple[bytes, bytearray]:
        """Make a public and a secret key. The caller wipes the latter."""
        ...

    def encaps(self, public_key: bytes) -> tuple[bytes, bytearray]:
        """Make a ciphertext and the 32-byte secret that only the owner of the public key finds in it.

        The caller wipes the secret.

        Raises:
            MalformedMessage: no honest peer has this public key.
        """
        ...

    def decaps(self, secret_key: "SecretKey", ciphertext: bytes) -> bytearray:
        """Open a ciphertext; the caller wipes the 32-byte secret.

        Never fails: a forged ciphertext gives a secret nobody else has (implicit rejection).

        Raises:
            ValueError: the ciphertext is not `ciphertext_len` long, which the envelope has checked.
        """
        ...


class StaticSecretKey:
    """A Classic McEliece secret key in C memory, with what every decapsulation needs precomputed.

    Locked in memory and left out of core dumps where the system allows it; wiped by `wipe` or when collected.

    Args:
        data: 13568 or 13608 bytes. Copied; the caller wipes it.
    Raises:
        ValueError: not a secret key; the text says why and carries nothing of it.
    """

    __slots__ = ("_key",)

    def __init__(self, data: Buffer) -> None:
        out = ffi.new("struct mceliece_key **")
        view = ffi.from_buffer("uint8_t[]", data)
        result = lib.mceliece_key_new(out, view, len(data))
        if result == -errno.EINVAL:
            raise ValueError(
                f"a secret key has {STATIC_SECRET_KEY_RUST_LEN} or {STATIC_SECRET_KEY_GO_LEN} bytes, "
                f"not {len(data)}"
            )
        if result == -errno.EBADMSG:
            raise ValueError("the bytes are no Classic McEliece 460896 secret key")
        _check(result)
        self._key: _CData | None = ffi.gc(out[0], lib.mceliece_key_free)

    def wipe(self) -> None:
        """Wipe and free the key once no decapsulation runs with it. Later ones raise ValueError."""
        self._key = None

    def decaps(self, ciphertext: bytes) -> bytearray:
        """Open a ciphertext of either form; its length says which."""
        key = self._key
        if key is None:
            raise ValueError("the secret key was wiped")
        shared = bytearray(SHARED_SECRET_LEN)
        result = lib.mceliece_decaps(ffi.from_buffer("uint8_t[]", shared), key, ciphertext, len(ciphertext))
        if result == -errno.EINVAL:
            raise ValueError(f"no ciphertext has {len(ciphertext)} bytes")
        _check(result)
        return shared

    def __repr__(self) -> str:
        return "StaticSecretKey(...)"

    def __reduce__(self) -> str:
        raise TypeError("a secret key does not leave the process")


# A static key is best loaded once into a StaticSecretKey; as bytes it is prepared anew at each use.
SecretKey = Buffer | StaticSecretKey


class StaticKem:
    """Classic McEliece 460896 with ciphertexts of one form.

    Args:
        ciphertext_len: 188, with plaintext confirmation (every release), or 156 (round 4).
        random: the operating system's generator; a seeded one in tests.
    """

    public_key_len = STATIC_PUBLIC_KEY_LEN

    def __init__(self, ciphertext_len: int, random: RandomBytes) -> None:
        if ciphertext_len not in STATIC_CIPHERTEXT_LENS:
            raise ValueError(f"no form of Classic McEliece 460896 has {ciphertext_len}-byte ciphertexts")
        self.ciphertext_len = ciphertext_len
        self._random = random

    def keypair(self) -> tuple[bytes, bytearray]:
        """Make a key pair for files and for `StaticSecretKey`, in the 13608- or 13568-byte layout.

        Takes 0.1 to 0.2 s, in which pqcrypto holds the GIL.

        Raises:
            KemUnavailable: neither liboqs nor pqcrypto is installed.
        """
        return _static_keypair()

    def encaps(self, public_key: bytes) -> tuple[bytes, bytearray]:
        """Make a secret for the owner of a public key of 524160 bytes."""
        error = bytearray(lib.MCELIECE_ERROR_LEN)
        random = bytearray(self._random(lib.MCELIECE_RANDOM_LEN))
        try:
            lib.mceliece_error_from_random(
                ffi.from_buffer("uint8_t[]", error), ffi.from_buffer("uint8_t[]", random)
            )
            return self.encaps_error(public_key, error)
        finally:
            wipe(error, random)

    def encaps_error(self, public_key: bytes, error: bytes | bytearray) -> tuple[bytes, bytearray]:
        """Encapsulate a known error vector: 576 bytes, weight 96. For replaying recorded runs."""
        liboqs.expect_length(public_key, STATIC_PUBLIC_KEY_LEN)
        liboqs.expect_length(error, lib.MCELIECE_ERROR_LEN)
        ciphertext, shared = bytearray(self.ciphertext_len), bytearray(SHARED_SECRET_LEN)
        result = lib.mceliece_encaps(
            ffi.from_buffer("uint8_t[]", ciphertext),
            self.ciphertext_len,
            ffi.from_buffer("uint8_t[]", shared),
            ffi.from_buffer("uint8_t[]", public_key),
            ffi.from_buffer("uint8_t[]", error),
        )
        _check(result)
        return bytes(ciphertext), shared

    def decaps(self, secret_key: SecretKey, ciphertext: bytes) -> bytearray:
        """Open a ciphertext of this form, in the same time whether it is genuine or not."""
        liboqs.expect_length(ciphertext, self.ciphertext_len)
        if isinstance(secret_key, StaticSecretKey):
            return secret_key.decaps(ciphertext)
        loaded = StaticSecretKey(secret_key)
        try:
            return loaded.decaps(ciphertext)
        finally:
            loaded.wipe()


def _static_keypair() -> tuple[bytes, bytearray]:
    for secret_len, ciphertext_len in (
        (STATIC_SECRET_KEY_GO_LEN, lib.MCELIECE_CIPHERTEXT_LEN),
        (STATIC_SECRET_KEY_RUST_LEN, lib.MCELIECE_CIPHERTEXT_PC_LEN),
    ):
        lengths = liboqs.Lengths(STATIC_PUBLIC_KEY_LEN, secret_len, ciphertext_len, SHARED_SECRET_LEN)
        if kem := liboqs.find("Classic-McEliece-460896", lengths):
            return kem.keypair()
    try:
        from pqcrypto.kem import mceliece_460896
    except ImportError as error:
        raise KemUnavailable(
            "no library can make Classic McEliece keys here; install one: pip install pqcrypto==1.0.0"
        ) from error
    public_key, secret_key = mceliece_460896.keygen()
    return public_key, _move(secret_key)


class _EphemeralBackend(Protocol):
    def keypair(self) -> tuple[bytes, bytearray]: ...
    def encaps(self, public_key: bytes) -> tuple[bytes, bytearray]: ...
    def decaps(self, secret_key: Buffer, ciphertext: bytes) -> bytearray: ...


class KyberFromMlKem:
    """Round 3 Kyber512 on pqcrypto's ML-KEM-512: the same bytes, and one more hash at the end.

    Kyber hashes the inner value with the ciphertext, which ML-KEM dropped. A rejected ciphertext gives an
    unpredictable secret, though not the one of round 3; nobody can see the difference.
    """

    def __init__(self) -> None:
        try:
            from pqcrypto.kem import ml_kem_512
        except ImportError as error:
            raise KemUnavailable(
                "no library offers Kyber512 here; install one: pip install pqcrypto==1.0.0"
            ) from error
        self._ml_kem = ml_kem_512

    def keypair(self) -> tuple[bytes, bytearray]:
        """Return a public and a secret key, in Kyber's layout as in ML-KEM's."""
        public_key, secret_key = self._ml_kem.keygen()
        return public_key, _move(secret_key)

    def encaps(self, public_key: bytes) -> tuple[bytes, bytearray]:
        """Return a ciphertext and its shared secret.

        Raises:
            ValueError: a coefficient of the public key is above the modulus, which round 3 let pass.
        """
        ciphertext, inner = self._ml_kem.encaps(public_key)
        return ciphertext, kyber_secret(_move(inner), ciphertext)

    def decaps(self, secret_key: Buffer, ciphertext: bytes) -> bytearray:
        """Open a ciphertext."""
        liboqs.expect_length(secret_key, EPHEMERAL_SECRET_KEY_LEN)
        borrowed = bytes(memoryview(secret_key))  # a copy even of bytes, for it is overwritten
        try:
            inner = self._ml_kem.decaps(borrowed, ciphertext)
        finally:
            _move(borrowed)
        return kyber_secret(_move(inner), ciphertext)


def kyber_secret(inner: bytearray, ciphertext: bytes) -> bytearray:
    """Turn the secret of ML-KEM-512 into the secret of round 3 Kyber512; wipes the former."""
    state = hashlib.shake_256(inner)
    wipe(inner)
    state.update(hashlib.sha3_256(ciphertext).digest())
    return _move(state.digest(SHARED_SECRET_LEN))


class EphemeralKem:
    """Kyber512 of round 3, in the library's own randomness (none of them takes a seed).

    Args:
        backend: where the arithmetic is done; by default liboqs if present, else pqcrypto.
    Raises:
        KemUnavailable: there is neither.
    """

    public_key_len = EPHEMERAL_PUBLIC_KEY_LEN
    ciphertext_len = EPHEMERAL_CIPHERTEXT_LEN

    def __init__(self, backend: _EphemeralBackend | None = None) -> None:
        self._backend = backend or default_ephemeral_backend()

    def keypair(self) -> tuple[bytes, bytearray]:
        """Make (epki, eski); the caller wipes eski as soon as RespHello is handled."""
        return self._backend.keypair()

    def encaps(self, public_key: bytes) -> tuple[bytes, bytearray]:
        """Make a secret for the owner of epki, which a stranger may have chosen."""
        try:
            return self._backend.encaps(public_key)
        except ValueError as error:
            raise MalformedMessage("epki is no Kyber512 public key") from error

    def decaps(self, secret_key: SecretKey, ciphertext: bytes) -> bytearray:
        """Open ecti with eski."""
        if isinstance(secret_key, StaticSecretKey):
            raise TypeError("a static secret key where eski belongs")
        return self._backend.decaps(secret_key, ciphertext)


@functools.cache
def default_ephemeral_backend() -> _EphemeralBackend:
    """Return liboqs' Kyber512 where there is one, else the one built on pqcrypto."""
    lengths = liboqs.Lengths(
        EPHEMERAL_PUBLIC_KEY_LEN, EPHEMERAL_SECRET_KEY_LEN, EPHEMERAL_CIPHERTEXT_LEN, SHARED_SECRET_LEN
    )
    return liboqs.find("Kyber512", lengths) or KyberFromMlKem()


def _move(secret: bytes) -> bytearray:
    """Take a secret out of a bytes object that nobody else holds, and overwrite it there.

    Objects shorter than two bytes are the interpreter's own, shared by all.
    """
    assert len(secret) > 1
    moved = bytearray(secret)
    ffi.memmove(ffi.from_buffer("uint8_t[]", secret), bytes(len(secret)), len(secret))
    return moved


def _check(result: int) -> None:
    if result:
        raise MemoryError("Classic McEliece: no memory")
