"""The journal of `up`, in a directory of the test's."""

import errno
import os
import stat
from pathlib import Path

import pytest

from wgpy.errors import PermissionMissing, WgpyError
from wgpy.quick.journal import Head, Journal, Process, Recorder, journal_path, others
from wgpy.quick.locks import interface_lock, shared_lock
from wgpy.quick.steps import AddRoute, CreateDevice, SetSysctl, WriteResolvConf

HEAD = Head("wg0", "/etc/wireguard/wg0.conf", 7, pre_down=("a # b",), post_down=("c",), save_config=True)
STEPS = (CreateDevice("wg0"), AddRoute("wg0", "10.0.0.0/8"), SetSysctl("a/b", "1", "0"))


def recorded(directory: Path, head: Head = HEAD) -> Recorder:
    recorder = Recorder(journal_path(head.interface, directory), head)
    for step in STEPS:
        recorder.step(step)
    return recorder


def test_what_was_recorded_is_read(tmp_path: Path) -> None:
    recorder = recorded(tmp_path)
    recorder.daemon(Process(12, 34))
    journal = Journal.read(recorder.path)
    assert journal == Journal(recorder.path, HEAD, STEPS, Process(12, 34), hooks_ran=False)
    recorder.hooks()
    assert Journal.read(recorder.path) == Journal(recorder.path, HEAD, STEPS, Process(12, 34), hooks_ran=True)


def test_journal_whose_first_line_a_full_disk_cut_short_stops_no_later_one(tmp_path: Path) -> None:
    path = journal_path("wg0", tmp_path)
    for left in ("", '{"schema": 1'):
        path.write_text(left)
        assert recorded(tmp_path).path.read_text().count("\n") == 1 + len(STEPS)
    with pytest.raises(FileExistsError):
        Recorder(path, HEAD)


def test_journal_is_for_root_alone(tmp_path: Path) -> None:
    assert stat.S_IMODE(recorded(tmp_path).path.stat().st_mode) == 0o600


def test_line_cut_short_was_never_done(tmp_path: Path) -> None:
    path = recorded(tmp_path).path
    text = path.read_text()
    last = text.splitlines(keepends=True)[-1]
    for cut in range(1, len(last) + 1):
        path.write_text(text[: len(text) - cut])
        journal = Journal.read(path)
        assert journal is not None
        assert journal.steps == STEPS[:-1]


@pytest.mark.parametrize("room", [0, 5])
def test_full_disk_is_told_with_its_place_and_costs_only_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    recorder, write = recorded(tmp_path), os.write

    def full(descriptor: int, data: bytes) -> int:
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:room])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(WgpyError, match=r"wg0\.journal cannot be written: No space left on device"):
        recorder.step(CreateDevice("wg1"))
    monkeypatch.undo()
    journal = Journal.read(recorder.path)
    assert journal is not None
    assert journal.steps == STEPS


def test_head_cut_short_is_no_journal(tmp_path: Path) -> None:
    path = journal_path("wg0", tmp_path)
    for text in ("", '{"schema": 1, "inter'):
        path.write_text(text)
        assert Journal.read(path) is None


@pytest.mark.parametrize("text", ["[]\n", "{}\n", "nonsense\n", '{"schema": 99}\n', '{"schema": 1}\n', "7\n"])
def test_foreign_file_is_refused_in_words(tmp_path: Path, text: str) -> None:
    path = journal_path("wg0", tmp_path)
    path.write_text(text)
    with pytest.raises(WgpyError, match="not a journal"):
        Journal.read(path)


def test_unknown_step_is_refused_in_words(tmp_path: Path) -> None:
    path = recorded(tmp_path).path
    with path.open("a") as file:
        file.write('{"do": "Explode"}\n')
    with pytest.raises(WgpyError, match="another version"):
        Journal.read(path)


def test_second_up_does_not_overwrite_a_journal(tmp_path: Path) -> None:
    recorded(tmp_path)
    with pytest.raises(FileExistsError):
        recorded(tmp_path)


def test_step_is_exchanged_on_disk_and_nothing_else(tmp_path: Path) -> None:
    recorder = recorded(tmp_path)
    recorder.daemon(Process(12, 34))
    recorder.link(7)
    recorder.hooks()
    journal = Journal.read(recorder.path)
    assert journal is not None
    changed = journal.with_step(STEPS[2], SetSysctl("a/b", "1", "2"))
    assert changed.steps == (*STEPS[:2], SetSysctl("a/b", "1", "2"))
    assert Journal.read(recorder.path) == changed
    assert stat.S_IMODE(recorder.path.stat().st_mode) == 0o600


def test_others_are_all_but_our_own_and_the_unreadable(tmp_path: Path) -> None:
    recorded(tmp_path)
    recorded(tmp_path, Head("wg1", "/wg1.conf", 7))
    journal_path("wg2", tmp_path).write_text("nonsense\n")
    assert [journal.head.interface for journal in others("wg0", tmp_path)] == ["wg1"]


def test_text_with_newlines_and_odd_bytes_survives(tmp_path: Path) -> None:
    step = WriteResolvConf("/etc/resolv.conf", "a\nb\n", "nameserver 1.1.1.1\n\udcff\n")
    recorder = recorded(tmp_path)
    recorder.step(step)
    journal = Journal.read(recorder.path)
    assert journal is not None
    assert journal.steps[-1] == step


def test_interface_is_locked_once_and_leaves_no_file(tmp_path: Path) -> None:
    with interface_lock("wg0", 0, tmp_path):
        with pytest.raises(WgpyError, match="another process"), interface_lock("wg0", 0.05, tmp_path):
            pass
        with interface_lock("wg1", 0, tmp_path), shared_lock(tmp_path):
            pass
    assert not list(tmp_path.iterdir())
    with interface_lock("wg0", 0, tmp_path):
        pass


def test_directory_that_others_could_open_and_lock_is_closed_to_them(tmp_path: Path) -> None:
    directory = tmp_path / "wgpy"
    directory.mkdir(mode=0o755)
    with shared_lock(directory):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_who_may_not_look_into_the_directory_is_told_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "is_dir", refused)
    with pytest.raises(PermissionMissing, match="need root"), interface_lock("wg0", 0, tmp_path):
        pass
