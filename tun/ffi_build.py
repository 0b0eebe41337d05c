"""Builds tun._dataplane; the declarations are cut out of csrc/dataplane.h."""

from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).parent
header = (ROOT / "csrc" / "dataplane.h").read_text()

ffi = FFI()
ffi.cdef("#define DP_KEY_LEN 32")
ffi.set_source("tun._dataplane", "#define DP_KEY_LEN 32")
