"""`save`: the running state of a tunnel written back into its file, atomically, mode 0600."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tun.rtnl import Rtnl
from wgpy import uapi_client
from wgpy.config import QuickConfig
from wgpy.config_files import read_quick_file, read_quick_text
from wgpy.config_text import format_quick
from wgpy.config_update import saved
from wgpy.errors import WgpyError
from wgpy.model import DeviceState


def save(name: str) -> None:
    """Write the running state of an interface into its file; `name` is a path or an interface name.

    Raises:
        WgpyError: it is not up, or the file cannot be written.
    """
    file = read_quick_file(name)
    with Rtnl() as rtnl:
        save_running(str(file.path), file.interface, rtnl)


def save_running(config: str, interface: str, rtnl: Rtnl) -> None:
    """Save `interface` into the file `config`, whatever that is called; errors as `save`."""
    path = Path(config)
    written = read_quick_text(path)
    state = uapi_client.get(interface)
    write_atomically(path, format_quick(running(written, state, interface, rtnl)))


def running(config: QuickConfig, state: DeviceState, interface: str, rtnl: Rtnl) -> QuickConfig:
    """The file's own keys with the state of device and interface."""
    link = rtnl.link(interface)
    if link is not None:
        addresses = tuple(rtnl.addresses(link))
        mtu = link.mtu if config.mtu is not None else None
        config = replace(config, addresses=addresses, mtu=mtu)
    return saved(config, state)


def write_atomically(path: Path, text: str) -> None:
    """Exchange a file for one of mode 0600; a reader sees the old or the new one, also after a crash.

    Raises:
        WgpyError: it cannot be written; the old file is untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        beside.unlink(missing_ok=True)  # of one that was killed: nobody else has our number
        descriptor = os.open(
            beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            with suppress(FileNotFoundError):
                beside.unlink()
    except OSError as error:
        raise WgpyError(f"{path} cannot be written: {error.strerror}") from None
