"""Builds rosenpass._mceliece: encapsulation and decapsulation of Classic McEliece 460896.

The declarations are cut out of csrc/mceliece.h between its two cdef comments, so no second copy can drift.
"""

from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).parent
SOURCES = (
    *("lanes", "lanes_generic", "lanes_avx2", "lanes_avx512"),
    *("field", "support", "locator", "hash", "key", "encaps", "decaps"),
)

header = (ROOT / "csrc" / "mceliece.h").read_text()
declarations = header.split("/* cdef begin */", 1)[1].split("/* cdef end */", 1)[0]

ffi = FFI()
ffi.cdef(declarations)
ffi.set_source(
    "rosenpass._mceliece",
    '#include "mceliece.h"',
    sources=[f"rosenpass/csrc/{name}.c" for name in SOURCES],
    include_dirs=["rosenpass/csrc"],
    libraries=["crypto"],
    extra_compile_args=["-std=gnu11", "-O3", "-fno-strict-overflow"],
)
