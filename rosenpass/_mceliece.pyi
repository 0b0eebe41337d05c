# ruff: noqa: ANN401 (cffi takes any buffer and any declared type)
"""Types of the calls declared in csrc/mceliece.h; only kem.py uses them."""

from typing import Any, Protocol

class _CData(Protocol):
    def __getitem__(self, index: int) -> Any: ...

class _Lib:
    MCELIECE_PUBLIC_KEY_LEN: int
    MCELIECE_SECRET_KEY_RUST_LEN: int
    MCELIECE_SECRET_KEY_GO_LEN: int
    MCELIECE_CIPHERTEXT_LEN: int
    MCELIECE_CIPHERTEXT_PC_LEN: int
    MCELIECE_SHARED_SECRET_LEN: int
    MCELIECE_ERROR_LEN: int
    MCELIECE_RANDOM_LEN: int

    def mceliece_key_new(self, key: _CData, secret_key: _CData | bytes, secret_key_len: int) -> int: ...
    def mceliece_key_free(self, key: _CData) -> None: ...
    def mceliece_error_from_random(self, error: _CData, random: _CData | bytes) -> None: ...
    def mceliece_encaps(
        self,
        ciphertext: _CData,
        ciphertext_len: int,
        shared_secret: _CData,
        public_key: _CData | bytes,
        error: _CData | bytes,
    ) -> int: ...
    def mceliece_decaps(
        self, shared_secret: _CData, key: _CData, ciphertext: _CData | bytes, ciphertext_len: int
    ) -> int: ...
    def mceliece_lanes(self) -> _CData: ...

class _FFI:
    def new(self, cdecl: str, init: Any = ...) -> _CData: ...
    def from_buffer(self, cdecl: str, buffer: Any, require_writable: bool = ...) -> _CData: ...
    def gc(self, cdata: _CData, destructor: Any, size: int = ...) -> _CData: ...
    def release(self, cdata: _CData) -> None: ...
    def memmove(self, dest: _CData, src: Any, n: int) -> None: ...
    def string(self, cdata: _CData) -> bytes: ...

ffi: _FFI
lib: _Lib
