"""What a process in the sandbox can still do, tried, each time in a child that entered it first."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from wgpy import landlock, seccomp

# Forks a child for each attempt; its end, or the errno it met, goes to standard output as JSON.
PROGRAM = r"""
import ctypes, errno, fcntl, json, os, signal, socket, sys, threading, time
from pathlib import Path
from wgpy import sandbox

libc = ctypes.CDLL(None, use_errno=True)
keys, outside = Path(sys.argv[1]), Path(sys.argv[2])

def call(name, *arguments):
    result = getattr(libc, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)

def syscall(number, *arguments):
    call("syscall", number, *arguments)

def thread_sleeps_and_opens_a_raw_socket():
    met = []
    def later():
        while not go:
            time.sleep(0.001)
        try:
            socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
        except OSError as error:
            met.append(error)
    thread = threading.Thread(target=later)
    thread.start()
    return thread, met

def listen_tcp():
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).bind(("127.0.0.1", 0))

def connect_tcp():
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(("127.0.0.1", 80))

def work():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.bind(("::1", 0))
        udp.sendto(b"x", udp.getsockname())
        assert udp.recv(9) == b"x"
    done = []
    thread = threading.Thread(target=lambda: done.append(socket.getaddrinfo("localhost", 1)))
    thread.start(); thread.join()
    assert done
    assert (keys / "pqpk").read_bytes() == b"key"
    import decimal, sqlite3.dbapi2, wgpy.tunnel, rosenpass.server  # libraries that come late
    assert os.urandom(8)
    time.sleep(0.001)

import ctypes.util, subprocess
ATTEMPTS = {
    "the daemon's own work": work,
    "execve": lambda: os.execv("/bin/true", ["true"]),
    "ptrace": lambda: call("ptrace", 16, os.getppid(), 0, 0),
    "mount": lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, 0),
    "unshare": lambda: call("unshare", 0x20000000),
    "keyctl": lambda: syscall(NUMBERS["keyctl"], 0, -3, 0),
    "bpf": lambda: syscall(NUMBERS["bpf"], 0, 0, 0),
    "init_module": lambda: syscall(NUMBERS["init_module"], 0, 0, 0),
    "process_vm_readv": lambda: syscall(NUMBERS["process_vm_readv"], os.getppid(), 0, 0, 0, 0, 0),
    "perf_event_open": lambda: syscall(NUMBERS["perf_event_open"], 0, 0, 0, 0, 0),
    "reboot": lambda: syscall(NUMBERS["reboot"], 0, 0, 0, 0),
    "fork": os.fork,
    "a program": lambda: subprocess.run(["/bin/true"]),
    "a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0),
    "a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "another daemon's socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "nftables": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12),
    "a TCP server": listen_tcp,
    "a TCP client": connect_tcp,
    "a signal for another": lambda: os.kill(os.getppid(), 0),
    "another user": lambda: os.setresuid(1, 1, 1),
    "another namespace": lambda: call("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0),
    "an io_uring": lambda: syscall(425, 8, 0),
    "another limit": lambda: call("prlimit", 0, 4, (ctypes.c_ulong * 2)(0, 0), None),
    "to be dumped again": lambda: call("prctl", 4, 1, 0, 0, 0),
    "the passwords": lambda: open("/etc/shadow"),
    "a file of somebody": lambda: open(outside / "secret"),
    "a key of another program": lambda: (outside / "x").write_text(""),
    "writing among the keys": lambda: (keys / "pqpk").write_bytes(b"other"),
    "a new file among the keys": lambda: (keys / "new").write_bytes(b""),
    "a sysctl": lambda: open("/proc/sys/net/ipv4/ip_forward", "w"),
    "another's memory": lambda: open(f"/proc/{os.getppid()}/mem", "rb"),
    "input for the terminal": lambda: fcntl.ioctl(0, 0x5412, b"x"),
    "a thread from before": "thread",
}
NUMBERS = json.loads(sys.argv[3])
go = False

