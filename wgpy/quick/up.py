"""`up`: from a configuration file to a tunnel, or to nothing at all.

Everything that changes the host goes through `_Attempt.step`, which writes it into the journal first. A
failure anywhere undoes what the journal holds, in reverse.
"""

import os
import pwd
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

from tun.rtnl import Link, Rtnl
from wgpy import privileges, uapi_client
from wgpy.config_files import QuickFile, read_quick_file
from wgpy.config_update import setconf
from wgpy.errors import ConfigError, PermissionMissing, WgpyError
from wgpy.model import DeviceUpdate
from wgpy.quick import process
from wgpy.quick.descriptors import Descriptors, handed_in, tun_name
from wgpy.quick.down import take_down
from wgpy.quick.handover import arrangement
from wgpy.quick.host import Host
from wgpy.quick.journal import Head, Journal, Recorder, journal_path
from wgpy.quick.locks import interface_lock, shared_lock
from wgpy.quick.plan import plan
from wgpy.quick.programs import ending, run_hook, say, warn
from wgpy.quick.reload import rosenpass_of
from wgpy.quick.signals import handled
from wgpy.quick.steps import CreateDevice, Step
from wgpy.quick.survey import survey
from wgpy.quick.undo import network_namespace, undo
from wgpy.resolve import resolve
from wgpy.rosenpass_settings import RosenpassSettings
from wgpy.socket_file import answers, socket_path

