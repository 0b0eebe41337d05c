"""Builds wgpy._noise, the arithmetic of handshakes over libcrypto.

The declarations are cut out of csrc/noise.h between its two marker comments, so no second copy can drift.
WGPY_CFLAGS adds compiler flags.
"""

import os
import shlex
from pathlib import Path

from cffi import FFI

header = (Path(__file__).parent / "csrc" / "noise.h").read_text()
declarations = header.split("/* cdef-begin */", 1)[1].split("/* cdef-end */", 1)[0]
flags = shlex.split(os.environ.get("WGPY_CFLAGS", ""))

ffi = FFI()
ffi.cdef(declarations)
ffi.set_source(
    "wgpy._noise",
    '#include "noise.h"',
    sources=["wgpy/csrc/noise.c"],
    depends=["wgpy/csrc/noise.h"],
    include_dirs=["wgpy/csrc"],
    libraries=["crypto"],
    define_macros=[("_GNU_SOURCE", None)],
    extra_compile_args=["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-fvisibility=hidden", *flags],
    extra_link_args=flags,
    py_limited_api=True,
)
