"""wgpy.cli: how the command line behaves, whatever the command."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import wgpy.cli
from wgpy.cli import COMMANDS, run
from wgpy.distribution import check_one_distribution
from wgpy.errors import ConfigError, PermissionMissing, PolicyNotMet, UsageError, WgpyError

WGPY = (sys.executable, "-m", "wgpy")
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def wgpy_(*words: str, text: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WGPY, *words], input=text, capture_output=True, text=True, env={**os.environ, **env}, check=False
    )


def test_help_names_every_command_and_imports_none() -> None:
    code = "import sys; from wgpy.cli import run; run(['--help']); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    listing, _, modules = out.rpartition("\n\n")
    assert all(f"\n  {name} " in out for name in COMMANDS), listing
    assert not {"numpy", "pyroute2", "rich", "cryptography", "wgpy.cli.show"} & set(modules.split())


def test_a_key_is_made_without_importing_the_rest() -> None:
    code = "import sys; from wgpy.cli import run; run(['genkey']); print(*sys.modules, file=sys.stderr)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert not {"numpy", "pyroute2", "rich", "asyncio", "tun", "rosenpass"} & set(modules.split())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["shw"], 2, "did you mean `show`?"),
        (["show", "wg0", "nonsense"], 2, "nonsense"),
        (["show", "--nonsense"], 2, "--nonsense"),
        (["set", "wg0"], 2, "nothing to set"),
        (["set", "wg0", "peer", KEY, "endpoint"], 2, "needs a value"),
        (["setconf", "wg0"], 2, "FILE"),
        (["setconf", "wg0", "/nonexistent.conf"], 3, "/nonexistent.conf"),
        (["strip", "/nonexistent.conf"], 3, "does not exist"),
        (["strip", "not/a/conf"], 3, "INTERFACE.conf"),
        (["show", "wgpy-absent"], 1, "wgpy up wgpy-absent"),
        (["show", "../x"], 1, "../x"),
        (["status", "wgpy-absent"], 1, "no such interface"),
        (["status", "--json", "--watch"], 2, "exclude each other"),
        (["pubkey"], 3, "standard input"),
    ],
)
def test_a_refusal_is_one_line_with_its_exit_code(words: list[str], code: int, said: str) -> None:
    done = wgpy_(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("wgpy")
    assert said in done.stderr


def test_a_file_is_refused_with_its_line_before_anything_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "x.conf"
    file.write_text(f"[Interface]\nPrivateKey = {KEY}\nListenPort = x\n")
    file.chmod(0o600)
    done = wgpy_("setconf", "wgpy-absent", str(file))
    assert (done.returncode, done.stderr) == (
        3,
        "wgpy: x.conf:3: ListenPort: `x` is not a port from 0 to 65535\n",
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WgpyError("a\nb"), 1),
        (UsageError("x"), 2),
        (ConfigError("x", "wg0.conf:1"), 3),
        (PermissionMissing("x"), 4),
        (PolicyNotMet("x"), 5),
        (OSError(5, "Input/output error", "/dev/x"), 1),
        (PermissionError(13, "Permission denied", "/dev/net/tun"), 4),
        (click.ClickException("x"), 1),
        (click.UsageError("x"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_error_has_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(wgpy.cli.cli, "main", fail)
    assert run([]) == code
    assert capsys.readouterr().err.count("\n") == (0 if isinstance(error, KeyboardInterrupt) else 1)


def test_a_bug_of_ours_is_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(wgpy.cli.cli, "main", fail)
    with pytest.raises(RuntimeError):
        run([])


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {' '.join(WGPY)} completion bash | true; sleep 0.1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_secrets_are_not_taken_from_the_command_line() -> None:
    done = wgpy_("set", "wgpy-absent", "private-key", KEY)
    assert done.returncode == 3
    assert "No such file" in done.stderr


def test_key_files_that_others_can_read_get_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o644)
    done = wgpy_("set", "wgpy-absent", "private-key", str(file))
    assert done.stderr.startswith(f"Warning: {file} is world accessible")
    assert KEY not in done.stderr


def test_options_come_from_the_environment_without_the_commands_name() -> None:
    done = wgpy_("status", "--check", WGPY_JSON="1")
    assert (done.returncode, "exclude each other" in done.stderr) == (2, True)


def test_configuration_is_taken_from_standard_input() -> None:
    done = wgpy_("setconf", "wgpy-absent", "-", text="[Interface]\nnonsense = 1\n")
    assert (done.returncode, done.stderr[:14]) == (3, "wgpy: stdin:2:")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_program(shell: str) -> None:
    done = wgpy_("completion", shell)
    assert done.returncode == 0
    assert "_WGPY_COMPLETE" in done.stdout


def test_commands_and_fields_are_completed() -> None:
    done = wgpy_(_WGPY_COMPLETE="bash_complete", COMP_WORDS="wgpy sh", COMP_CWORD="1")
    assert done.stdout.split() == ["plain,show", "plain,showconf"]
    done = wgpy_(_WGPY_COMPLETE="bash_complete", COMP_WORDS="wgpy show wg0 end", COMP_CWORD="3")
    assert done.stdout.split() == ["plain,endpoints"]


def test_a_foreign_package_of_our_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_one_distribution()
    (tmp_path / "tun").mkdir()
    (tmp_path / "tun/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tun", raising=False)
    with pytest.raises(WgpyError, match=r"`tun` comes from .*/tun/__init__\.py"):
        check_one_distribution()


@pytest.mark.parametrize("program", ["wgpy.cli", "wgpy.daemon"])
def test_both_programs_refuse_a_foreign_package_in_one_line(tmp_path: Path, program: str) -> None:
    (tmp_path / "rosenpass").mkdir()
    (tmp_path / "rosenpass/__init__.py").write_text("raise SystemExit('the intruder ran')")
    start = f"import sys; sys.argv = ['x', '-x', 'y']; from {program} import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", start],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"wgpyd?: the package `rosenpass` comes from .*\n", done.stderr)