UP_LOCK_WAIT_S = 10.0  # a dying device process may be running `down`
TUN_NODE = Path("/dev/net/tun")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line adds to the file.

    Attributes:
        supervised: we stay as the device process's parent; else it leaves by itself on TERM and INT.
        detached: the terminal is not for the device process to keep.
        user: whom the device process becomes when all is set up, None = the file's `User`.
    """

    supervised: bool = False
    detached: bool = True
    user: str | None = None


def user_of(name: str, user: str | None) -> str | None:
    """Whom the device process of this tunnel shall become: the command line's word, else the file's."""
    return user or read_quick_file(name).config.user


ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupted(WgpyError):  # noqa: N818
    """TERM or INT came while setting up; everything was undone."""


def up(name: str, wishes: Wishes) -> process.DeviceProcess:
    """Bring a tunnel up; `name` is a path or an interface name.

    Raises:
        ConfigError: the file is invalid; nothing was created.
        PermissionMissing: no CAP_NET_ADMIN or no TUN device; nothing was created.
        WgpyError: it exists already, or something failed and everything was undone.
    """
    file = read_quick_file(name)
    for warning in file.warnings:
        warn(warning)
    user = wishes.user or file.config.user
    rosenpass = rosenpass_of(file)
    _check_user(user)
    descriptors = handed_in(os.environ, os.getpid())
    _check_permissions(descriptors)
    reads = readable(file, rosenpass)
    arranged = arrangement(
        str(file.named), user, wishes.supervised, wishes.detached, reads, file.config.workers
    )
    with ExitStack() as stack:
        stack.enter_context(interface_lock(file.interface, wait_s=UP_LOCK_WAIT_S))
        stack.enter_context(_signals_raise())
        device = stack.enter_context(_waiting_device(file.interface, descriptors, arranged, wishes.detached))
        rtnl = stack.enter_context(Rtnl())
        _clean_up_after_the_dead(file.interface, rtnl)
        _refuse_existing(file.interface, descriptors, rtnl)
        attempt = _Attempt(file, rosenpass, descriptors, rtnl)
        try:
            attempt.run(device)
            # It stands. What comes now waits for `stay`, or for our end: nobody would undo it here any more.
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
            return device
        except BaseException:
            with _signals_wait():
                attempt.abandon()
            raise


@contextmanager
def _waiting_device(
    interface: str, descriptors: Descriptors, arranged: dict[str, str], detached: bool
) -> Iterator[process.DeviceProcess]:
    """A device process that loads what it needs while we look around, and does nothing until it may."""
    device = process.start(interface, descriptors, arranged, detached)
    try:
        yield device
    except BaseException:
        device.cancel()
        raise


def readable(file: QuickFile, rosenpass: RosenpassSettings | None) -> list[str]:
    """The directories the device process may read later: where keys are, and all of /etc to resolve names.

    /etc as a whole, because its resolv.conf may be exchanged for another file while the tunnel stands.
    """
    directories = {str(file.path.parent.resolve())}
    if rosenpass is not None:
        paths = [rosenpass.public_key, rosenpass.secret_key]
        for peer in rosenpass.peers:
            paths += filter(None, (peer.rosenpass_public_key, peer.preshared_key))
        directories |= {str(Path(path).resolve().parent) for path in paths}
        if any(peer.outside is not None and not _is_address(peer.outside.host) for peer in rosenpass.peers):
            directories.add("/etc")
    return sorted(directories)


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


class _Attempt:
    """One run of `up`, until it stands or is undone."""

    def __init__(
        self, file: QuickFile, rosenpass: RosenpassSettings | None, descriptors: Descriptors, rtnl: Rtnl
    ) -> None:
        self._file = file
        self._rosenpass = rosenpass
        self._interface = file.interface
        self._descriptors = descriptors
        self._rtnl = rtnl
        self._host = Host(file.interface, rtnl, self._set_fwmark)
        self._recorder: Recorder | None = None

    def run(self, device: process.DeviceProcess) -> None:
        config = self._file.config
        recorder = self._recorder = Recorder(journal_path(self._interface), self._head())
        handed_in_link = self._rtnl.link(self._interface)  # as it was before the device process had it
        create = CreateDevice(self._interface, handed_in=self._descriptors.tun is not None)
        recorder.step(create)
        say(create)
        recorder.daemon(device.identity)
        device.go()
        device.wait_ready()
        if (link := self._rtnl.link(self._interface)) is not None:
            recorder.link(link.index)
        self._hooks(config.pre_up)
        update = setconf(config.wg, lambda endpoint: resolve(endpoint, warn=warn))
        uapi_client.apply(self._interface, update)
        if self._rosenpass is not None:
            # Before the link is up: no user packet shall find a strict peer without its gate.
            uapi_client.configure_rosenpass(self._interface, self._rosenpass)
        with shared_lock():
            self._arrange(update, handed_in_link)
            recorder.hooks()
        self._hooks(config.post_up)
        if (status := device.poll()) is not None:
            how = ending(status)
            raise WgpyError(
                f"{self._interface}: the device process ended while its tunnel was set up ({how})"
            )
        with shared_lock():  # under which another's `down` may exchange our journal for a new one
            recorder.complete()
        device.set_up_done()

    def _head(self) -> Head:
        config = self._file.config
        return Head(
            self._interface,
            str(self._file.path),
            network_namespace(),
            config.pre_down,
            config.post_down,
            config.save_config,
        )

    def _arrange(self, update: DeviceUpdate, handed_in_link: Link | None) -> None:
        endpoints = [peer.endpoint.ip for peer in update.peers if peer.endpoint is not None]
        facts = survey(self._interface, endpoints, self._rtnl)
        if handed_in_link is not None:
            facts = replace(facts, link_mtu=handed_in_link.mtu, link_up=handed_in_link.up)
        planned = plan(self._interface, self._file.config, update.fwmark or 0, facts)
        for warning in planned.warnings:
            warn(warning)
        for step in planned.steps:
            self._step(step)

    def _step(self, step: Step) -> None:
        assert self._recorder is not None
        self._recorder.step(step)
        self._host.do(step)

    def _hooks(self, commands: tuple[str, ...]) -> None:
        for command in commands:
            run_hook(command, self._interface, str(self._file.path))

    def _set_fwmark(self, mark: int) -> None:
        uapi_client.apply(self._interface, DeviceUpdate(fwmark=mark))

    def abandon(self) -> None:
        """Undo all of it."""
        if self._recorder is None:
            return
        journal = Journal.read(self._recorder.path)
        failures = undo(self._host, journal.steps, journal.daemon) if journal is not None else []
        for failure in failures:
            warn(f"not undone: {failure}")
        if not failures:
            self._recorder.path.unlink(missing_ok=True)


def _clean_up_after_the_dead(interface: str, rtnl: Rtnl) -> None:
    """We hold the lock: if its `up` never ended, or its device died, nobody else undoes a journal."""
    journal = Journal.read(journal_path(interface))
    if journal is None or (
        journal.complete and journal.daemon is not None and process.is_alive(journal.daemon)
    ):
        return
    say(f"{interface} was left behind by a process that died; cleaning up after it")
    for failure in take_down(interface, rtnl, leaving_anyway=True):
        warn(failure)


def _refuse_existing(interface: str, descriptors: Descriptors, rtnl: Rtnl) -> None:
    if descriptors.tun is not None:
        name = tun_name(descriptors.tun)
        if name != interface:
            raise ConfigError(
                f"the TUN handed in is {name}: call the file {name}.conf, or rename the interface"
            )
    elif rtnl.link(interface) is not None:
        raise WgpyError(
            f"{interface} already exists; `wgpy down {interface}` if it is yours, else choose another name"
        )
    if answers(socket_path(interface)):
        raise WgpyError(f"{interface} already exists, in another network namespace; choose another name")


def _check_permissions(descriptors: Descriptors) -> None:
    if not privileges.effective(privileges.CAP_NET_ADMIN):
        raise PermissionMissing(
            "CAP_NET_ADMIN is missing: run as root, or give the container --cap-add NET_ADMIN"
        )
    if descriptors.tun is not None or os.environ.get("WGPY_USERSPACE_IMPLEMENTATION"):
        return
    try:
        os.close(os.open(TUN_NODE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        raise PermissionMissing(
            f"{TUN_NODE} is missing: `mkdir -p /dev/net && mknod {TUN_NODE} c 10 200`, "
            f"or give the container --device {TUN_NODE}"
        ) from None
    except OSError as error:
        raise PermissionMissing(
            f"{TUN_NODE}: {error.strerror}; the TUN driver must be there and ours to use"
        ) from None


def _check_user(user: str | None) -> None:
    if user is None:
        return
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ConfigError(f"User = {user}: no such user here; `useradd --system {user}` makes one") from None
    if entry.pw_uid == 0:
        raise ConfigError(f"User = {user}: that is root again; name another user or leave it out")


@contextmanager
def _signals_raise() -> Iterator[None]:
    """TERM, INT and HUP end the attempt as a failure does, so that it is undone."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(f"interrupted by {signal.Signals(number).name}; nothing was left behind")

    with handled(ENDING, interrupt):
        yield


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Nothing interrupts undoing."""
    with handled(ENDING, signal.SIG_IGN):
        yield