def attempt(action, write_end):
    global go
    sys.stderr = open(os.devnull, "w")
    environment = {"WGPY_READS": str(keys)}
    if action == "thread":
        from wgpy import privileges
        privileges.renounce_gaining()
        thread, met = thread_sleeps_and_opens_a_raw_socket()
        sandbox.seal()
        go = True
        thread.join()
        if met:
            raise met[0]
        return
    sandbox.enter(environment, stays_root=True)
    sandbox.seal()
    action()

found = {}
for name, action in ATTEMPTS.items():
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        said = "done"
        try:
            attempt(action, write_end)
        except OSError as error:
            said = errno.errorcode[error.errno]
        except BaseException as error:
            said = repr(error)
        os.write(write_end, said.encode())
        os._exit(0)
    os.close(write_end)
    said = os.read(read_end, 500).decode()
    _, status = os.waitpid(child, 0)
    found[name] = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else said
    os.close(read_end)
print(json.dumps(found))
"""
DEADLY = (
    *("execve", "ptrace", "mount", "unshare", "keyctl", "bpf", "init_module", "process_vm_readv"),
    *("perf_event_open", "reboot"),
)
REFUSED = (
    *("fork", "a program", "a packet socket", "a raw socket", "another daemon's socket", "nftables"),
    *("a signal for another", "another user", "another namespace", "another limit", "to be dumped again"),
    *("input for the terminal", "a thread from before"),
)
OUT_OF_REACH = (
    *("the passwords", "a file of somebody", "a key of another program", "writing among the keys"),
    *("a new file among the keys", "a sysctl", "another's memory"),
)


def syscall_numbers() -> Mapping[str, int]:
    import ctypes

    library = ctypes.CDLL(seccomp.LIBRARY)
    names = ("keyctl", "bpf", "init_module", "process_vm_readv", "perf_event_open", "reboot")
    return {name: library.seccomp_syscall_resolve_name(name.encode()) for name in names}


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    try:
        numbers = syscall_numbers()
    except OSError:
        pytest.skip(f"needs {seccomp.LIBRARY}")
    if landlock.version() < 4:
        pytest.skip("needs a kernel with Landlock, version 4")
    keys, outside = tmp_path_factory.mktemp("keys"), tmp_path_factory.mktemp("outside")
    (keys / "pqpk").write_bytes(b"key")
    (outside / "secret").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(keys), str(outside), json.dumps(numbers)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_the_daemon_can_do_its_own_work(attempts: dict[str, str]) -> None:
    assert attempts["the daemon's own work"] == "done"


@pytest.mark.parametrize("name", DEADLY)
def test_what_only_an_intruder_wants_ends_the_process(attempts: dict[str, str], name: str) -> None:
    assert attempts[name] == signal.SIGSYS.name


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_filter_does_not_know_is_refused(attempts: dict[str, str], name: str) -> None:
    assert attempts[name] == "EPERM"


@pytest.mark.parametrize("name", OUT_OF_REACH)
def test_what_no_rule_names_is_out_of_reach(attempts: dict[str, str], name: str) -> None:
    if name == "the passwords" and os.geteuid() != 0:
        pytest.skip("only root could")
    assert attempts[name] == "EACCES"


@pytest.mark.parametrize("name", ["a TCP server", "a TCP client"])
def test_no_tcp_but_to_name_servers(attempts: dict[str, str], name: str) -> None:
    assert attempts[name] == "EACCES"


def test_there_is_no_way_around_the_filter_through_a_ring(attempts: dict[str, str]) -> None:
    assert attempts["an io_uring"] in ("ENOSYS", "EPERM")


def test_a_call_is_in_one_list_only() -> None:
    assert not set(seccomp.ALLOWED) & set(seccomp.DEADLY)
    assert len(set(seccomp.ALLOWED)) == len(seccomp.ALLOWED)


def test_a_kernel_without_landlock_is_told_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    assert landlock.restrict([(Path("/"), landlock.READ)]) == 0


def test_a_host_without_libseccomp_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "LIBRARY", "libseccomp-that-is-not-here.so")
    assert seccomp.load() is False
    assert seccomp.forbid_rings() is False
