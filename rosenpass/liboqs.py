"""liboqs, where its shared library really is present: through the package liboqs-python, else by itself.

The package (`pip install wgpy[oqs]`, imported as `oqs`) finds, loads and initialises the library. It is
imported only where it will find one, because without a library it clones and builds one in silence or raises
SystemExit; it is kept from writing to standard output. Where the package is absent, or cannot be pointed to
the library, ctypes loads that. Either way four functions of the C interface do the work on buffers of ours:
the package's own classes hand secrets out as `bytes` nobody can wipe.

The library is looked for once: WGPY_LIBOQS names it (empty: use none), else the dynamic loader finds it,
else it is where `oqs` puts the one it builds: below OQS_INSTALL_PATH or ~/_oqs, if it belongs to us.
"""

import ctypes
import ctypes.util
import functools
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .erasure import wipe
from .errors import KemUnavailable

Buffer = bytes | bytearray | memoryview

ENVIRONMENT = "WGPY_LIBOQS"
SONAMES = ("liboqs.so", *(f"liboqs.so.{version}" for version in range(16, 1, -1)))


class Lengths(NamedTuple):
    """Lengths in bytes, to size the buffers; a build that disagrees is not used."""

    public_key: int
    secret_key: int
    ciphertext: int
    shared_secret: int


class _Kem(ctypes.Structure):
    """The leading fields of `OQS_KEM`, the same in every release since 0.1."""

    _fields_ = [
        ("method_name", ctypes.c_char_p),
        ("alg_version", ctypes.c_char_p),
        ("claimed_nist_level", ctypes.c_uint8),
        ("ind_cca", ctypes.c_bool),
        ("length_public_key", ctypes.c_size_t),
        ("length_secret_key", ctypes.c_size_t),
        ("length_ciphertext", ctypes.c_size_t),
        ("length_shared_secret", ctypes.c_size_t),
    ]


log = logging.getLogger(__name__)


def _load(path: str) -> ctypes.CDLL:
    library = _declared(ctypes.CDLL(path))
    # Releases from 0.8 on set up their random generator and processor features here.
    if hasattr(library, "OQS_init"):
        library.OQS_init()
    return library


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    kem, status = ctypes.POINTER(_Kem), ctypes.c_int
    for name, result, arguments in (
        ("OQS_KEM_new", kem, 1),
        ("OQS_KEM_keypair", status, 3),
        ("OQS_KEM_encaps", status, 4),
        ("OQS_KEM_decaps", status, 4),
    ):
        function = getattr(library, name)
        function.restype = result
        function.argtypes = [ctypes.c_char_p if result is kem else kem, *[ctypes.c_void_p] * (arguments - 1)]
    return library


def _built_by_oqs() -> list[Path]:
    """Where `oqs` puts the library it builds, and looks for it where the dynamic loader knows of none."""
    home = Path(os.environ.get("OQS_INSTALL_PATH") or os.path.expanduser("~/_oqs"))
    return [home / directory / "liboqs.so" for directory in ("lib", "lib64")]


def _places() -> Iterator[str]:
    yield from SONAMES
    yield from (str(path) for path in _built_by_oqs() if _is_ours(path))


def _oqs_finds_one() -> bool:
    """Whether importing `oqs` loads a library, and none that a stranger could have put there."""
    names = [name for stem in ("oqs", "liboqs") if (name := _find(stem))]
    built = [path for path in _built_by_oqs() if path.exists()]
    return any(map(_loads, names)) or (all(map(_is_ours, built)) and any(_loads(str(path)) for path in built))


def _find(stem: str) -> str | None:
    try:
        return ctypes.util.find_library(stem)
    except OSError:  # it asks other programs, which a sandbox does not let run
        return None


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _through_oqs() -> ctypes.CDLL | None:
    """The library that the package `oqs` has loaded; None where there is no package, or no library for it."""
    if importlib.util.find_spec("oqs") is None or not ("oqs" in sys.modules or _oqs_finds_one()):
        return None
    try:
        with _quiet_import():
            import oqs
        theirs = oqs.native()
        # The same library under an object of our own: the types declared on it are not the package's.
        return _declared(ctypes.CDLL(theirs._name, handle=theirs._handle))
    except (Exception, SystemExit) as error:
        log.info("liboqs-python cannot be used, the library itself may be: %s", error)
        return None


