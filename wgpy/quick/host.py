"""Doing a step to this host, and undoing it. Undoing what was not done, or is gone already, is harmless."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import assert_never

from tun.rtnl import Link, Rtnl, Rule
from wgpy.errors import PermissionMissing, WgpyError
from wgpy.quick import journal
from wgpy.quick.programs import run, say, warn
from wgpy.quick.steps import (
    AddAddress,
    AddRoute,
    AddRule,
    CreateDevice,
    LoadIptables,
    LoadNft,
    SetFwMark,
    SetSysctl,
    SetUp,
    Step,
    TellResolvconf,
    TellResolved,
    WriteResolvConf,
)

PROC_SYS = Path("/proc/sys")


class Host:
    """This host, as far as `up` may change it.

    Args:
        interface: the tunnel's.
        rtnl: a socket of the namespace the tunnel is in.
        set_fwmark: tells the device its firewall mark.
        directory: where journals are.
        index: the tunnel's interface, where it is known: another one of its name is not ours to undo.
    """

    def __init__(
        self,
        interface: str,
        rtnl: Rtnl,
        set_fwmark: Callable[[int], None],
        directory: Path = journal.DIRECTORY,
        index: int | None = None,
    ) -> None:
        self._interface = interface
        self._rtnl = rtnl
        self._set_fwmark = set_fwmark
        self._directory = directory
        self._index = index

    def do(self, step: Step) -> None:
        """Do it.

        Raises:
            WgpyError: it cannot be done.
        """
        if not (isinstance(step, SetSysctl) and step.former == step.value):
            say(step)
        with _told():
            self._do(step)

    def _do(self, step: Step) -> None:
        match step:
            case AddAddress():
                self._rtnl.add_address(self._link(), ip_interface(step.address))
            case SetUp():
                self._rtnl.set_up(self._link(), step.mtu)
            case AddRoute():
                self._rtnl.add_route(self._link(), ip_network(step.prefix), step.table)
            case SetFwMark():
                self._set_fwmark(step.mark)
            case AddRule():
                self._rtnl.add_rule(_rule(step))
            case SetSysctl():
                _set_sysctl(step)
            case LoadNft():
                run(["nft", "-f", "-"], step.script)
            case LoadIptables():
                run([step.program, "-n"], step.script)
            case TellResolvconf():
                run(["resolvconf", "-a", step.record, "-m", "0", "-x"], step.text)
            case TellResolved():
                _tell_resolved(step)
            case WriteResolvConf():
                write_in_place(Path(step.path), step.text)
            case CreateDevice():
                raise WgpyError("a device is created by its own process")
            case _:
                assert_never(step)

    def undo(self, step: Step) -> None:
        """Undo it.

        Raises:
            WgpyError: it cannot be undone; it may be tried again.
        """
        with _told():
            self._undo(step)

    def _undo(self, step: Step) -> None:
        match step:
            case AddAddress():
                self._while_there(lambda link: self._rtnl.remove_address(link, ip_interface(step.address)))
            case SetUp():
                self._while_there(
                    lambda link: self._rtnl.restore(
                        Link(link.index, link.name, step.former_mtu, step.former_up)
                    )
                )
            case AddRoute():
                prefix = ip_network(step.prefix)
                self._while_there(lambda link: self._rtnl.remove_route(link, prefix, step.table))
            case AddRule():
                say(str(step).replace("rule add", "rule delete"))
                self._rtnl.remove_rule(_rule(step))
            case SetSysctl():
                self._restore_sysctl(step)
            case LoadNft():
                run(["nft", "-f", "-"], step.undo)
            case LoadIptables():
                _undo_iptables(step)
            case TellResolvconf():
                say(f"resolvconf -d {step.record} -f")
                run(["resolvconf", "-d", step.record, "-f"])
            case TellResolved():
                self._while_there(lambda _: run(["resolvectl", "revert", step.interface]))
            case WriteResolvConf():
                self._restore_resolv_conf(step)
            case CreateDevice():
                if not step.handed_in:
                    self._while_there(self._delete)
            case SetFwMark():
                pass
            case _:
                assert_never(step)

    def _link(self) -> Link:
        link = self._rtnl.link(self._interface)
        if link is None:
            raise WgpyError(f"{self._interface} disappeared; look for the reason in the daemon's log")
        return link

    def _while_there(self, undo: Callable[[Link], None]) -> None:
        """What belongs to the interface went with it."""
        link = self._rtnl.link(self._interface)
        if link is not None and self._index in (None, link.index):
            undo(link)

    def _delete(self, link: Link) -> None:
        say(f"ip link delete dev {link.name}")
        self._rtnl.delete_link(link.name)

    def _restore_sysctl(self, step: SetSysctl) -> None:
        path = PROC_SYS / step.key
        if step.former in ("", step.value) or not path.exists() or path.read_text().strip() != step.value:
            return
        for other in journal.others(self._interface, self._directory):
            for theirs in other.steps:
                if isinstance(theirs, SetSysctl) and theirs.key == step.key:
                    # Another tunnel needs it still; the former value is that one's to restore.
                    other.with_step(theirs, SetSysctl(step.key, step.value, step.former))
                    return
        try:
            path.write_text(step.former)
        except OSError as error:
            warn(f"{step.key.replace('/', '.')} stays {step.value}: {error.strerror}")

    def _restore_resolv_conf(self, step: WriteResolvConf) -> None:
        path = Path(step.path)
        mark, _, _ = step.text.partition("\n")
        present = read_or_none(path)
        if present is not None and present.startswith(mark):
            say(f"restore {step.path}")
            if step.former is None:
                path.unlink()
            else:
                write_in_place(path, step.former)
            return
        for other in journal.others(self._interface, self._directory):
            for theirs in other.steps:
                if isinstance(theirs, WriteResolvConf) and (theirs.former or "").startswith(mark):
                    # Another tunnel came after this one: it shall restore what was before both.
                    other.with_step(theirs, WriteResolvConf(theirs.path, theirs.text, step.former))
                    return


def write_in_place(path: Path, text: str) -> None:
    """Exchange a file's content without exchanging the file: in containers resolv.conf is a mount point.

    One write covers all that was there, with empty lines where the new text is shorter: killed before they
    are cut off, nothing of the old text is left behind the new.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        content = text.encode("utf-8", "surrogateescape")
        there = os.fstat(descriptor)
        os.pwrite(descriptor, content.ljust(there.st_size, b"\n"), 0)
        if stat.S_ISREG(there.st_mode):
            os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)


