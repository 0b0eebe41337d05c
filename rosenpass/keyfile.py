"""Key files: static public and secret keys, and preshared keys.

| file              | content                                         | mode when created |
|-------------------|-------------------------------------------------|-------------------|
| static public key | raw, 524160 bytes                               | 0644              |
| static secret key | raw, 13568 bytes ("rust") or 13608 bytes ("go") | 0600              |
| preshared key     | base64 of 32 bytes; blanks around it do no harm | 0600              |

Both layouts of a secret key hold the same values in another order; either is read, and either can be
written. "go" begins with a seed that no decapsulation needs: "rust" has no room for it, so converted back it
is zeros.

Knows no protocol; the file that hands output keys on is in key_out.py. Every failure is a KeyFileError of
one line that names the file and what to do.
"""

import base64
import binascii
import contextlib
import logging
import os
import stat
import tempfile
from enum import Enum
from pathlib import Path

from .erasure import wipe
from .errors import KeyFileError
from .kem import STATIC_PUBLIC_KEY_LEN, STATIC_SECRET_KEY_GO_LEN, STATIC_SECRET_KEY_RUST_LEN, StaticSecretKey

log = logging.getLogger(__name__)

PSK_LEN = 32

_SECRET_KEY_LENS = (STATIC_SECRET_KEY_RUST_LEN, STATIC_SECRET_KEY_GO_LEN)
_PIVOTS = b"\xff\xff\xff\xff\0\0\0\0"


class SecretKeyFormat(Enum):
    """Whose layout a secret key file has; the values are the words of `--format`."""

    RUST = "rust"
    GO = "go"


def load_public_key(path: Path) -> bytes:
    """Read a static public key: 524160 bytes.

    Raises:
        KeyFileError: unreadable, or of another size.
    """
    data = _read(path, "public key")
    if len(data) != STATIC_PUBLIC_KEY_LEN:
        raise _misplaced(path, data, "public key")
    return bytes(data)


def load_secret_key(path: Path) -> bytearray:
    """Read a static secret key in the layout it has; the caller wipes it.

    Raises:
        KeyFileError: unreadable, of another size, or its content is no secret key.
    """
    data = _read(path, "secret key")
    if len(data) not in _SECRET_KEY_LENS:
        raise _misplaced(path, data, "secret key")
    _warn_if_others_read(path)
    try:
        StaticSecretKey(data).wipe()
    except ValueError:
        wipe(data)
        raise KeyFileError(
            f"{path}: as long as a secret key, but damaged or of another mechanism; "
            "restore it or make a new pair"
        ) from None
    return data


def load_psk(path: Path) -> bytearray:
    """Read a preshared key: base64 of 32 bytes. The caller wipes it.

    Raises:
        KeyFileError: unreadable, or something else.
    """
    text = _read(path, "preshared key")
    psk = _decode(text)
    if len(psk) != PSK_LEN:
        raise _misplaced(path, text, "preshared key")
    _warn_if_others_read(path)
    wipe(text)
    return psk


def save_key_pair(
    public_path: Path,
    secret_path: Path,
    public_key: bytes,
    secret_key: bytes | bytearray,
    *,
    layout: SecretKeyFormat = SecretKeyFormat.RUST,
    force: bool = False,
) -> None:
    """Write both halves or neither: a pair that does not match is worse than none.

    Raises:
        KeyFileError: a file exists and force was not given, or cannot be written.
    """
    if not force:
        for path in (public_path, secret_path):
            if os.path.lexists(path):
                raise _exists(path)
    save_secret_key(secret_path, secret_key, layout=layout, force=force)
    try:
        _create(public_path, public_key, mode=0o644, force=force)
    except KeyFileError:
        if not force:
            secret_path.unlink(missing_ok=True)
        raise


def save_secret_key(
    path: Path,
    secret_key: bytes | bytearray,
    *,
    layout: SecretKeyFormat = SecretKeyFormat.RUST,
    force: bool = False,
) -> None:
    """Write a static secret key, given in either layout, in the layout asked for.

    Raises:
        KeyFileError: the file exists and force was not given, or it cannot be written.
    """
    converted = convert_secret_key(secret_key, layout)
    try:
        _create(path, converted, mode=0o600, force=force)
    finally:
        wipe(converted)


