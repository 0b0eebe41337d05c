"""`wgpy completion`, and what the other commands complete their arguments with."""

import sys

import click
from click.shell_completion import CompletionItem, get_completion_class

from wgpy import uapi_client
from wgpy.config_files import DIRECTORY
from wgpy.errors import WgpyError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For instance in ~/.bashrc: eval "$(wgpy completion bash)"
    """
    from wgpy.cli import cli

    chosen = get_completion_class(shell)
    assert chosen is not None
    sys.stdout.write(chosen(cli, {}, "wgpy", "_WGPY_COMPLETE").source() + "\n")


def complete_interface(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The interfaces that are running."""
    try:
        names = uapi_client.interfaces()
    except (WgpyError, OSError):
        names = []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_config(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The interfaces that have a file in /etc/wireguard, else files."""
    try:
        names = sorted(path.stem for path in DIRECTORY.glob("*.conf"))
    except OSError:
        names = []
    items = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return items or [CompletionItem(incomplete, type="file")]