def read_or_none(path: Path) -> str | None:
    """A text file's content, None where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


def _rule(step: AddRule) -> Rule:
    return Rule(step.version, step.priority, step.table, step.unless_fwmark, step.suppress_default)


def _set_sysctl(step: SetSysctl) -> None:
    path = PROC_SYS / step.key
    try:
        if path.read_text().strip() != step.value:
            path.write_text(step.value)
    except OSError as error:
        warn(
            f"{step.key.replace('/', '.')} cannot be set to {step.value} ({error.strerror}): "
            "the tunnel comes up without it; set it from outside if reverse-path filtering drops packets"
        )


def _tell_resolved(step: TellResolved) -> None:
    run(["resolvectl", "dns", step.interface, *step.servers])
    run(["resolvectl", "domain", step.interface, *step.domains, "~."])
    run(["resolvectl", "default-route", step.interface, "true"])


def _undo_iptables(step: LoadIptables) -> None:
    for script in step.undo:
        try:
            run([step.program, "-n"], script)
        except WgpyError as error:
            if "does a matching rule exist" not in str(error) and "No chain/target/match" not in str(error):
                warn(error)


@contextmanager
def _told() -> Iterator[None]:
    """The host's refusal as one for the person."""
    try:
        yield
    except PermissionError as error:
        raise PermissionMissing(
            f"{_words(error)}; CAP_NET_ADMIN is needed in this network namespace"
        ) from error
    except OSError as error:
        raise WgpyError(_words(error)) from error


def _words(error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else "failed"
    if error.filename:
        return f"{error.filename}: {reason}"
    return f"{error.strerror}: {reason}" if error.strerror and error.strerror != reason else reason
