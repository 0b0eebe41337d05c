"""Overwriting secrets, as far as Python can.

What it can: the bytes of a bytearray, at once and in place. What it cannot: copies the interpreter made on
the way (slices, concatenations, `bytes(...)`, the insides of hashlib and other libraries), swapped-out
pages, registers. So secrets live in bytearrays from birth, are sliced through memoryview, and never become
`str`, hex or `bytes` where a buffer will do.
"""


def wipe(*secrets: bytearray | None) -> None:
    """Overwrite each buffer with zeros; its length stays. None is skipped."""
    for secret in secrets:
        if secret is not None:
            secret[:] = bytes(len(secret))
