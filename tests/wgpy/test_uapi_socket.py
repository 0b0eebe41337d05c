"""wgpy.uapi_socket and wgpy.uapi_client: a real socket in a directory of the test's own."""

import asyncio
import errno
import os
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_device import FakeDevice

from wgpy import uapi_client
from wgpy.model import DeviceUpdate, PeerUpdate, PublicKey, SocketAddress
from wgpy.socket_file import socket_path
from wgpy.uapi_socket import CLIENTS_MAX, UapiServer, adopt_listener, open_listener


class Served:
    """A fake device behind a UapiServer on a loop in a thread of its own."""

    def __init__(self, directory: Path, listener: socket.socket | None = None) -> None:
        self.directory = directory
        self.device = FakeDevice()
        self.deleted = threading.Event()
        self._listener = listener or open_listener("wgt0", directory)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        path = socket_path("wgt0", self.directory)
        server = UapiServer(self.device, self._listener, path, self.deleted.set, watch_s=0.02)
        await server.start()
        self._ready.set()
        await self._stop.wait()
        await server.close()
        await server.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(str(socket_path("wgt0", self.directory)))
        return client

    def ask(self, request: bytes) -> bytes:
        """Everything the server says until it hangs up on our end of the stream."""
        with self.connect() as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path)
    yield server
    server.close()


def test_one_that_never_served_leaves_no_file(tmp_path: Path) -> None:
    path = socket_path("wgt0", tmp_path)
    server = UapiServer(FakeDevice(), open_listener("wgt0", tmp_path), path, lambda: None)
    assert path.exists()
    asyncio.run(server.close())
    assert not path.exists()


@pytest.fixture(scope="module")
def long_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("run"))
    yield server
    server.close()


def test_the_socket_is_for_its_owner_only(served: Served) -> None:
    path = socket_path("wgt0", served.directory)
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_the_directory_is_made_0755_whatever_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o077)
    try:
        open_listener("wgt0", tmp_path / "run" / "wireguard").close()
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "run" / "wireguard").stat().st_mode) == 0o755


