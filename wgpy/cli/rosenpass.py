"""`wgpy rosenpass ...`: the Rosenpass exchange on its own, in the words of the Rust tool.

Logs and verdicts go to standard error; standard output carries `output-key` lines and nothing else.
"""

import asyncio
import base64
import logging
import os
import resource
import sys
from pathlib import Path

import click

from rosenpass.constants import SUITES
from rosenpass.erasure import wipe
from rosenpass.errors import ConfigError, RosenpassError
from rosenpass.fingerprint import fingerprint as fingerprint_of
from rosenpass.fingerprint import is_fingerprint_of
from rosenpass.identity import KeyHashes
from rosenpass.kem import StaticKem
from rosenpass.keyfile import (
    SecretKeyFormat,
    load_public_key,
    load_secret_key,
    save_key_pair,
    save_psk,
    save_secret_key,
)
from rosenpass.standalone import config as configuration
from rosenpass.standalone.exchange import check, serve
from wgpy.privileges import keep_out_of_dumps

FILE = click.Path(path_type=Path)
LEVELS = ("error", "warn", "info", "debug", "trace", "off")
KEY_FORMAT = click.option(
    "--format",
    "layout",
    type=click.Choice([layout.value for layout in SecretKeyFormat]),
    default=SecretKeyFormat.RUST.value,
    show_default=True,
    help="Layout of the secret key: of the Rust releases, or of go-rosenpass.",
)

EXAMPLE = """\
# This end's key pair; `wgpy rosenpass gen-keys {path}` makes it.
public_key = "pqpk"
secret_key = "pqsk"

# Where to listen; an empty list takes a free port on every address.
listen = ["0.0.0.0:9999", "[::]:9999"]
verbosity = "Quiet"

[[peers]]
public_key = "peer.pqpk"
# Leave the endpoint out to wait for the peer.
endpoint = "peer.example.org:9999"
# A secret of both ends, mixed into every key: `wgpy rosenpass gen-psk peer.psk`. Use one.
pre_shared_key = "peer.psk"
# Where the keys go: into a file, ...
key_out = "peer.osk"
# ... into WireGuard, or both.
# device = "wg0"
# peer = "<the peer's WireGuard public key>"
# "V02" speaks with every release and with go-rosenpass; "V03" is SHAKE256.
# protocol_version = "V02"
"""


@click.group()
@click.option("--log-level", type=click.Choice(LEVELS, case_sensitive=False), help="What to log.")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens (info).")
@click.option("-q", "--quiet", is_flag=True, help="Log warnings and errors only.")
def rosenpass(log_level: str | None, verbose: bool, quiet: bool) -> None:
    """The Rosenpass key exchange on its own, in the words of the `rosenpass` tool."""
    if (log_level is not None) + verbose + quiet > 1:
        raise click.UsageError("--log-level, --verbose and --quiet exclude one another")
    level = log_level or ("info" if verbose else "warn" if quiet else os.environ.get("RUST_LOG", ""))
    _log_at(level.lower() if level.lower() in LEVELS else "warn")


@rosenpass.command("gen-keys")
@click.argument("config_file", type=FILE, required=False)
@click.option("-p", "--public-key", "public", type=FILE, help="Where the public key goes.")
@click.option("-s", "--secret-key", "secret", type=FILE, help="Where the secret key goes.")
@click.option(
    "-d", "--directory", type=FILE, help="Write DIRECTORY/pqpk and DIRECTORY/pqsk, as `wgpy up` finds them."
)
@click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")
@KEY_FORMAT
def gen_keys(
    config_file: Path | None,
    public: Path | None,
    secret: Path | None,
    directory: Path | None,
    force: bool,
    layout: str,
) -> None:
    """Make a key pair, at the paths of CONFIG_FILE or of the options."""
    public, secret = _key_paths(config_file, public, secret, directory)
    for path in (public, secret):
        if not force and os.path.lexists(path):
            raise RosenpassError(f"{path}: exists already; choose another name, or overwrite it with --force")
    if directory is not None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    click.echo("making a Classic McEliece 460896 key pair, up to a few seconds ...", err=True)
    public_key, secret_key = StaticKem(188, os.urandom).keypair()
    try:
        save_key_pair(public, secret, public_key, secret_key, layout=SecretKeyFormat(layout), force=force)
    finally:
        wipe(secret_key)
    click.echo(
        f"public key {public}\nsecret key {secret}\nfingerprint {fingerprint_of(public_key)}", err=True
    )


@rosenpass.command(hidden=True, deprecated=True)
@click.argument("words", nargs=4)
@click.option("-f", "--force", is_flag=True)
@click.pass_context
def keygen(context: click.Context, words: tuple[str, ...], force: bool) -> None:
    """Old spelling: public-key PATH secret-key PATH."""
    found = dict(zip(words[::2], words[1::2], strict=True))
    if set(found) not in ({"public-key", "secret-key"}, {"public-key", "private-key"}):
        raise click.UsageError("the words are public-key PATH secret-key PATH")
    secret = found.get("secret-key") or found["private-key"]
    context.invoke(
        gen_keys, public=Path(found["public-key"]), secret=Path(secret), force=force, layout="rust"
    )


