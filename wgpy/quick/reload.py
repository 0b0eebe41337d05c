"""Re-reading a configuration into a running tunnel, as `wg syncconf` does; addresses and routes stay."""

import os
from dataclasses import replace
from pathlib import Path

from wgpy import uapi_client
from wgpy.config_files import QuickFile, read_quick_file
from wgpy.config_update import syncconf
from wgpy.errors import ConfigError
from wgpy.quick.programs import warn
from wgpy.resolve import resolve
from wgpy.rosenpass_settings import RosenpassSettings, settings_of


def reload(name: str) -> None:
    """Send the differences between the file and the running device; unchanged peers keep their sessions.

    A file without ListenPort or FwMark keeps those that were chosen at `up`: the full tunnel's rules hang on
    the mark.

    Raises:
        ConfigError: the file is invalid; nothing was changed.
        WgpyError: the interface is not up or refuses.
    """
    file = read_quick_file(name)
    for warning in file.warnings:
        warn(warning)
    wg = file.config.wg
    state = uapi_client.get(file.interface)
    update = syncconf(wg, state, lambda endpoint: resolve(endpoint, warn=warn))
    if wg.interface.listen_port is None:
        update = replace(update, listen_port=None)
    if wg.interface.fwmark is None:
        update = replace(update, fwmark=None)
    rosenpass = rosenpass_of(file)
    # The policies first: no user packet shall find a strict peer that has come newly without its gate.
    if rosenpass is not None or uapi_client.status(file.interface) is not None:
        uapi_client.configure_rosenpass(file.interface, rosenpass)
    uapi_client.apply(file.interface, update)


def rosenpass_of(file: QuickFile) -> RosenpassSettings | None:
    """What the device must know of Rosenpass, None for plain WireGuard.

    Raises:
        ConfigError: a key file is missing or is none, or a peer cannot be reached.
    """
    found = settings_of(file.config, file.path.parent, file.interface, os.path.exists, file.path.name)
    if found is not None:
        _check_key_files(found, file.path.name)
    return found


def _check_key_files(settings: RosenpassSettings, where: str) -> None:
    """The device reads them again; here a bad one is found while nothing has been changed."""
    # Only a file with Rosenpass keys pays for these imports.
    from rosenpass.erasure import wipe
    from rosenpass.errors import KeyFileError
    from rosenpass.keyfile import load_psk, load_public_key, load_secret_key

    try:
        load_public_key(Path(settings.public_key))
        wipe(load_secret_key(Path(settings.secret_key)))
        for peer in settings.peers:
            if peer.rosenpass_public_key is not None:
                load_public_key(Path(peer.rosenpass_public_key))
            if peer.preshared_key is not None:
                wipe(load_psk(Path(peer.preshared_key)))
    except KeyFileError as error:
        raise ConfigError(str(error), where) from None
