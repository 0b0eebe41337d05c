"""`wgpy genkey`, `genpsk`, `pubkey`: byte-compatible with `wg`."""

import os
import stat
import sys

import click

from wgpy.config_values import read_key
from wgpy.errors import ConfigError
from wgpy.model import KEY_LEN, PrivateKey, PublicKey
from wgpy.wg_format import key_text


def public_key(private_key: PrivateKey) -> PublicKey:
    """X25519 with the base point."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return PublicKey(X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw())


@click.command()
def genkey() -> None:
    """Print a new private key in base64."""
    key = bytearray(os.urandom(KEY_LEN))
    key[0] &= 248
    key[31] = key[31] & 127 | 64
    _print_secret(key)


@click.command()
def genpsk() -> None:
    """Print a new preshared key in base64."""
    _print_secret(os.urandom(KEY_LEN))


@click.command()
def pubkey() -> None:
    """Print the public key of the private key on standard input."""
    key = read_key(sys.stdin.buffer.read(1024).decode("ascii", "replace").strip())
    if key is None:
        raise ConfigError(
            "standard input is not a private key: 44 characters of base64, as `wgpy genkey` prints"
        )
    print(key_text(public_key(PrivateKey(key))))


def _print_secret(key: bytes | bytearray) -> None:
    _warn_of_exposed_output()
    print(key_text(bytes(key)))


def _warn_of_exposed_output() -> None:
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):
        return
    if stat.S_ISREG(mode) and mode & stat.S_IRWXO:
        print(
            "Warning: writing to world accessible file.\nConsider setting the umask to 077 and trying again.",
            file=sys.stderr,
        )
