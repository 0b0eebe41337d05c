from pathlib import Path

import pytest

from wgpy.actions import InstallKeypair
from wgpy.daemon import options_from
from wgpy.errors import UsageError, WgpyError
from wgpy.key_log import KeyLog, key_log_from
from wgpy.model import Instant, PeerNumber, PskKind


def keypair() -> InstallKeypair:
    send, receive = bytearray(b"\1" * 32), bytearray(b"\2" * 32)
    return InstallKeypair(
        PeerNumber(0), send, receive, 0xA, 0xB0000000, Instant(7), True, PskKind.PQ, Instant(5)
    )


def test_no_key_is_logged_unless_asked() -> None:
    assert options_from({}).key_log is None


@pytest.mark.parametrize("consent", [{}, {"WGPY_KEY_LOG_DESTROYS_SECRECY": "1"}])
def test_the_log_is_refused_in_one_line_without_the_second_word(
    tmp_path: Path, consent: dict[str, str]
) -> None:
    path = tmp_path / "keys"
    with pytest.raises(UsageError, match="WGPY_KEY_LOG_DESTROYS_SECRECY=yes") as refusal:
        options_from({"WGPY_KEY_LOG": str(path), **consent})
    assert "\n" not in str(refusal.value)
    assert not path.exists()


def test_each_keypair_is_one_line_in_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.touch(0o644)
    log = key_log_from({"WGPY_KEY_LOG": str(path), "WGPY_KEY_LOG_DESTROYS_SECRECY": "yes"})
    assert log is not None
    log.installed(keypair())
    log.installed(keypair())
    log.close()
    lines = path.read_text().splitlines()
    assert lines == [f"7 0000000a b0000000 {'01' * 32} {'02' * 32} pq"] * 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_log_follows_no_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(WgpyError, match="WGPY_KEY_LOG"):
        KeyLog(str(tmp_path / "link"))
