"""The small edges of `up` and `down`: hooks, descriptors, files, facts."""

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from wgpy import uapi_client
from wgpy.errors import UsageError, WgpyError
from wgpy.model import DeviceState, PrivateKey
from wgpy.quick.descriptors import Descriptors, handed_in, tun_name
from wgpy.quick.down import interface_of
from wgpy.quick.handover import DONE, GO, Handover, arrangement
from wgpy.quick.host import write_in_place
from wgpy.quick.programs import clean_environment, run, run_hook
from wgpy.quick.reload import reload
from wgpy.quick.save import write_atomically
from wgpy.quick.survey import named_tables, record_prefix


def test_hook_knows_its_interface_and_keeps_its_hash(tmp_path: Path) -> None:
    run_hook(f"echo '%i # %i' $INTERFACE $CONFIG_FILE > {tmp_path}/out", "wg7", "/etc/wireguard/wg7.conf")
    assert (tmp_path / "out").read_text() == "wg7 # wg7 wg7 /etc/wireguard/wg7.conf\n"


@pytest.mark.parametrize("command", ["false", "false; true", "false | true", "exit 3", "kill $$", "[ a"])
def test_hook_that_fails_anywhere_fails(command: str) -> None:
    with pytest.raises(WgpyError, match="hook failed"):
        run_hook(command, "wg0", "wg0.conf")


def test_hook_is_bash_with_extended_patterns(tmp_path: Path) -> None:
    run_hook(f"x=(1 2); [[ aaa == +(a) ]]; cat <(echo ${{#x[@]}}) > {tmp_path}/out", "wg0", "wg0.conf")
    assert (tmp_path / "out").read_text() == "2\n"


def test_children_are_not_told_what_is_for_us_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"NOTIFY_SOCKET", "LISTEN_FDS", "WG_TUN_FD", "WGPY_SETUP_FD"}
    for name in ours:
        monkeypatch.setenv(name, "1")
    assert not clean_environment().keys() & ours


def test_hooks_of_a_detached_down_are_not_told_what_was_arranged_for_its_tunnel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arranged = arrangement("/etc/wireguard/wg0.conf", None, supervised=False, detached=True, reads=["/etc"])
    for name, value in arranged.items():
        monkeypatch.setenv(name, value)
    assert not clean_environment().keys() & arranged.keys()


def test_failing_program_is_told_in_its_own_first_line() -> None:
    with pytest.raises(WgpyError, match=r"exit 4: no such thing$"):
        run(["sh", "-c", "echo; echo no such thing >&2; echo more >&2; exit 4"])
    with pytest.raises(WgpyError, match="/does/not/exist: No such file"):
        run(["/does/not/exist"])


def test_program_that_leaves_another_behind_is_not_waited_for_longer(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    before = time.monotonic()
    try:
        run(["sh", "-c", f"(while [ ! -e {go_on} ]; do sleep 0.05; done) & exit 0"])
        with pytest.raises(WgpyError, match=r"exit 3: why$"):
            run(["sh", "-c", "(sleep 5) & echo why >&2; cat >&2; exit 3"], "more\n")
        assert time.monotonic() - before < 4
    finally:
        go_on.touch()


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Descriptors 3 and 4 cannot be had in a test: the numbers are the kernel's choice."""
    made = [
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    ]
    yield made
    for one in made:
        one.close()


def test_nothing_handed_in_is_nothing() -> None:
    assert handed_in({}, 1) == Descriptors()
    assert Descriptors().numbers == ()
    assert Descriptors().environment == {}


def test_named_descriptors_are_passed_on_under_their_numbers() -> None:
    with ExitStack() as files:
        tun, one, other, uapi = (files.enter_context(open(os.devnull)).fileno() for _ in range(4))
        given = {"WG_TUN_FD": f"{tun}", "WG_UDP_FD": f"{one},{other}", "WG_UAPI_FD": f"{uapi}"}
        descriptors = handed_in(given, 1)
    assert descriptors == Descriptors(tun, (one, other), uapi)
    assert descriptors.numbers == (tun, uapi, one, other)
    assert descriptors.environment == given


@pytest.mark.parametrize("variable", ["WG_TUN_FD", "WG_UDP_FD", "WG_UAPI_FD"])
def test_descriptor_that_is_not_open_is_refused_by_its_variable(variable: str) -> None:
    with pytest.raises(UsageError, match=f"^{variable}=9999999: Bad file descriptor"):
        handed_in({variable: "9999999"}, 1)


def test_number_of_activated_descriptors_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="LISTEN_FDS=many"):
        handed_in({"LISTEN_PID": "42", "LISTEN_FDS": "many"}, 42)


def test_empty_name_of_a_user_in_the_environment_is_none() -> None:
    assert Handover.take({"WGPY_USER": ""}) == Handover()