@contextmanager
def _quiet_import() -> Iterator[None]:
    """Keep the package's first import from logging to standard output, then and later."""
    if "oqs" in sys.modules:  # somebody else's: what it says is theirs to decide
        yield
        return
    logger = logging.getLogger("oqs.oqs")
    before, logger.disabled = list(logger.handlers), True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its release and the library's may differ
            yield
    finally:
        logger.disabled = False
        for handler in logger.handlers[:]:
            if handler not in before:
                logger.removeHandler(handler)


def _is_ours(path: Path) -> bool:
    """Whether only root or this user could have put the file there: sudo may keep another's HOME."""
    try:
        found = [path.stat(), path.parent.stat()]
    except OSError:
        return False
    return all(each.st_uid in (0, os.geteuid()) and not each.st_mode & 0o022 for each in found)


def _found() -> ctypes.CDLL | None:
    if (library := _through_oqs()) is not None:
        return library
    for place in _places():
        try:
            return _load(place)
        except (OSError, AttributeError):
            continue
    return None


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the shared library, or None where there is none.

    Raises:
        KemUnavailable: WGPY_LIBOQS names something that is not liboqs.
    """
    path = os.environ.get(ENVIRONMENT)
    if path is None:
        return _found()
    if not path:
        return None
    try:
        return _load(path)
    except (OSError, AttributeError) as error:
        raise KemUnavailable(f"{ENVIRONMENT}={path} is no usable liboqs: {error}") from error


class OqsKem:
    """One mechanism of liboqs.

    Args:
        handle: from `find`; lives as long as the process.
        lengths: as `find` checked them.
    """

    def __init__(self, oqs: ctypes.CDLL, handle: "ctypes._Pointer[_Kem]", lengths: Lengths) -> None:
        self._oqs = oqs
        self._handle = handle
        self._lengths = lengths

    def keypair(self) -> tuple[bytes, bytearray]:
        """Return a public key and a secret key, which the caller wipes."""
        public = ctypes.create_string_buffer(self._lengths.public_key)
        secret = bytearray(self._lengths.secret_key)
        self._check(self._oqs.OQS_KEM_keypair(self._handle, public, _address(secret)))
        return public.raw, secret

    def encaps(self, public_key: bytes) -> tuple[bytes, bytearray]:
        """Return a ciphertext and its shared secret, which the caller wipes.

        Raises:
            ValueError: the public key is none.
        """
        expect_length(public_key, self._lengths.public_key)
        ciphertext = ctypes.create_string_buffer(self._lengths.ciphertext)
        shared = bytearray(self._lengths.shared_secret)
        if self._oqs.OQS_KEM_encaps(self._handle, ciphertext, _address(shared), public_key):
            raise ValueError("not a public key")
        return ciphertext.raw, shared

    def decaps(self, secret_key: Buffer, ciphertext: bytes) -> bytearray:
        """Return the shared secret, which the caller wipes; a wrong ciphertext gives an unpredictable one."""
        expect_length(secret_key, self._lengths.secret_key)
        expect_length(ciphertext, self._lengths.ciphertext)
        shared, owned = bytearray(self._lengths.shared_secret), bytearray(secret_key)
        self._check(self._oqs.OQS_KEM_decaps(self._handle, _address(shared), ciphertext, _address(owned)))
        wipe(owned)
        return shared

    def _check(self, status: int) -> None:
        if status:
            raise KemUnavailable("liboqs failed; unset or empty WGPY_LIBOQS to use the built-in library")


def find(name: str, lengths: Lengths) -> OqsKem | None:
    """Return the named mechanism, or None where this liboqs lacks it or has another edition of it."""
    oqs = library()
    handle = oqs.OQS_KEM_new(name.encode()) if oqs else None
    if not oqs or not handle:
        return None
    kem = handle.contents
    found = Lengths(
        kem.length_public_key, kem.length_secret_key, kem.length_ciphertext, kem.length_shared_secret
    )
    return OqsKem(oqs, handle, lengths) if found == lengths else None


def _address(buffer: bytearray) -> "ctypes.Array[ctypes.c_char]":
    return (ctypes.c_char * len(buffer)).from_buffer(buffer)


def expect_length(buffer: Buffer, length: int) -> None:
    """Raise ValueError unless the buffer has this length: C would read or write past its end."""
    if len(buffer) != length:
        raise ValueError(f"{len(buffer)} bytes where {length} belong")
