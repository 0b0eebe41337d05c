# ruff: noqa: ANN401 (cffi takes any buffer and any declared type)
"""Types of the calls declared in csrc/noise.h; only noise_native.py uses them."""

from typing import Any

class _Lib:
    def noise_new(self) -> Any: ...
    def noise_free(self, noise: Any) -> None: ...
    def noise_public_key(self, noise: Any, pair: Any) -> int: ...
    def noise_create_initiation(
        self,
        noise: Any,
        static_public: bytes,
        remote_static: bytes,
        shared: bytes,
        ephemeral: Any,
        timestamp: bytes,
        state: Any,
        message: Any,
    ) -> int: ...
    def noise_open_initiation(
        self, noise: Any, identity: Any, message: Any, state: Any, remote_static: Any
    ) -> int: ...
    def noise_consume_initiation(
        self, noise: Any, shared: bytes, message: Any, state: Any, timestamp: Any
    ) -> int: ...
    def noise_create_response(
        self,
        noise: Any,
        state: Any,
        remote_ephemeral: bytes,
        remote_static: bytes,
        ephemeral: Any,
        preshared_key: Any,
        message: Any,
        keys: Any,
    ) -> int: ...
    def noise_consume_response(
        self,
        noise: Any,
        identity: Any,
        state: Any,
        ephemeral: Any,
        message: Any,
        preshared_keys: Any,
        count: int,
        keys: Any,
    ) -> int: ...

class _Ffi:
    NULL: Any
    def new(self, cdecl: str, init: object = ...) -> Any: ...
    def gc(self, cdata: Any, destructor: object) -> Any: ...
    def buffer(self, cdata: Any, size: int = ...) -> Any: ...
    def from_buffer(self, cdecl: str, value: object) -> Any: ...

lib: _Lib
ffi: _Ffi
