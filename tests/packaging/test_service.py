"""The systemd unit, judged by systemd's own tools."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