@rosenpass.command("gen-psk")
@click.argument("path", type=FILE, required=False)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing file.")
def gen_psk(path: Path | None, force: bool) -> None:
    """Make a preshared key for a pair of peers, in the file PATH or on standard output."""
    psk = bytearray(os.urandom(32))
    if path is not None:
        save_psk(path, psk, force=force)
    else:
        click.echo(base64.b64encode(psk).decode())
    wipe(psk)


@rosenpass.command("convert-key")
@click.argument("secret_key", type=FILE)
@click.argument("target", type=FILE)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing file.")
@KEY_FORMAT
def convert_key(secret_key: Path, target: Path, force: bool, layout: str) -> None:
    """Write SECRET_KEY to TARGET in another layout; it stays the same key."""
    data = load_secret_key(secret_key)
    try:
        save_secret_key(target, data, layout=SecretKeyFormat(layout), force=force)
    finally:
        wipe(data)


@rosenpass.command("gen-config")
@click.argument("config_file", type=FILE)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing file.")
def gen_config(config_file: Path, force: bool) -> None:
    """Write a commented example."""
    _write_config(config_file, EXAMPLE.format(path=config_file), force)


@rosenpass.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-c", "--config-file", type=FILE, help="Save what these words mean as a configuration file.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def exchange(config_file: Path | None, words: tuple[str, ...]) -> None:
    """Exchange keys with the peers that WORDS name, until stopped.

    public-key PATH secret-key PATH [listen ADDR:PORT]... [verbose]
    peer public-key PATH [endpoint HOST:PORT] [preshared-key PATH] [outfile PATH]
    [wireguard DEV PEER [WORDS FOR WG]...] [peer ...]
    """
    if not words:
        raise click.UsageError("no words; see `wgpy rosenpass exchange --help`")
    try:
        config = configuration.from_words(words)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    if config_file is not None:
        _write_config(config_file, configuration.to_toml(config), force=True)
    _exchange(config)


@rosenpass.command("exchange-config")
@click.argument("config_file", type=FILE)
def exchange_config(config_file: Path) -> None:
    """Exchange keys as CONFIG_FILE says, until stopped."""
    _exchange(configuration.load(config_file))


@rosenpass.command()
@click.argument("config_files", type=FILE, nargs=-1, required=True)
def validate(config_files: tuple[Path, ...]) -> int:
    """Check configuration files and the keys they name; the verdict is on standard error."""
    worst = 0
    for path in config_files:
        try:
            check(configuration.load(path))
        except RosenpassError as error:
            click.echo(str(error) if str(path) in str(error) else f"{path}: {error}", err=True)
            worst = ConfigError.exit_code
        else:
            click.echo(f"{path}: valid", err=True)
    return worst


@rosenpass.command()
@click.argument("public_keys", type=FILE, nargs=-1, required=True)
@click.option(
    "--peer-id", type=click.Choice(list(SUITES)), help="Print the peer id under this protocol version."
)
@click.option("--expect", help="The fingerprint the other end told; a key with another one is refused.")
def fingerprint(public_keys: tuple[Path, ...], peer_id: str | None, expect: str | None) -> None:
    """Print the fingerprint of each public key, to compare by voice with the other end."""
    for path in public_keys:
        spk = load_public_key(path)
        if expect is not None and not is_fingerprint_of(spk, expect):
            raise RosenpassError(
                f"{path}: its fingerprint is {fingerprint_of(spk)}, not {expect}: it is another key than you"
                " were told of; get the file anew and compare again"
            )
        if peer_id is None:
            name = fingerprint_of(spk)
        else:
            name = base64.b64encode(KeyHashes(spk, SUITES[peer_id].hash).peer_id).decode()
        click.echo(f"{name}  {path}" if len(public_keys) > 1 else name)


def _exchange(config: configuration.ExchangeConfig) -> None:
    if os.geteuid() == 0:  # anybody else would lose /dev/stdin, /dev/stdout and <(...) by it
        keep_out_of_dumps()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if config.verbose:
        _log_at("info")
    check(config)
    asyncio.run(serve(config))


def _key_paths(
    config_file: Path | None, public: Path | None, secret: Path | None, directory: Path | None
) -> tuple[Path, Path]:
    if directory is not None:
        public, secret = public or directory / "pqpk", secret or directory / "pqsk"
    elif config_file is not None:
        config = configuration.load(config_file)
        public, secret = public or config.public_key, secret or config.secret_key
    if public is None or secret is None:
        raise click.UsageError("where to? Give -p and -s, -d, or a configuration file that names both")
    return public, secret


def _write_config(path: Path, text: str, force: bool) -> None:
    try:
        with open(path, "w" if force else "x") as file:
            file.write(text)
    except FileExistsError:
        raise RosenpassError(f"{path}: exists already; overwrite it with --force") from None


def _log_at(level: str) -> None:
    numbers = {"trace": 5, "debug": 10, "info": 20, "warn": 30, "error": 40, "off": 60}
    logging.basicConfig(
        stream=sys.stderr, format="%(levelname)s %(message)s", level=numbers[level], force=True
    )
