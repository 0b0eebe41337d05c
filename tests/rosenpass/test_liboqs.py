"""How liboqs is reached: through liboqs-python where that finds a library, else directly, else not at all.

Each test asks a fresh interpreter, in which a stand-in for the package says what it does.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from rosenpass import liboqs

# What the package does when it is imported, as far as it concerns us.
STAND_IN = """
import ctypes, logging, os, sys, warnings
logger = logging.getLogger("oqs.oqs")
logger.setLevel(logging.INFO)
logger.addHandler(logging.StreamHandler(sys.stdout))
logger.info("imported")
warnings.warn("versions differ")
try:
    _library = ctypes.CDLL(os.environ["OQS_INSTALL_PATH"] + "/lib/liboqs.so")
except OSError:
    print("cloning and building")
    raise SystemExit(1)
def native():
    return _library
"""
LIBRARY = "".join(
    f"void *OQS_KEM_{name}(void) {{ return 0; }}" for name in ("new", "keypair", "encaps", "decaps")
)
SCRIPT = """
import logging, sys
from rosenpass import liboqs
found = liboqs.library()
logging.getLogger("oqs.oqs").info("said later")
print("oqs" in sys.modules, getattr(found, "_name", None))
if "oqs" in sys.modules:
    import oqs
    assert found is not oqs.native() and found._handle == oqs.native()._handle
    assert oqs.native().OQS_KEM_encaps.argtypes is None
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "oqs.py").write_text(STAND_IN)
    (tmp_path / "lib").mkdir()
    return tmp_path


def build_library(home: Path) -> Path:
    path = home / "lib" / "liboqs.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", path], input=LIBRARY.encode(), check=True
    )
    return path


def ask(home: Path, **environment: str) -> list[str]:
    root = Path(liboqs.__file__).parents[1]
    env = {name: text for name, text in os.environ.items() if name != liboqs.ENVIRONMENT}
    env |= {"PYTHONPATH": f"{home}:{root}", "OQS_INSTALL_PATH": str(home), **environment}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


def without_installed_liboqs() -> None:
    import ctypes.util

    if ctypes.util.find_library("oqs"):
        pytest.skip("liboqs is installed on this machine")


def test_the_package_is_not_imported_where_there_is_no_library_for_it(home: Path) -> None:
    """Importing it would clone and build one."""
    without_installed_liboqs()
    assert ask(home) == ["False", "None"]


def test_a_library_that_does_not_load_is_none(home: Path) -> None:
    without_installed_liboqs()
    (home / "lib" / "liboqs.so").write_text("no library")
    assert ask(home) == ["False", "None"]


def test_a_library_is_reached_through_the_package_which_stays_quiet(home: Path) -> None:
    without_installed_liboqs()
    path = build_library(home)
    assert ask(home) == ["True", str(path)]


def test_a_library_that_others_may_write_is_not_loaded_by_way_of_the_package(home: Path) -> None:
    without_installed_liboqs()
    build_library(home).chmod(0o666)
    assert ask(home) == ["False", "None"]


def test_a_package_that_fails_leaves_the_library_itself(home: Path) -> None:
    without_installed_liboqs()
    path = build_library(home)
    (home / "oqs.py").write_text("raise SystemExit('no')")
    assert ask(home) == ["False", str(path)]


def test_a_library_that_was_named_is_loaded_directly_and_none_on_request(home: Path) -> None:
    path = build_library(home)
    assert ask(home, WGPY_LIBOQS=str(path)) == ["False", str(path)]
    assert ask(home, WGPY_LIBOQS="") == ["False", "None"]


@pytest.mark.skipif(find_spec("oqs") is None, reason="needs liboqs-python")
def test_the_real_package_and_ours_open_each_others_ciphertexts() -> None:
    lengths = liboqs.Lengths(800, 1632, 768, 32)
    kem = liboqs.find("Kyber512", lengths)
    if kem is None or "oqs" not in sys.modules:
        pytest.skip("no liboqs that liboqs-python finds")
    import oqs

    public, secret = kem.keypair()
    with oqs.KeyEncapsulation("Kyber512", bytes(secret)) as theirs:
        ciphertext, shared = theirs.encap_secret(public)
        assert kem.decaps(secret, ciphertext) == shared
        ciphertext, ours = kem.encaps(public)
        assert theirs.decap_secret(ciphertext) == ours
