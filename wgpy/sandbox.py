"""What the device process may still do once it has what it needs: the policy, not the kernel's tools.

    enter   while there is one thread, before any packet or key: no new privileges, few capabilities, Landlock
    seal    in every thread, when it is set up: system calls filtered

A kernel, container or host without one of these does with the others; WGPY_SANDBOX=off does without all.

docs/security.md
"""

import logging
import os
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from wgpy import landlock, privileges, seccomp
from wgpy.errors import WgpyError
from wgpy.landlock import READ, Access

logger = logging.getLogger(__name__)

# Root without `User =` keeps what a running device may be asked for: a mark, a low port, sockets of its own.
OF_ROOT: Final = (privileges.CAP_NET_ADMIN, privileges.CAP_NET_RAW, privileges.CAP_NET_BIND_SERVICE)
CONTROL: Final = Path("/var/run/wireguard")
KEYS: Final = "/etc/wireguard"  # unless `up` knows better
DNS_PORT: Final = 53

_PROGRAM: Final = ("/usr", "/lib", "/lib64", "/nix/store", "/gnu/store")
_ASKED_OF_THE_HOST: Final = (
    *("/proc/self", "/proc/sys", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system"),
    *("/dev/random", "/dev/urandom", "/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/etc/localtime"),
)
# Where names are resolved by; those that others write anew live in directories of their own.
_NAMES: Final = (
    *("resolv.conf", "hosts", "nsswitch.conf", "host.conf", "gai.conf", "services", "protocols"),
    *("/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager", "/run/connman"),
)


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Not switched off."""
    return environment.get("WGPY_SANDBOX", "") != "off"


def enter(environment: Mapping[str, str], stays_root: bool) -> None:
    """Give up what not even the setting up needs. Call it while the process has one thread.

    Args:
        environment: WGPY_READS, a colon list of directories, is where keys are.
        stays_root: no other user is become later, so capabilities are cut now.

    Raises:
        WgpyError: the kernel refuses what every kernel has.
    """
    privileges.renounce_gaining()
    with suppress(OSError):
        CONTROL.mkdir(mode=0o755, parents=True, exist_ok=True)
    version = 0
    try:
        version = landlock.restrict(_rules(environment), (DNS_PORT,))
    except OSError as error:
        logger.warning("Landlock: %s; going on without", error.strerror)
    _filter(seccomp.forbid_rings)
    if stays_root:
        privileges.keep_only(list(_kept(has_landlock=version > 0)))


def seal() -> None:
    """Filter the system calls of every thread. Call it when all is set up."""
    _filter(seccomp.load)


def _filter(load: Callable[[], bool]) -> None:
    try:
        if not load():
            logger.warning("%s is not here: system calls are not filtered", seccomp.LIBRARY)
    except WgpyError as error:
        logger.warning("%s; system calls are not filtered", error)


def _kept(*, has_landlock: bool) -> Iterator[int]:
    yield from OF_ROOT
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY:
        yield privileges.CAP_IPC_LOCK  # memory is locked, and still grows
    if has_landlock:
        yield privileges.CAP_DAC_READ_SEARCH  # key files of others, in the directories of keys alone


def _rules(environment: Mapping[str, str]) -> Iterator[tuple[Path, Access]]:
    for directory in (*_PROGRAM, *_python(), *_liboqs(environment), *_ASKED_OF_THE_HOST):
        yield Path(directory), READ
    for name in _NAMES:
        yield Path("/etc", name), READ
    for directory in environment.get("WGPY_READS", KEYS).split(":"):
        if directory:
            yield Path(directory), READ
    yield CONTROL, READ | Access.MAKE_SOCK | Access.REMOVE_FILE
    yield Path(os.devnull), Access.READ_FILE | Access.WRITE_FILE
    yield Path("/dev/net/tun"), Access.READ_FILE | Access.WRITE_FILE | Access.IOCTL_DEV
    if key_log := environment.get("WGPY_KEY_LOG", ""):  # for test labs
        yield Path(key_log).parent, READ | Access.WRITE_FILE | Access.MAKE_REG


def _python() -> Iterator[str]:
    """Where our code and its libraries may be."""
    own = Path(__file__).resolve().parents[1]
    yield from (str(own / package) for package in ("wgpy", "tun", "rosenpass"))
    for directory in {sys.prefix, sys.base_prefix, *sys.path}:
        if Path(directory).is_absolute() and directory != "/":
            yield directory


def _liboqs(environment: Mapping[str, str]) -> Iterator[str]:
    yield from filter(None, environment.get("LD_LIBRARY_PATH", "").split(":"))
    for variable in ("WGPY_LIBOQS", "OQS_INSTALL_PATH"):
        if environment.get(variable):
            yield environment[variable]
    with suppress(RuntimeError):
        yield str(Path.home() / "_oqs")
