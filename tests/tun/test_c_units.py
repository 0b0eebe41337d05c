"""Builds the C units with gcc and runs each of their test programs, vectors included."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1] / "c"
PROGRAMS = sorted(path.stem for path in HERE.glob("*_test.c"))


@pytest.fixture(scope="session")
def build() -> Path:
    command = ["make", "-s", "-j2", "-C", str(HERE), "all", "vectors", "CC=gcc", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return HERE / "build"


@pytest.mark.parametrize("program", PROGRAMS)
def test_c_program_passes(program: str, build: Path) -> None:
    environment = os.environ | {"WGPY_C_VECTORS": str(build / "vectors")}
    done = subprocess.run(
        [build / "plain" / program], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
