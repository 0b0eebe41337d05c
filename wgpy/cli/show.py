"""`wgpy show` and `wgpy showconf`: the very bytes of `wg`."""

import os
import socket
import sys
import time

import click

from wgpy import uapi_client, wg_format
from wgpy.cli.completion import complete_interface
from wgpy.cli.keys import public_key
from wgpy.errors import WgpyError


@click.command()
@click.argument("interface", default="all", shell_complete=complete_interface)
@click.argument("field", required=False, metavar="[FIELD]", type=click.Choice(wg_format.FIELDS))
@click.pass_context
def show(ctx: click.Context, interface: str, field: str | None) -> None:
    """Print what `wg show [INTERFACE | all | interfaces] [FIELD]` prints.

    \b
    FIELD: public-key, private-key, listen-port, fwmark, peers,
    preshared-keys, endpoints, allowed-ips, latest-handshakes,
    transfer, persistent-keepalive, dump

    WG_COLOR_MODE=always|never|auto and WG_HIDE_KEYS=never work as with `wg`.
    """  # noqa: D301
    if interface == "interfaces":
        if field is not None:
            raise click.UsageError("`interfaces` takes no field", ctx)
        names = uapi_client.interfaces()
        print(" ".join(names), end="\n" if names else "")
        return
    if interface != "all":
        shown = read_interface(interface)
        text = wg_format.show_field(shown, field, zone_name) if field else wg_format.show(shown, style())
        sys.stdout.write(text)
        return
    parts, failure = [], None
    for name in uapi_client.interfaces():
        try:
            shown = read_interface(name)
        except WgpyError as error:
            failure = error
            continue
        parts.append(
            wg_format.show_field(shown, field, zone_name, with_name=True)
            if field
            else wg_format.show(shown, style())
        )
    sys.stdout.write(("" if field else "\n").join(parts))
    if failure is not None:
        raise failure


@click.command()
@click.argument("interface", shell_complete=complete_interface)
def showconf(interface: str) -> None:
    """Print the running configuration as a file for `setconf`; it holds secrets."""
    sys.stdout.write(wg_format.showconf(uapi_client.get(interface), zone_name))


def read_interface(name: str) -> wg_format.Interface:
    """Ask one running interface for its state."""
    state = uapi_client.get(name)
    key = public_key(state.private_key) if state.private_key is not None else None
    return wg_format.Interface(name, state, key)


def style() -> wg_format.Style:
    """How to print now, on this terminal, in this environment."""
    mode = os.environ.get("WG_COLOR_MODE", "auto")
    colour = mode == "always" or (mode != "never" and sys.stdout.isatty())
    hide = os.environ.get("WG_HIDE_KEYS", "") != "never"
    return wg_format.Style(int(time.time()), colour, hide, zone_name)


def zone_name(index: int) -> str:
    """The name of an interface, else its number."""
    try:
        return socket.if_indextoname(index)
    except (OSError, OverflowError):
        return str(index)
