"""Writes every session key into a file, for tests that open a capture of the wire. Off unless asked twice.

    WGPY_KEY_LOG=FILE                      where to
    WGPY_KEY_LOG_DESTROYS_SECRECY=yes      that one knows what it means

One line a keypair, when it is installed: boot time in ns, local and remote index, send and receive key in
hex, kind of the preshared key. The file is for its owner alone; lines are added to one that is there.
"""

import os
from collections.abc import Mapping

from wgpy.actions import InstallKeypair
from wgpy.errors import UsageError, WgpyError

PATH_VARIABLE = "WGPY_KEY_LOG"
CONSENT_VARIABLE = "WGPY_KEY_LOG_DESTROYS_SECRECY"


class KeyLog:
    """An open key log.

    Args:
        path: created with mode 0600; an existing file is made so, a symbolic link is refused.

    Raises:
        WgpyError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._file = os.open(path, flags, 0o600)
            os.fchmod(self._file, 0o600)
        except OSError as error:
            raise WgpyError(f"{PATH_VARIABLE}: {path}: {error.strerror}") from None

    def installed(self, keypair: InstallKeypair) -> None:
        """Add one keypair; call before its keys are wiped."""
        line = (
            f"{keypair.birthdate} {keypair.local_index:08x} {keypair.remote_index:08x}"
            f" {keypair.send_key.hex()} {keypair.receive_key.hex()} {keypair.psk_kind.name.lower()}\n"
        )
        os.write(self._file, line.encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def key_log_from(environment: Mapping[str, str]) -> KeyLog | None:
    """The key log the environment asks for; None, as always in earnest use.

    Raises:
        UsageError: it is asked for without the second variable.
        WgpyError: the file cannot be opened.
    """
    path = environment.get(PATH_VARIABLE, "")
    if not path:
        return None
    if environment.get(CONSENT_VARIABLE) != "yes":
        raise UsageError(
            f"{PATH_VARIABLE} writes every session key to {path}, so that whoever reads it reads the traffic;"
            f" unset it, or set {CONSENT_VARIABLE}=yes in a test lab"
        )
    return KeyLog(path)