def test_the_file_has_its_name_only_when_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`wg show` deletes the file of a socket that refuses it, and a device whose file is deleted ends."""

    class Slow(socket.socket):
        def listen(self, backlog: int = 0, /) -> None:
            assert not list(tmp_path.glob("*.sock"))
            super().listen(backlog)

    monkeypatch.setattr("wgpy.socket_file.socket.socket", Slow)
    open_listener("wgt0", tmp_path).close()
    assert [file.name for file in tmp_path.iterdir()] == ["wgt0.sock"]


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(served: Served, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="another process") as caught:
        open_listener("wgt0", tmp_path)
    assert caught.value.errno == errno.EADDRINUSE
    open_listener("stale", tmp_path).close()
    open_listener("stale", tmp_path).close()


def test_what_a_killed_start_left_is_removed_and_what_lives_is_not(tmp_path: Path) -> None:
    killed, living = tmp_path / ".wgt0.dead00", tmp_path / ".wgt0.beef00"
    with socket.socket(socket.AF_UNIX) as gone, socket.socket(socket.AF_UNIX) as waits:
        gone.bind(str(killed))
        waits.bind(str(living))
        waits.listen()
        open_listener("wgt0", tmp_path).close()
        assert {file.name for file in tmp_path.iterdir()} == {living.name, "wgt0.sock"}


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "wgt0.sock").write_text("precious")
    with pytest.raises(OSError, match="no socket"):
        open_listener("wgt0", tmp_path)
    assert (tmp_path / "wgt0.sock").read_text() == "precious"


def test_a_listener_is_adopted_by_its_descriptor(tmp_path: Path) -> None:
    served = Served(tmp_path, adopt_listener(open_listener("wgt0", tmp_path).detach()))
    try:
        assert uapi_client.get("wgt0", tmp_path).listen_port == 40000
    finally:
        served.close()


def test_a_descriptor_that_does_not_listen_is_refused() -> None:
    with socket.socket(socket.AF_UNIX) as other, pytest.raises(OSError, match="not a listening"):
        adopt_listener(other.fileno())


def test_the_file_goes_when_the_server_closes(tmp_path: Path) -> None:
    Served(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("replace", [False, True])
def test_deleting_the_file_asks_the_device_to_stop(tmp_path: Path, replace: bool) -> None:
    served = Served(tmp_path)
    try:
        socket_path("wgt0", tmp_path).unlink()
        if replace:
            open_listener("wgt0", tmp_path).close()
        assert served.deleted.wait(10)
    finally:
        served.close()
    assert socket_path("wgt0", tmp_path).exists() == replace  # another's file is not removed


def test_pipelined_requests_are_all_answered_in_order(served: Served) -> None:
    answer = served.ask(b"set=1\nfwmark=5\n\nset=1\nbogus=1\n\nget=1\n\nwgpy=1\n\nfrob\n\nget=1\n\n")
    assert answer == (
        b'errno=0\n\nerrno=-22\n\nlisten_port=40000\nfwmark=5\nerrno=0\n\nstatus={"schema":1}\nerrno=0\n\n'
    )


def test_half_a_request_changes_nothing(served: Served) -> None:
    assert served.ask(b"set=1\nfwmark=5\n") == b""
    assert served.device.updates == []


def test_a_client_that_dawdles_does_not_hold_up_another(served: Served) -> None:
    with served.connect() as slow:
        slow.sendall(b"set=1\nfwm")
        assert served.ask(b"get=1\n\n") == b"listen_port=40000\nerrno=0\n\n"
        slow.sendall(b"ark=9\n\n")
        assert slow.recv(100) == b"errno=0\n\n"


def test_a_client_that_reads_nothing_is_not_buffered_without_end(served: Served) -> None:
    served.device.apply(DeviceUpdate(peers=tuple(PeerUpdate(PublicKey(os.urandom(32))) for _ in range(300))))
    with served.connect() as deaf:
        deaf.setblocking(False)
        sent = sum(iter(lambda: send_some(deaf), 0))
        assert sent < 32 << 20
        assert served.ask(b"set=1\n\n") == b"errno=0\n\n"


def test_the_longest_silent_client_makes_room(served: Served) -> None:
    clients = [served.connect() for _ in range(CLIENTS_MAX)]
    for client in clients:
        client.sendall(b"set=1\n\n")
        assert client.recv(100) == b"errno=0\n\n"
    clients[0].sendall(b"set=1\n\n")  # speaks again: the second is now the longest silent
    assert clients[0].recv(100) == b"errno=0\n\n"
    assert served.ask(b"set=1\n\n") == b"errno=0\n\n"
    assert clients[1].recv(100) == b""
    clients[0].sendall(b"set=1\n\n")
    assert clients[0].recv(100) == b"errno=0\n\n"
    for client in clients:
        client.close()


def test_the_devices_errno_is_answered(served: Served) -> None:
    served.device.busy_ports.add(53)
    assert served.ask(b"set=1\nlisten_port=53\n\n") == b"errno=-98\n\n"


def test_a_bug_of_the_device_is_answered_and_the_server_lives(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(update: DeviceUpdate) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(served.device, "apply", broken)
    assert served.ask(b"set=1\n\nget=1\n\n") == b"errno=-55\n\nlisten_port=40000\nerrno=0\n\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_another_user_is_not_heard() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        served = Served(directory)
        path = socket_path("wgt0", directory)
        path.chmod(0o777)
        code = f"import socket; s = socket.socket(1); s.connect({str(path)!r}); print(s.recv(9))"
        try:
            said = subprocess.run(
                ["/usr/bin/python3", "-c", code], user=65534, capture_output=True, check=False
            )
        finally:
            served.close()
    assert b"errno" not in said.stdout
    assert said.stdout == b"b''\n" or b"ConnectionReset" in said.stderr


@settings(deadline=None, max_examples=100)
@given(garbage=st.binary(max_size=2000))
def test_garbage_never_ends_the_server(long_served: Served, garbage: bytes) -> None:
    long_served.ask(garbage)
    long_served.ask(b"set=1\n" + garbage + b"\n\n")
    assert long_served.ask(b"get=1\n\n").endswith(b"errno=0\n\n")


# ---- the client


def test_the_client_reads_what_it_wrote(served: Served) -> None:
    peer = PeerUpdate(PublicKey(b"k" * 32), endpoint=SocketAddress(ip_address("fe80::1"), 5, scope_id=1))
    uapi_client.apply("wgt0", DeviceUpdate(fwmark=7, peers=(peer,)), served.directory)
    state = uapi_client.get("wgt0", served.directory)
    assert state.fwmark == 7
    assert state.peers[0].endpoint == peer.endpoint


def test_the_client_lists_what_answers_and_removes_what_is_stale(served: Served) -> None:
    open_listener("stale", served.directory).close()
    (served.directory / "file.sock").write_text("")
    assert uapi_client.interfaces(served.directory) == ["wgt0"]
    assert not (served.directory / "stale.sock").exists()
    assert (served.directory / "file.sock").exists()


@pytest.mark.parametrize("name", ["absent", "../etc", ""])
def test_an_interface_that_is_not_there_is_told(served: Served, name: str) -> None:
    with pytest.raises(uapi_client.NoSuchInterface):
        uapi_client.get(name, served.directory)


def test_a_refusal_carries_the_errno(served: Served) -> None:
    served.device.busy_ports.add(53)
    with pytest.raises(uapi_client.Refused, match="Address already in use"):
        uapi_client.apply("wgt0", DeviceUpdate(listen_port=53), served.directory)


def test_status_is_our_own_and_none_from_others(served: Served, tmp_path: Path) -> None:
    assert uapi_client.status("wgt0", served.directory) == {"schema": 1}
    for reply in (b"", b"errno=5\n\n"):
        with answering(tmp_path, lambda _, reply=reply: reply) as name:
            assert uapi_client.status(name, tmp_path) is None


@pytest.mark.parametrize("reply", [b"", b"\n\n", b"nonsense", b"public_key=1\nerrno=0\n\n", b"\xff" * 100])
def test_an_interface_that_talks_nonsense_is_told(tmp_path: Path, reply: bytes) -> None:
    with answering(tmp_path, lambda _: reply) as name, pytest.raises(uapi_client.ReplyError):
        uapi_client.get(name, tmp_path)


def send_some(client: socket.socket) -> int:
    try:
        return client.send(b"get=1\n\n" * 1000)
    except BlockingIOError:
        return 0


class answering:  # noqa: N801
    """A foreign implementation that answers one request."""

    def __init__(self, directory: Path, answer: Callable[[bytes], bytes]) -> None:
        self._listener = open_listener("foreign", directory)
        self._listener.setblocking(True)
        self._answer = answer
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.sendall(self._answer(connection.recv(1000)))

    def __enter__(self) -> str:
        self._thread.start()
        return "foreign"

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._listener.close()
