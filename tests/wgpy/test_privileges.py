"""What a process that knows keys gives up at its start."""

import subprocess
import sys

import pytest

PR_GET_DUMPABLE = 3
ASK = f"; import ctypes; print(ctypes.CDLL(None).prctl({PR_GET_DUMPABLE}, 0, 0, 0, 0))"


def dumpable_after(statement: str) -> str:
    done = subprocess.run([sys.executable, "-c", statement + ASK], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "statement",
    [
        "from wgpy import privileges; privileges.keep_out_of_dumps()",
        "from wgpy import daemon; daemon.harden(keeps_privileges=False)",
        "from wgpy import cli; cli.run(['up', '/nonexistent/wg0.conf'])",
    ],
)
def test_who_knows_keys_is_in_no_core_dump(statement: str) -> None:
    assert dumpable_after("pass") == "1"
    assert dumpable_after(statement) == "0"
