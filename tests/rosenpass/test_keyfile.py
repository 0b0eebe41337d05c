"""Key files: what is read, what is refused and in which words, and what is written."""

import base64
import hashlib
import logging
import os
import stat
import threading
from pathlib import Path

import pytest
from support.vectors import own, shared

from rosenpass.errors import KeyFileError
from rosenpass.key_out import write_key_out
from rosenpass.keyfile import (
    SecretKeyFormat,
    convert_secret_key,
    load_psk,
    load_public_key,
    load_secret_key,
    save_key_pair,
    save_psk,
    save_secret_key,
)

PSK = bytes(range(32))
PSK_TEXT = base64.b64encode(PSK)
PUBLIC_KEY = bytes(524160)


@pytest.fixture(scope="session")
def rust_key() -> bytes:
    return bytes.fromhex(own("rosenpass_kem.json")["mceliece460896"]["secret_key_13568"])


def written(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Reading


def test_what_was_saved_loads(tmp_path: Path, rust_key: bytes) -> None:
    save_key_pair(tmp_path / "pk", tmp_path / "sk", PUBLIC_KEY, rust_key)
    save_psk(tmp_path / "psk", PSK)
    assert load_public_key(tmp_path / "pk") == PUBLIC_KEY
    assert load_secret_key(tmp_path / "sk") == rust_key
    assert load_psk(tmp_path / "psk") == PSK


@pytest.mark.parametrize(
    ("content", "looks_like"),
    [
        (b"", "an empty file"),
        (PUBLIC_KEY, "a 524160-byte public key"),
        (PUBLIC_KEY + b"x", "a file of more than 524160 bytes"),
        (PSK_TEXT + b"\n", "a base64 key of 32 bytes"),
        (PSK, "a file of 32 bytes"),
        (bytes(13567), "a file of 13567 bytes"),
    ],
)
def test_a_secret_key_of_a_wrong_size_is_named_as_what_it_looks_like(
    tmp_path: Path, content: bytes, looks_like: str
) -> None:
    path = written(tmp_path / "sk", content)
    with pytest.raises(KeyFileError) as caught:
        load_secret_key(path)
    assert str(caught.value) == f"{path}: {looks_like} where a secret key belongs"


@pytest.mark.parametrize("length", [13568, 13608])
def test_a_secret_key_where_a_public_key_belongs_is_named(tmp_path: Path, length: int) -> None:
    with pytest.raises(KeyFileError, match=f"a {length}-byte secret key where a public key belongs"):
        load_public_key(written(tmp_path / "pk", bytes(length)))


def test_a_damaged_secret_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="damaged"):
        load_secret_key(written(tmp_path / "sk", bytes(13568)))


@pytest.mark.parametrize("text", [PSK_TEXT, PSK_TEXT + b"\n", b"  " + PSK_TEXT + b"\r\n"])
def test_a_preshared_key_may_have_blanks_around_it(tmp_path: Path, text: bytes) -> None:
    assert load_psk(written(tmp_path / "psk", text)) == PSK


@pytest.mark.parametrize("text", [b"", PSK, PSK_TEXT[:-4], PSK_TEXT + PSK_TEXT, b"*" * 44, bytes(524161)])
def test_anything_else_is_no_preshared_key(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(KeyFileError, match="where a preshared key belongs"):
        load_psk(written(tmp_path / "psk", text))


def test_a_missing_file_is_one_line_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="nowhere: cannot read the public key: No such file"):
        load_public_key(tmp_path / "nowhere")


def test_a_directory_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="Is a directory"):
        load_secret_key(tmp_path)


def test_a_preshared_key_may_come_through_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(PSK_TEXT,))
    writer.start()
    assert load_psk(tmp_path / "fifo") == PSK
    writer.join()


def test_a_secret_that_others_may_read_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_psk(written(tmp_path / "fine", PSK_TEXT))
        assert caplog.text == ""
        load_psk(written(tmp_path / "open", PSK_TEXT, mode=0o644))
    assert "chmod 600" in caplog.text
    assert PSK_TEXT.decode() not in caplog.text


# Layouts


def test_layouts_convert_both_ways(rust_key: bytes) -> None:
    go = convert_secret_key(rust_key, SecretKeyFormat.GO)
    assert len(go) == 13608
    assert go[:40] == bytes(32) + b"\xff\xff\xff\xff\0\0\0\0"
    assert convert_secret_key(go, SecretKeyFormat.RUST) == rust_key
    assert convert_secret_key(go, SecretKeyFormat.GO) == go
    assert convert_secret_key(rust_key, SecretKeyFormat.RUST) == rust_key


def test_a_go_key_stays_as_it_was_including_its_seed(rust_key: bytes) -> None:
    go = b"\x55" * 32 + bytes(convert_secret_key(rust_key, SecretKeyFormat.GO))[32:]
    assert convert_secret_key(go, SecretKeyFormat.GO) == go


