"""`wgpy rosenpass`: words, files, exit codes, one line per refusal."""

import base64
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wgpy.cli import run

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def wgpy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        code = run(["rosenpass", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    yield call
    logging.getLogger().handlers.clear()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("pair")
    assert run(["rosenpass", "gen-keys", "-d", str(home)]) == 0
    return home


def test_gen_keys_makes_a_pair_says_what_it_does_and_never_overwrites(wgpy: Run, tmp_path: Path) -> None:
    code, out, err = wgpy("gen-keys", "-p", "pk", "-s", "sk", "--format", "go")
    assert (code, out) == (0, "")
    assert "making a Classic McEliece" in err
    assert "fingerprint" in err
    assert ((tmp_path / "pk").stat().st_size, (tmp_path / "sk").stat().st_size) == (524160, 13608)
    assert (tmp_path / "sk").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "sk").read_bytes()
    code, _, err = wgpy("gen-keys", "-p", "pk", "-s", "other")
    assert code == 1
    assert err.startswith("wgpy: pk: exists already")
    assert (tmp_path / "sk").read_bytes() == before
    assert not (tmp_path / "other").exists()


def test_gen_keys_takes_the_paths_of_a_configuration(wgpy: Run, tmp_path: Path) -> None:
    assert wgpy("gen-config", "r.toml")[0] == 0
    assert wgpy("gen-config", "r.toml")[0] == 1
    assert wgpy("gen-keys", "r.toml")[0] == 0
    assert (tmp_path / "pqsk").exists()
    assert wgpy("keygen", "public-key", "a", "private-key", "b")[0] == 0
    assert (tmp_path / "b").stat().st_size == 13568


def test_gen_keys_needs_to_know_where_to(wgpy: Run) -> None:
    code, _, err = wgpy("gen-keys")
    assert code == 2
    assert "where to?" in err


def test_gen_psk_prints_or_writes_32_bytes(wgpy: Run, tmp_path: Path) -> None:
    _, out, _ = wgpy("gen-psk")
    assert len(base64.b64decode(out)) == 32
    assert wgpy("gen-psk", "psk")[0] == 0
    assert len(base64.b64decode((tmp_path / "psk").read_text())) == 32
    assert (tmp_path / "psk").stat().st_mode & 0o777 == 0o600
    assert wgpy("gen-psk", "psk")[0] == 1
    assert wgpy("gen-psk", "-f", "psk")[0] == 0


def test_fingerprint_is_the_same_on_both_ends_and_checkable_by_hand(wgpy: Run, pair: Path) -> None:
    import hashlib

    _, out, _ = wgpy("fingerprint", str(pair / "pqpk"))
    digest = hashlib.sha256((pair / "pqpk").read_bytes()).digest()[:20]
    assert out.replace("-", "").strip().upper() == base64.b32encode(digest).decode()
    _, out, _ = wgpy("fingerprint", "--peer-id", "V02", str(pair / "pqpk"))
    assert len(base64.b64decode(out)) == 32
    code, _, err = wgpy("fingerprint", str(pair / "pqsk"))
    assert code == 1
    assert "13568-byte secret key where a public key belongs" in err


def test_a_key_of_another_fingerprint_than_told_is_named(wgpy: Run, pair: Path) -> None:
    own = wgpy("fingerprint", str(pair / "pqpk"))[1].strip()
    as_heard = own.upper().replace("-", " ")
    assert wgpy("fingerprint", "--expect", as_heard, str(pair / "pqpk")) == (0, f"{own}\n", "")
    other = ("b" if own[0] == "a" else "a") + own[1:]
    for told in (other, own[:-1], ""):
        code, out, err = wgpy("fingerprint", "--expect", told, str(pair / "pqpk"))
        assert (code, out) == (1, "")
        assert err.startswith(f"wgpy: {pair}/pqpk: its fingerprint is {own}, not {told}: it is another key")
        assert len(err.splitlines()) == 1


def test_convert_key_goes_there_and_back(wgpy: Run, pair: Path, tmp_path: Path) -> None:
    assert wgpy("convert-key", str(pair / "pqsk"), "go", "--format", "go")[0] == 0
    assert (tmp_path / "go").stat().st_size == 13608
    assert wgpy("convert-key", "go", "rust", "--format", "rust")[0] == 0
    assert (tmp_path / "rust").read_bytes() == (pair / "pqsk").read_bytes()


def config(pair: Path, peer: str = "", own: str = "") -> str:
    own = own or f"{pair}/pqsk"
    return f'public_key = "{pair}/pqpk"\nsecret_key = "{own}"\nlisten = []\n{peer or "peers = []"}\n'


@pytest.mark.parametrize(
    ("peer", "own", "words"),
    [
        ("", "", "valid"),
        ("", "absent", "absent: cannot read the secret key"),
        ("", "{pair}/pqpk", "a 524160-byte public key where a secret key belongs"),
        ('[[peers]]\npublic_key = "{pair}/pqpk"', "", "r.toml:5: a peer needs key_out"),
        ('[[peers]]\npublic_key = "{pair}/pqpk"\nkey_out = "x"', "", "is the key of this end too"),
        ('[[peers]]\npublic_key = "{pair}/pqpk"\nkeyout = "x"', "", "r.toml:6: `keyout` is no key here"),
    ],
)
def test_validate_gives_its_verdict_on_standard_error(
    wgpy: Run, pair: Path, tmp_path: Path, peer: str, own: str, words: str
) -> None:
    text = config(pair, peer.replace("{pair}", str(pair)), own.replace("{pair}", str(pair)))
    (tmp_path / "r.toml").write_text(text)
    code, out, err = wgpy("validate", "r.toml")
    assert (code, out) == (0 if words == "valid" else 3, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_halves_of_two_pairs_are_not_valid(wgpy: Run, pair: Path, tmp_path: Path) -> None:
    (tmp_path / "stranger").write_bytes(os.urandom(524160))
    (tmp_path / "r.toml").write_text(config(pair).replace(f"{pair}/pqpk", "stranger"))
    for command in ("validate", "exchange-config"):
        code, out, err = wgpy(command, "r.toml")
        assert (code, out) == (3, "")
        assert f"stranger and {pair}/pqsk are no pair" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["exchange"], 2, "no words"),
        (["exchange", "public-key", "a"], 2, "secret-key"),
        (["exchange", "public-key", "a", "secret-key", "b"], 3, "a: cannot read the public key"),
        (["exchange-config", "absent.toml"], 3, "absent.toml: cannot read it"),
        (["-v", "-q", "fingerprint", "x"], 2, "exclude one another"),
        (["gen-keys", "-d", "/proc/none"], 1, "/proc/none"),
    ],
)
def test_refusals_are_one_line_with_their_code(wgpy: Run, words: list[str], code: int, said: str) -> None:
    got, out, err = wgpy(*words)
    assert (got, out) == (code, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_port_in_use_ends_with_one_line_and_1(wgpy: Run, pair: Path) -> None:
    import socket

    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("127.0.0.1", 0))
    at = f"127.0.0.1:{taken.getsockname()[1]}"
    code, _, err = wgpy("exchange", "public-key", f"{pair}/pqpk", "secret-key", f"{pair}/pqsk", "listen", at)
    taken.close()
    assert code == 1
    assert err == f"wgpy: cannot listen on {at}: the port is in use; stop the other program or take another\n"


def test_words_can_be_saved_as_a_file(wgpy: Run, pair: Path, tmp_path: Path) -> None:
    code, _, _ = wgpy(
        "exchange", "-c", "saved.toml", "public-key", "nope", "secret-key", "nope", "listen", "[::1]:1"
    )
    assert code == 3
    assert 'listen = ["[::1]:1"]' in (tmp_path / "saved.toml").read_text()