def test_activated_sockets_are_sorted_by_what_they_are(
    sockets: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = min(one.fileno() for one in sockets)
    if {one.fileno() for one in sockets} != {first, first + 1}:
        pytest.skip("the two descriptors are not neighbours here")
    monkeypatch.setattr("wgpy.quick.descriptors.LISTEN_FDS_START", first)
    given = {"LISTEN_PID": "42", "LISTEN_FDS": "2"}
    assert handed_in(given, 42) == Descriptors(None, (sockets[0].fileno(),), sockets[1].fileno())
    assert handed_in(given, 43) == Descriptors()


def test_activated_descriptor_of_no_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as wrong:
        monkeypatch.setattr("wgpy.quick.descriptors.LISTEN_FDS_START", wrong.fileno())
        with pytest.raises(UsageError, match="ListenDatagram"):
            handed_in({"LISTEN_PID": "42", "LISTEN_FDS": "1"}, 42)


@pytest.mark.parametrize("value", ["x", "-1", "3,", "1,2"])
def test_descriptor_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(UsageError):
        handed_in({"WG_TUN_FD": value}, 1)


def test_descriptor_that_is_no_tun_is_refused() -> None:
    with Path(os.devnull).open() as null, pytest.raises(UsageError, match="not an attached TUN"):
        tun_name(null.fileno())


@pytest.mark.parametrize(
    ("name", "interface"),
    [
        ("wg0", "wg0"),
        ("wg0.conf", "wg0"),
        ("/etc/wireguard/wg0.conf", "wg0"),
        ("./a=b.conf", "a=b"),
        ("dir/a.conf.conf", "a.conf"),
    ],
)
def test_name_or_path_means_an_interface(name: str, interface: str) -> None:
    assert interface_of(name) == interface


@pytest.mark.parametrize("name", ["", "/", "..", "../..", "a b", "/x/sixteen--letters.conf", "wg0/.conf"])
def test_what_means_no_interface_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        interface_of(name)


def test_file_is_saved_for_its_owner_alone_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "wg0.conf"
    path.write_text("old")
    path.chmod(0o644)
    write_atomically(path, "new\n")
    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_file_that_cannot_be_saved_stays_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(WgpyError, match="cannot be written"):
        write_atomically(tmp_path / "nowhere" / "wg0.conf", "new\n")


def test_what_a_killed_save_left_does_not_stop_the_next_of_that_number(tmp_path: Path) -> None:
    """In a container the next process has the same one."""
    path = tmp_path / "wg0.conf"
    path.with_name(f".wg0.conf.{os.getpid()}.new").write_text("half")
    write_atomically(path, "whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_resolv_conf_is_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("a much longer text than the one to come\n")
    inode = path.stat().st_ino
    write_in_place(path, "short\n")
    assert path.read_text() == "short\n"
    assert path.stat().st_ino == inode


def test_killed_while_writing_resolv_conf_nothing_old_is_behind_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# a long first line of the tunnel\nnameserver 10.0.0.53\n")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "ftruncate", killed)
    with pytest.raises(KeyboardInterrupt):
        write_in_place(path, "nameserver 9.9.9.9\n")
    assert path.read_text().split() == ["nameserver", "9.9.9.9"]


def test_names_of_tables_are_read_and_overridden(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("255\tlocal\n# 7 seven\n10 vpn\nx y\n0x20 hex\n1 2 3\n")
    two.write_text("11 vpn # better\n")
    (tmp_path / "two.d").mkdir()
    (tmp_path / "two.d" / "a.conf").write_text("12 more\n")
    names = named_tables((one, two, tmp_path / "absent"))
    assert names == {"default": 253, "main": 254, "local": 255, "vpn": 11, "hex": 32, "more": 12}


def test_resolvconf_order_gives_the_record_its_prefix(tmp_path: Path) -> None:
    order = tmp_path / "interface-order"
    assert record_prefix(order) == ""
    order.write_text("# comment\nlo.inet6\ntun*\ntap*\n")
    assert record_prefix(order) == "tun."


def test_device_process_learns_what_was_arranged() -> None:
    handover = Handover.take(
        arrangement("/etc/wireguard/wg0.conf", None, supervised=False, detached=True) | {"WGPY_SETUP_FD": "9"}
    )
    assert handover == Handover(9, None, "/etc/wireguard/wg0.conf", detached=True)
    assert Handover.take(arrangement("/x", "nobody", supervised=True, detached=False)) == Handover(
        None, "nobody", None
    )
    assert Handover.take({}) == Handover()


def test_device_process_waits_until_it_is_in_the_journal() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, GO + DONE)
    handover = Handover(setup_fd=read_end)
    handover.prepare()
    assert handover.may_begin()
    assert handover.read_setup()
    os.close(write_end)
    os.close(read_end)


@pytest.mark.parametrize(("written", "may_begin"), [(b"", False), (GO, True)])
def test_device_process_notices_that_up_died(written: bytes, may_begin: bool) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, written)
    os.close(write_end)
    handover = Handover(setup_fd=read_end)
    assert handover.may_begin() is may_begin
    assert handover.read_setup() is False
    os.close(read_end)


def test_reloaded_policies_stand_before_the_peers_they_are_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "wg7.conf"
    config.write_text(f"[Interface]\nPrivateKey = {'A' * 43}=\n[Peer]\nPublicKey = {'B' * 42}A=\n")
    asked: list[str] = []
    monkeypatch.setattr(uapi_client, "get", lambda _: DeviceState(PrivateKey(bytes(32)), 0, 0, ()))
    monkeypatch.setattr(uapi_client, "status", lambda _: {})
    monkeypatch.setattr(uapi_client, "apply", lambda *_: asked.append("peers"))
    monkeypatch.setattr(uapi_client, "configure_rosenpass", lambda *_: asked.append("policies"))
    reload(str(config))
    assert asked == ["policies", "peers"]


TWO_ORDERS_AND_THE_END = """
import os, sys, time
from wgpy.quick import attendant

def start(words, config):
    with open(config, "a") as log:
        log.write(words[0] + " ")
    time.sleep(0.3)  # the device process ends meanwhile

attendant._start = start
one = attendant.Attendant(sys.argv[1])
one.tell(attendant.LEAVE)
one.tell(attendant.LEAVE)
"""


def test_a_second_order_to_leave_does_not_outlive_the_device_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    read_end, write_end = os.pipe()
    subprocess.run(
        [sys.executable, "-c", TWO_ORDERS_AND_THE_END, log], check=True, timeout=20, stdout=write_end
    )
    os.close(write_end)
    assert os.read(read_end, 1) == b""  # the attendant has ended too
    os.close(read_end)
    assert log.read_text().split() == ["down"]
