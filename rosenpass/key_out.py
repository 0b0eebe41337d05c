"""The key_out file: hands each output key on to another program.

44 characters of base64 and no newline, mode 0600 when created. Readers see the old key or the new one, never
half of one. Knows no protocol; which key is written, and when, is the caller's business.
"""

import base64
import contextlib
import os
import stat
import tempfile
from pathlib import Path

from .errors import KeyFileError


def write_key_out(path: Path, key: bytes | bytearray) -> None:
    """Write a 32-byte key.

    A regular file is replaced as a whole and keeps its mode and owner. A FIFO, a device or what a symbolic
    link leads to is written in place; a FIFO that nobody reads is an error at once, so that it cannot stop
    the exchange.

    Raises:
        KeyFileError: the key cannot be written; the line names the file and the reason.
    """
    text = base64.b64encode(key)
    try:
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            _replace(path, text, None)
            return
        # A link is followed by the kernel, which refuses a stranger's link in a shared directory.
        if not stat.S_ISREG(status.st_mode) or not _replace(path, text, status):
            _write_in_place(path, text)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot write the output key: {error.strerror}") from error


def _replace(path: Path, text: bytes, like: os.stat_result | None) -> bool:
    """Put a new file in place of the old. Returns False where that would lose the old one's owner or mode."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except PermissionError:
        if like is None:
            raise
        return False
    try:
        with open(handle, "wb", buffering=0) as file:
            if like is not None:
                os.fchown(handle, like.st_uid, like.st_gid)
                os.fchmod(handle, stat.S_IMODE(like.st_mode))
            file.write(text)
        os.replace(temporary, path)
    except PermissionError:
        os.unlink(temporary)
        if like is None:
            raise
        return False
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return True


def _write_in_place(path: Path, text: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        os.write(handle, text)  # shorter than PIPE_BUF: whole or not at all
    finally:
        os.close(handle)
