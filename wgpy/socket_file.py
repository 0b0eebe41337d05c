"""Files of Unix sockets: where a device has its UAPI socket, who answers there, what a killed one left."""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path("/var/run/wireguard")


def socket_path(interface: str, directory: Path = DIRECTORY) -> Path:
    """Where the UAPI socket of an interface is."""
    return directory / f"{interface}.sock"


def listen_at(path: Path, backlog: int) -> socket.socket:
    """A listening socket; its file gets its name when it answers.

    `wg` deletes a file that refuses, as that of a socket does which is bound and does not listen yet.

    Raises:
        FileExistsError: the name is taken.
    """
    unnamed = path.with_name(f".{path.stem}.{os.urandom(3).hex()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(unnamed))
        listener.listen(backlog)
        listener.setblocking(False)
        path.hardlink_to(unnamed)
    except OSError:
        listener.close()
        raise
    finally:
        unnamed.unlink(missing_ok=True)
    return listener


def remove_unnamed(path: Path) -> None:
    """Remove what listen_at left behind when it was killed."""
    for unnamed in path.parent.glob(f".{path.stem}.*"):
        with suppress(OSError):
            if unnamed.is_socket() and refuses(unnamed):
                unnamed.unlink()


def refuses(path: Path, within_s: float = 2.0) -> bool:
    """Whether the socket there has nobody any more; other errors than that are raised."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(within_s)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return True
        return False


def answers(path: Path, within_s: float = 2.0) -> bool:
    """Whether somebody accepts connections there."""
    with suppress(OSError):
        return not refuses(path, within_s)
    return False
