"""The system calls this process still has, filtered by the kernel through libseccomp.

What is not on the list fails with EPERM; what only an intruder would want ends the process. Knows no daemon,
but the lists are its: an event loop, C threads that move packets, a worker, and name resolution.

libseccomp (LGPL-2.1) is loaded where the host has it; nothing of it is carried here.
"""

import ctypes
import errno
import os
import socket
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from wgpy.errors import WgpyError

LIBRARY: Final = "libseccomp.so.2"

ALLOWED: Final = (
    # memory
    *("brk", "madvise", "mlock", "mlock2", "mmap", "mprotect", "mremap", "munlock", "munmap"),
    # files: Landlock says which
    *("access", "close", "close_range", "dup", "dup2", "dup3", "faccessat", "faccessat2", "fcntl", "fstat"),
    *("fsync", "fdatasync", "ftruncate", "getcwd", "getdents64", "lseek", "lstat", "newfstatat", "open"),
    *("openat", "pipe", "pipe2", "pread64", "pwrite64", "read", "readlink", "readlinkat", "readv"),
    *("stat", "statfs", "fstatfs", "statx", "umask", "unlink", "unlinkat", "write", "writev", "fadvise64"),
    # threads and signals of our own
    *("exit", "exit_group", "futex", "futex_waitv", "get_robust_list", "getcpu", "gettid", "membarrier"),
    *("restart_syscall", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn"),
    *("rt_sigtimedwait", "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_getscheduler"),
    *("sched_yield", "set_robust_list", "set_tid_address", "sigaltstack"),
    # waiting and time
    *("clock_getres", "clock_gettime", "clock_nanosleep", "epoll_create1", "epoll_ctl", "epoll_pwait"),
    *("epoll_pwait2", "epoll_wait", "eventfd2", "gettimeofday", "nanosleep", "pause", "poll", "ppoll"),
    *("pselect6", "select", "time", "times", "timerfd_create", "timerfd_gettime", "timerfd_settime"),
    # sockets: `_SOCKETS` says of which families
    *("accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "recvfrom"),
    *("recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown"),
    # what one asks
    *("arch_prctl", "capget", "getegid", "geteuid", "getgid", "getgroups", "getpgrp", "getpid", "getppid"),
    *("getrandom", "getresgid", "getresuid", "getrusage", "getuid", "sysinfo", "uname"),
)
# An honest process never tries; who does has found a way in.
DEADLY: Final = (
    *("execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd"),
    *("mount", "umount2", "mount_setattr", "move_mount", "open_tree", "pivot_root", "chroot"),
    *("fsconfig", "fsmount", "fsopen", "fspick", "swapon", "swapoff"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot"),
    *("add_key", "keyctl", "request_key", "bpf", "perf_event_open", "userfaultfd", "open_by_handle_at"),
    *("acct", "clock_settime", "settimeofday", "ioperm", "iopl", "syslog", "unshare", "personality"),
)
# The TUN's, the interface's, and what files and sockets are asked in passing. No terminal is pushed input.
IOCTLS: Final = (
    *(0x800454D2, 0x54E3, 0x400454CA, 0x400454D0, 0x400454D9, 0x800454CF, 0x800454D3, 0x400454D4),  # TUN*
    *(0x400454D8, 0x400454DC, 0x400454DE),  # TUNSETVNETHDRSZ, TUNSETVNETLE, TUNSETVNETBE
    *(0x8910, 0x8913, 0x8912, 0x8921, 0x8927, 0x8933, 0x8915, 0x891B),  # SIOCGIF* and NAME
    *(
        0x5401,
        0x5413,
        0x541B,
        0x5411,
        0x5421,
        0x5451,
        0x5450,
    ),  # TCGETS TIOCGWINSZ FIONREAD OUTQ FIONBIO FIOCLEX
)
_PRCTLS: Final = (3, 15, 16, 21, 23, 27, 39, 0x53564D41)  # asking, and naming threads and memory
_NETLINK_ROUTE: Final = 0
_CLONE_THREAD: Final = 0x10000
_TYPE_MASK: Final = 0xF

_KILL: Final = 0x80000000
_ALLOW: Final = 0x7FFF0000
_EQ: Final = 4
_MASKED_EQ: Final = 7
_ATTRIBUTE_TSYNC: Final = 4
_ATTRIBUTE_SSB: Final = 7
_ATTRIBUTE_OPTIMIZE: Final = 8
_UNKNOWN_CALL: Final = -1


class _Compare(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


class Rule(NamedTuple):
    """An action for a call whose arguments compare so: (argument, operator, value, value after the mask)."""

    action: int
    call: str
    when: Sequence[tuple[int, int, int, int]] = ()


def load() -> bool:
    """Filter every thread of this process from now on. False: no libseccomp here, nothing was done.

    Raises:
        WgpyError: the library or the kernel refuses.
    """
    return _load(_refuse(errno.EPERM), rules())


def forbid_rings() -> bool:
    """No io_uring for this thread and later ones: what goes through a ring passes by `load`'s filter.

    Call it before an event loop is made; libuv does without one then. Returns and raises as `load`.
    """
    return _load(_ALLOW, [Rule(_refuse(errno.ENOSYS), "io_uring_setup")])


def _load(otherwise: int, wanted: Iterable[Rule]) -> bool:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(otherwise)))
    if not context:
        raise WgpyError("libseccomp has no filter to begin with")
    try:
        # Every thread at once; a tree instead of a list; no slower speculation for our own trusted code.
        _must(library.seccomp_attr_set(context, _ATTRIBUTE_TSYNC, 1), "filtering every thread")
        for attribute, value in ((_ATTRIBUTE_SSB, 1), (_ATTRIBUTE_OPTIMIZE, 2)):
            library.seccomp_attr_set(context, attribute, value)  # older ones cannot, and work all the same
        for rule in wanted:
            _add(library, context, rule)
        _must(library.seccomp_load(context), "loading the system call filter")
    finally:
        library.seccomp_release(context)
    return True


def rules() -> list[Rule]:
    """The whole filter; the first element of each is what happens, EPERM where no rule fits."""
    found = [Rule(_ALLOW, call) for call in ALLOWED]
    found += [Rule(_KILL, call) for call in DEADLY]
    # The kernel looks at 32 bits of the request; the rest may be its sign.
    found += [Rule(_ALLOW, "ioctl", [(1, _MASKED_EQ, 0xFFFFFFFF, request)]) for request in IOCTLS]
    found += [Rule(_ALLOW, "prctl", [(0, _EQ, option, 0)]) for option in _PRCTLS]
    found += [
        Rule(_ALLOW, "socket", [(0, _EQ, family, 0), (1, _MASKED_EQ, _TYPE_MASK, kind)])
        for family in (socket.AF_INET, socket.AF_INET6)
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
    ]
    found += [
        Rule(_ALLOW, "socket", [(0, _EQ, socket.AF_NETLINK, 0), (2, _EQ, _NETLINK_ROUTE, 0)]),
        Rule(_ALLOW, "socketpair", [(0, _EQ, socket.AF_UNIX, 0)]),
        # Threads yes, processes no. clone3 hides its flags in memory, so libc shall take clone.
        Rule(_ALLOW, "clone", [(0, _MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD)]),
        Rule(_refuse(errno.ENOSYS), "clone3"),
        Rule(_ALLOW, "prlimit64", [(2, _EQ, 0, 0)]),  # asked, not set
        Rule(_ALLOW, "getrlimit"),
        Rule(_ALLOW, "tgkill", [(0, _EQ, os.getpid(), 0)]),  # abort and glibc's own
        Rule(_ALLOW, "kill", [(0, _EQ, os.getpid(), 0)]),
    ]
    return found


def _add(library: ctypes.CDLL, context: ctypes.c_void_p, rule: Rule) -> None:
    number = library.seccomp_syscall_resolve_name(rule.call.encode())
    if number == _UNKNOWN_CALL:
        return  # not on this architecture, or newer than the library
    compares = (_Compare * len(rule.when))(*(_Compare(*each) for each in rule.when))
    status = library.seccomp_rule_add_array(
        context, ctypes.c_uint32(rule.action), number, ctypes.c_uint(len(rule.when)), compares
    )
    if status not in (0, -errno.EDOM):  # EDOM: another architecture's
        _must(status, f"the rule for {rule.call}")


def _refuse(number: int) -> int:
    return 0x00050000 | number


def _must(status: int, what: str) -> None:
    if status != 0:
        raise WgpyError(f"{what}: {os.strerror(abs(status))}")
