"""`down`: undoes what the journal of `up` says, also when the device process is dead already."""

import re
from pathlib import Path

from tun.rtnl import Rtnl
from wgpy.config_files import INTERFACE_NAME
from wgpy.errors import UsageError, WgpyError
from wgpy.quick import process
from wgpy.quick.host import Host
from wgpy.quick.journal import Journal, journal_path
from wgpy.quick.locks import interface_lock
from wgpy.quick.programs import run_hook, warn
from wgpy.quick.save import save_running
from wgpy.quick.steps import WriteResolvConf
from wgpy.quick.undo import namespace_path, network_namespace, undo
from wgpy.socket_file import answers, socket_path

LOCK_WAIT_S = 60.0  # an `up` may be waiting for a name server


class NotUp(WgpyError):  # noqa: N818
    """There is nothing of ours to take down."""


def down(name: str, leaving_anyway: bool = False) -> None:
    """Take a tunnel down; `name` is a path or an interface name.

    Args:
        name: as for `up`; the file itself may be gone by now.
        leaving_anyway: the device process is about to end, so a SaveConfig that fails stops nothing.

    Raises:
        NotUp: there is no journal of it.
        WgpyError: something could not be undone or failed on the way; all the rest was done.
    """
    interface = interface_of(name)
    with interface_lock(interface, LOCK_WAIT_S), Rtnl() as rtnl:
        if Journal.read(journal_path(interface)) is None:
            raise NotUp(_not_ours(interface, rtnl))
        failures = take_down(interface, rtnl, leaving_anyway)
    if failures:
        raise WgpyError(f"{interface} is down, but: {'; '.join(str(failure) for failure in failures)}")


def take_down(interface: str, rtnl: Rtnl, leaving_anyway: bool) -> list[WgpyError]:
    """The work of `down` under the interface's lock; returns what failed on the way.

    Raises:
        WgpyError: nothing was done: not saved, or not ours to undo.
    """
    journal = Journal.read(journal_path(interface))
    assert journal is not None
    if journal.head.namespace != network_namespace():
        return _elsewhere(journal, rtnl)
    failures = _hooks(journal, journal.head.pre_down)
    lives = journal.daemon is not None and process.is_alive(journal.daemon)  # else it is another's answer
    if journal.head.save_config and lives and answers(socket_path(interface)):
        failures += _save(journal, rtnl, leaving_anyway)
    host = Host(interface, rtnl, lambda _: None, index=journal.link)
    undone = undo(host, journal.steps, journal.daemon)
    failures += undone
    failures += _hooks(journal, journal.head.post_down)
    if not undone:
        journal.remove()
    return failures


def interface_of(name: str) -> str:
    """The interface a path or an interface name means, whether or not the file exists; as `up` reads it."""
    interface = Path(name).name.removesuffix(".conf")
    if not re.fullmatch(INTERFACE_NAME, interface) or interface in (".", ".."):
        raise UsageError(f"{name} is neither the name of an interface nor a path to INTERFACE.conf")
    return interface


def _hooks(journal: Journal, commands: tuple[str, ...]) -> list[WgpyError]:
    """Hooks that undo what PostUp did; a failing one stops nothing, since after a crash half of them must."""
    failures = []
    for command in commands if journal.hooks_ran else ():
        try:
            run_hook(command, journal.head.interface, journal.head.config)
        except WgpyError as failure:
            failures.append(failure)
    return failures


def _save(journal: Journal, rtnl: Rtnl, leaving_anyway: bool) -> list[WgpyError]:
    try:
        save_running(journal.head.config, journal.head.interface, rtnl)
    except WgpyError as failure:
        if leaving_anyway:
            return [failure]
        message = f"{failure}; {journal.head.interface} stays up, lest its running configuration be lost"
        raise WgpyError(message) from failure
    return []


def _elsewhere(journal: Journal, rtnl: Rtnl) -> list[WgpyError]:
    """Another namespace's tunnel is its own to undo; when that is gone, resolv.conf may still be here."""
    interface, daemon = journal.head.interface, journal.daemon
    if daemon is not None and process.is_alive(daemon):
        raise WgpyError(
            f"{interface} was brought up in another network namespace; "
            f"`nsenter --target {daemon.pid} --net wgpy down {interface}`"
        )
    if (there := namespace_path(journal.head.namespace)) is not None:
        raise WgpyError(
            f"{interface} was brought up in another network namespace, and its process died; "
            f"`nsenter --net={there} wgpy down {interface}` cleans up there"
        )
    warn(f"{interface} was brought up in another network namespace, which is gone; forgetting it")
    files = [step for step in journal.steps if isinstance(step, WriteResolvConf)]
    failures = undo(Host(interface, rtnl, lambda _: None), files, None)
    process.end(interface, None)
    if not failures:
        journal.remove()
    return failures


def _not_ours(interface: str, rtnl: Rtnl) -> str:
    if rtnl.link(interface) is not None:
        return f"{interface} was not brought up by wgpy; use what did, or `ip link delete dev {interface}`"
    return f"{interface} is not up"