def test_shared_key_converts_to_the_shared_digests() -> None:
    v = shared("rosenpass/primitives.json")["mceliece460896"]
    entry = shared("rosenpass/upstream_crypto_server_1.json")["entries"]["responder_static_sk"]
    go = bytes.fromhex(entry["hex"])
    assert hashlib.sha256(go).hexdigest() == v["sk13608_sha256"]
    rust = convert_secret_key(go, SecretKeyFormat.RUST)
    assert hashlib.sha256(rust).hexdigest() == v["sk13568_sha256"]


@pytest.mark.parametrize(("layout", "length"), [(SecretKeyFormat.RUST, 13568), (SecretKeyFormat.GO, 13608)])
def test_the_layout_asked_for_is_written_and_loads(
    tmp_path: Path, rust_key: bytes, layout: SecretKeyFormat, length: int
) -> None:
    save_secret_key(tmp_path / "sk", rust_key, layout=layout)
    assert (tmp_path / "sk").stat().st_size == length
    assert convert_secret_key(load_secret_key(tmp_path / "sk"), SecretKeyFormat.RUST) == rust_key


# Writing


def test_secrets_are_born_0600_and_public_keys_0644(tmp_path: Path, rust_key: bytes) -> None:
    old = os.umask(0)
    try:
        save_key_pair(tmp_path / "pk", tmp_path / "sk", PUBLIC_KEY, rust_key)
        save_psk(tmp_path / "psk", PSK)
        write_key_out(tmp_path / "out", PSK)
    finally:
        os.umask(old)
    assert [mode_of(tmp_path / name) for name in ("pk", "sk", "psk", "out")] == [0o644, 0o600, 0o600, 0o600]


@pytest.mark.parametrize("taken", ["pk", "sk"])
def test_a_pair_is_not_written_over_either_file(tmp_path: Path, rust_key: bytes, taken: str) -> None:
    written(tmp_path / taken, b"mine")
    with pytest.raises(KeyFileError, match=f"{taken}: exists already.*--force"):
        save_key_pair(tmp_path / "pk", tmp_path / "sk", PUBLIC_KEY, rust_key)
    assert os.listdir(tmp_path) == [taken]
    assert (tmp_path / taken).read_bytes() == b"mine"


def test_a_pair_is_written_whole_or_not_at_all(tmp_path: Path, rust_key: bytes) -> None:
    with pytest.raises(KeyFileError, match="No such file or directory"):
        save_key_pair(tmp_path / "missing" / "pk", tmp_path / "sk", PUBLIC_KEY, rust_key)
    assert os.listdir(tmp_path) == []


def test_force_overwrites_and_closes_the_mode(tmp_path: Path, rust_key: bytes) -> None:
    written(tmp_path / "sk", b"old", mode=0o666)
    save_secret_key(tmp_path / "sk", rust_key, force=True)
    assert (mode_of(tmp_path / "sk"), load_secret_key(tmp_path / "sk")) == (0o600, bytearray(rust_key))
    assert os.listdir(tmp_path) == ["sk"]


def test_force_never_replaces_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("fifo", "link"):
        with pytest.raises(KeyFileError, match="not a regular file"):
            save_psk(tmp_path / name, PSK, force=True)


# key_out


def test_key_out_is_44_characters_without_newline(tmp_path: Path) -> None:
    write_key_out(tmp_path / "out", PSK)
    assert (tmp_path / "out").read_bytes() == PSK_TEXT
    assert len(PSK_TEXT) == 44


def test_key_out_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    path = written(tmp_path / "out", b"old", mode=0o640)
    with path.open("rb") as reader:
        write_key_out(path, PSK)
        assert reader.read() == b"old"
    assert (path.read_bytes(), mode_of(path)) == (PSK_TEXT, 0o640)
    assert os.listdir(tmp_path) == ["out"]


def test_key_out_through_a_link_reaches_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(written(tmp_path / "target", b"x" * 100))
    write_key_out(tmp_path / "link", PSK)
    assert (tmp_path / "target").read_bytes() == PSK_TEXT
    assert (tmp_path / "link").is_symlink()


def test_key_out_into_a_fifo_reaches_its_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_key_out(tmp_path / "fifo", PSK)
        assert os.read(reader, 100) == PSK_TEXT
    finally:
        os.close(reader)


def test_a_fifo_nobody_reads_is_an_error_and_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(KeyFileError, match="fifo: cannot write the output key"):
        write_key_out(tmp_path / "fifo", PSK)


def test_a_device_is_written_and_not_replaced() -> None:
    write_key_out(Path("/dev/null"), PSK)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_key_out_in_a_missing_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot write the output key: No such file or directory"):
        write_key_out(tmp_path / "missing" / "out", PSK)
