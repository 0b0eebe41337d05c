"""Builds tun._dataplane: the declarations are cut out of csrc/dataplane.h, every file there is compiled in.

Environment: WGPY_WITHOUT_IPSEC_MB=1 leaves Intel's library out where it is installed; WGPY_CFLAGS adds
compiler flags, for instance -fsanitize=address.
"""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from cffi import FFI

CSRC = Path(__file__).parent / "csrc"
IPSEC_MB_PROGRAM = """
#include <intel-ipsec-mb.h>
int main(void)
{
    IMB_MGR *manager = alloc_mb_mgr(0);
    init_mb_mgr_auto(manager, NULL);
    return IMB_AUTH_CHACHA20_POLY1305 == 0 || IMB_CIPHER_CHACHA20_POLY1305 == 0;
}
"""


def declarations() -> str:
    """Return what stands between the marker lines of dataplane.h, in the form cffi reads."""
    text = (CSRC / "dataplane.h").read_text()
    return text.split("/* cdef-begin */")[1].split("/* cdef-end */")[0]


def _compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "cc"))


def has_ipsec_mb() -> bool:
    """Return whether a program that uses ipsec-mb's ChaCha20-Poly1305 jobs compiles and links here."""
    if os.environ.get("WGPY_WITHOUT_IPSEC_MB"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.c"
        source.write_text(IPSEC_MB_PROGRAM)
        command = [*_compiler(), str(source), "-o", str(source.with_suffix("")), "-lIPSec_MB"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def make_ffi() -> FFI:
    """Return the builder setuptools runs."""
    builder = FFI()
    builder.cdef(declarations())
    ipsec_mb = has_ipsec_mb()
    builder.set_source(
        "tun._dataplane",
        '#include "dataplane.h"',
        sources=[os.path.relpath(path) for path in sorted(CSRC.glob("*.c"))],
        depends=[os.path.relpath(path) for path in sorted(CSRC.glob("*.h"))],
        include_dirs=[os.path.relpath(CSRC)],
        libraries=["crypto", *(["IPSec_MB"] if ipsec_mb else [])],
        define_macros=[("_GNU_SOURCE", None), *([("DP_WITH_IPSEC_MB", None)] if ipsec_mb else [])],
        extra_compile_args=[
            "-std=gnu11",
            "-O3",
            "-g",
            "-Wall",
            "-Wextra",
            "-fno-strict-aliasing",
            "-fvisibility=hidden",
            *shlex.split(os.environ.get("WGPY_CFLAGS", "")),
        ],
        extra_link_args=["-pthread", *shlex.split(os.environ.get("WGPY_CFLAGS", ""))],
        py_limited_api=True,
    )
    return builder


ffi = make_ffi()
