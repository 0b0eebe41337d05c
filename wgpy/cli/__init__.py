"""The command line `wgpy`: which commands there are, how a refusal looks, what the exit codes mean.

Commands are imported when they are called, so that `wgpy genkey` costs neither numpy nor netlink. Every
option can also come from the environment as WGPY_<OPTION>. Exit codes: 0 done, 1 failed at run time, 2 usage,
3 configuration invalid, 4 no permission or no TUN device, 5 strict post-quantum policy not met.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem

from wgpy.distribution import check_one_distribution
from wgpy.errors import PermissionMissing, WgpyError

ENVIRONMENT = "WGPY"
COMMANDS = {
    "up": ("wgpy.cli.quick:up", "Bring an interface up from a wg-quick file."),
    "down": ("wgpy.cli.quick:down", "Take an interface down and undo what `up` did."),
    "reload": ("wgpy.cli.quick:reload", "Re-read the file into the running tunnel; sessions survive."),
    "save": ("wgpy.cli.quick:save", "Write the running state back to the file."),
    "status": ("wgpy.cli.status:status", "Show interfaces, peers and their quantum resistance."),
    "show": ("wgpy.cli.show:show", "Print what `wg show` prints."),
    "showconf": ("wgpy.cli.show:showconf", "Print the running configuration as a file."),
    "set": ("wgpy.cli.configure:set_", "Change the configuration in the words of `wg set`."),
    "setconf": ("wgpy.cli.configure:setconf", "Replace the configuration by a file."),
    "addconf": ("wgpy.cli.configure:addconf", "Add a file to the configuration."),
    "syncconf": ("wgpy.cli.configure:syncconf", "Apply only what differs from a file."),
    "strip": ("wgpy.cli.configure:strip", "Print a wg-quick file without what `wg` does not know."),
    "genkey": ("wgpy.cli.keys:genkey", "Print a new private key."),
    "genpsk": ("wgpy.cli.keys:genpsk", "Print a new preshared key."),
    "pubkey": ("wgpy.cli.keys:pubkey", "Print the public key of the private key on standard input."),
    "rosenpass": ("wgpy.cli.rosenpass:rosenpass", "The Rosenpass key exchange on its own."),
    "bench": ("wgpy.cli.bench:bench", "Measure crypto, syscalls and a tunnel on this machine."),
    "completion": ("wgpy.cli.completion:completion", "Print the completion script of a shell."),
}


class LazyGroup(click.Group):
    """A group whose commands are named in a table and imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The table's order is the help's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None where the table does not have it."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        try:
            command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise click.UsageError(f"`{cmd_name}` is not part of this installation", ctx) from None
        assert isinstance(command, click.Command)
        share_environment(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Tell an unknown command with the nearest known one."""
        import difflib

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean `{near[0]}`?" if near else "see `wgpy --help`"
            raise click.UsageError(f"no such command: {args[0]}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands without importing anything."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=text)
            for name, (_, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the table without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def share_environment(command: click.Command) -> None:
    """Read the options of a command and its subcommands as WGPY_<OPTION>, without the command's name."""
    command.context_settings.setdefault("auto_envvar_prefix", ENVIRONMENT)
    command.context_settings.setdefault("help_option_names", ["-h", "--help"])
    if isinstance(command, click.Group):
        for child in command.commands.values():
            share_environment(child)


@click.group(
    cls=LazyGroup,
    context_settings={"auto_envvar_prefix": ENVIRONMENT, "help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="wgpy", prog_name="wgpy")
def cli() -> None:
    """Userspace WireGuard with Rosenpass in one process over a TUN device."""


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; every refusal is one line on standard error. Returns the exit code."""
    try:
        check_one_distribution()
        code = cli.main(arguments, prog_name="wgpy", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more
        return 1
    except (KeyboardInterrupt, click.Abort):
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.UsageError as error:
        name = error.ctx.command_path if error.ctx is not None else "wgpy"
        return refuse(error.format_message(), 2, name)
    except click.ClickException as error:
        return refuse(error.format_message(), error.exit_code)
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        code = PermissionMissing.exit_code if isinstance(error, PermissionError) else WgpyError.exit_code
        return refuse(named, code)
    except Exception as error:
        exit_code: Any = getattr(error, "exit_code", None)
        if not isinstance(exit_code, int):
            raise  # our bug: loud
        return refuse(str(error), exit_code)


def refuse(message: str, code: int, name: str = "wgpy") -> int:
    """Say in one line what is wrong; returns the exit code."""
    line = " ".join(message.split())
    print(f"{name}: {line}", file=sys.stderr)
    return code


def warn(warnings: Iterator[str] | tuple[str, ...]) -> None:
    """Each warning as one line on standard error."""
    for warning in warnings:
        print(f"Warning: {warning}", file=sys.stderr)
