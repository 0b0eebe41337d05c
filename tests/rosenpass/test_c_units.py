"""The C units of Classic McEliece: tests/c/mceliece, built and run as a test."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1] / "c" / "mceliece"


def test_the_units_hold_their_claims() -> None:
    if not shutil.which("gcc") or not shutil.which("make"):
        pytest.skip("no gcc or make")
    command = ["make", "-s", "-C", str(HERE), "run", "CC=gcc", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
