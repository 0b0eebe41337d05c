"""The systemd unit, judged by systemd's own tools."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wgpy import seccomp

UNIT = Path(__file__).parents[2] / "packaging" / "wgpy@.service"

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


def analyze(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, check=False, timeout=60
    )


def test_unit_is_valid(tmp_path: Path) -> None:
    unit = tmp_path / "wgpy@.service"
    unit.write_text(UNIT.read_text().replace("/usr/bin/wgpy", sys.executable))
    verified = analyze("verify", str(tmp_path / "wgpy@wg0.service"))
    complaints = [line for line in verified.stderr.splitlines() if "wgpy@" in line]
    assert complaints == []
    assert verified.returncode == 0, verified.stderr


def test_unit_confines_what_it_runs() -> None:
    judged = analyze("security", "--offline=true", "--threshold=40", str(UNIT))
    assert judged.returncode == 0, judged.stdout


def in_group(group: str) -> set[str]:
    """The system calls of one of systemd's groups, those of the groups within it included."""
    lines = [line.strip() for line in analyze("syscall-filter", group).stdout.splitlines()[1:]]
    words = {line for line in lines if line and not line.startswith("#")}
    nested = [in_group(word) for word in words if word.startswith("@")]
    return words.union(*nested)


def settings(key: str) -> list[str]:
    """The words of every line of this key."""
    lines = UNIT.read_text().splitlines()
    return [word for line in lines if line.startswith(f"{key}=") for word in line.partition("=")[2].split()]


def test_unit_lets_the_device_process_shut_itself_in() -> None:
    words = settings("SystemCallFilter")
    allowed = {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"}
    allowed |= {
        "capset",
        "setresuid",
        "setresgid",
        "setgroups",
        "clone",
        "ioctl",
        "prctl",
        "socket",
        "execve",
    }
    missing = (allowed | set(seccomp.ALLOWED)) - set(words).union(
        in_group("@default"), *(in_group(word) for word in words if word.startswith("@"))
    )
    assert missing == set()


def test_unit_does_not_open_the_directory_of_journals_and_locks() -> None:
    assert "wgpy" not in settings("RuntimeDirectory")  # whoever may open it may hold its lock for ever
