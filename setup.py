"""Builds the three C extensions; everything else is in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["tun/ffi_build.py:ffi", "rosenpass/ffi_build.py:ffi", "wgpy/ffi_build.py:ffi"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
