"""The commands that wg-quick has: up, down, save; and reload for the running tunnel."""

import os
import signal

import click

from wgpy.cli.completion import complete_config
from wgpy.privileges import keep_out_of_dumps
from wgpy.quick import down as quick_down
from wgpy.quick import foreground as quick_foreground
from wgpy.quick import reload as quick_reload
from wgpy.quick import save as quick_save
from wgpy.quick import supervisor
from wgpy.quick import up as quick_up

TUNNEL = click.argument("tunnel", metavar="CONFIG|INTERFACE", shell_complete=complete_config)


@click.command()
@TUNNEL
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground; TERM and INT take it down.")
@click.option("--user", metavar="NAME", help="Whom the process becomes when all is set up.")
def up(tunnel: str, foreground: bool, user: str | None) -> None:
    """Bring a tunnel up, as wg-quick does, with this program as the device."""
    keep_out_of_dumps()  # the private key was read, and with -f this process stays
    if foreground:
        detached = supervisor.is_detached()
        device = quick_up.up(tunnel, quick_up.Wishes(supervised=True, detached=detached, user=user))
        if not supervisor.report_ready():
            os.kill(os.getpid(), signal.SIGTERM)  # kept back until `stay` listens
        quick_foreground.stay(tunnel, device)
    elif quick_up.user_of(tunnel, user) is not None:
        supervisor.detach(tunnel, user)
    else:
        quick_up.up(tunnel, quick_up.Wishes())


@click.command()
@TUNNEL
@click.option("--leaving", is_flag=True, hidden=True, help="The device process is about to end.")
def down(tunnel: str, leaving: bool) -> None:
    """Undo exactly what `up` did, also after a crash."""
    quick_down.down(tunnel, leaving_anyway=leaving)


@click.command()
@TUNNEL
def save(tunnel: str) -> None:
    """Write the running state back into the configuration file."""
    quick_save.save(tunnel)


@click.command()
@TUNNEL
def reload(tunnel: str) -> None:
    """Re-read the configuration into the running tunnel, as HUP does; sessions survive."""
    quick_reload.reload(tunnel)
