"""Builds rosenpass._mceliece: encapsulation and decapsulation of Classic McEliece 460896."""

from cffi import FFI

ffi = FFI()
ffi.cdef("#define MCELIECE_ERROR_LEN 576")
ffi.set_source("rosenpass._mceliece", "#define MCELIECE_ERROR_LEN 576")