def save_psk(path: Path, psk: bytes | bytearray, *, force: bool = False) -> None:
    """Write a preshared key as 44 characters of base64.

    Raises:
        KeyFileError: the file exists and force was not given, or it cannot be written.
    """
    _create(path, base64.b64encode(psk), mode=0o600, force=force)


def convert_secret_key(secret_key: bytes | bytearray, layout: SecretKeyFormat) -> bytearray:
    """Return a copy of a static secret key in the layout asked for; the caller wipes both.

    Raises:
        ValueError: the key has neither layout's length.
    """
    key = memoryview(secret_key)
    if len(key) not in _SECRET_KEY_LENS:
        raise ValueError(f"no secret key has {len(key)} bytes")
    is_go = len(key) == STATIC_SECRET_KEY_GO_LEN
    if is_go == (layout is SecretKeyFormat.GO):
        return bytearray(key)
    if is_go:  # delta 32, pivots 8, g 192, control bits 12800, s 576
        return _joined(key[13032:], key[40:13032])
    return _joined(bytes(32), _PIVOTS, key[576:], key[:576])  # s 576, g 192, control bits 12800


def _joined(*pieces: bytes | memoryview) -> bytearray:
    """Concatenate into a buffer of the final size: one that grows leaves copies behind."""
    joined = bytearray(sum(map(len, pieces)))
    end = 0
    for piece in pieces:
        begin, end = end, end + len(piece)
        joined[begin:end] = piece
    return joined


def _read(path: Path, what: str) -> bytearray:
    """Read a whole file, or as much as shows that it is too long for any key."""
    try:
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            size = status.st_size if stat.S_ISREG(status.st_mode) else STATIC_PUBLIC_KEY_LEN
            buffer = bytearray(min(size, STATIC_PUBLIC_KEY_LEN) + 1)
            length = 0
            while length < len(buffer) and (count := file.readinto(memoryview(buffer)[length:])):
                length += count
    except OSError as error:
        raise KeyFileError(f"{path}: cannot read the {what}: {error.strerror}") from error
    data = bytearray(memoryview(buffer)[:length])
    wipe(buffer)
    return data


def _decode(text: bytearray) -> bytearray:
    try:
        return bytearray(base64.b64decode(text.strip(), validate=True))
    except (binascii.Error, ValueError):
        return bytearray()


def _misplaced(path: Path, data: bytearray, wanted: str) -> KeyFileError:
    """Say what a file looks like instead of what was wanted; wipes what was read."""
    length = len(data)
    if length == 0:
        found = "an empty file"
    elif length == STATIC_PUBLIC_KEY_LEN:
        found = f"a {length}-byte public key"
    elif length in _SECRET_KEY_LENS:
        found = f"a {length}-byte secret key"
    elif len(_decode(data)) == PSK_LEN:
        found = "a base64 key of 32 bytes"
    elif length > STATIC_PUBLIC_KEY_LEN:
        found = f"a file of more than {STATIC_PUBLIC_KEY_LEN} bytes"
    else:
        found = f"a file of {length} bytes"
    wipe(data)
    hint = " (base64 of 32 bytes, as `wg genpsk` prints)" if wanted == "preshared key" else ""
    return KeyFileError(f"{path}: {found} where a {wanted} belongs{hint}")


def _warn_if_others_read(path: Path) -> None:
    with contextlib.suppress(OSError):
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
            log.warning("%s: other users may read this secret; run: chmod 600 %s", path, path)


def _exists(path: Path) -> KeyFileError:
    return KeyFileError(f"{path}: exists already; choose another name, or overwrite it with --force")


def _create(path: Path, data: bytes | bytearray, *, mode: int, force: bool) -> None:
    """Write a new file, whole or not at all. With force it replaces a regular file, and nothing else."""
    try:
        if not force:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            _fill(handle, str(path), data, mode)
            return
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise KeyFileError(f"{path}: not a regular file, so --force does not overwrite it")
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        _fill(handle, temporary, data, mode)
        os.replace(temporary, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot write it: {error.strerror}") from error


def _fill(handle: int, path: str, data: bytes | bytearray, mode: int) -> None:
    """Write and close a file just created; remove it where that fails."""
    try:
        with open(handle, "wb", buffering=0) as file:
            os.fchmod(handle, mode)
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(handle)
    except BaseException:
        os.unlink(path)
        raise
