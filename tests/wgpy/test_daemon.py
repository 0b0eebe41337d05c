import subprocess
import sys

import pytest

from tun.records import Aead, Feature
from wgpy import daemon
from wgpy.daemon import Arguments, default_workers, options_from, parse, workers_from
from wgpy.errors import ConfigError, UsageError, WgpyError
from wgpy.model import SECOND


@pytest.mark.parametrize(
    ("argv", "environment", "expected"),
    [
        (["wg0"], {}, Arguments("wg0", foreground=False)),
        (["-f", "wg0"], {}, Arguments("wg0", foreground=True)),
        (["wg0", "--foreground"], {}, Arguments("wg0", foreground=True)),
        (["wg0"], {"WG_PROCESS_FOREGROUND": "1"}, Arguments("wg0", foreground=True)),
        (["wg0"], {"WG_PROCESS_FOREGROUND": "0"}, Arguments("wg0", foreground=False)),
    ],
)
def test_arguments(argv: list[str], environment: dict[str, str], expected: Arguments) -> None:
    assert parse(argv, environment) == expected


@pytest.mark.parametrize("argv", [[], ["-f"], ["a", "b"], ["--help"], ["-x", "wg0"], [""]])
def test_anything_else_is_a_usage_error(argv: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(argv, {})


def test_without_a_word_every_feature_is_wanted_and_the_papers_timings_hold() -> None:
    options = options_from({})
    assert options.features == Feature.ALL
    assert options.aead is Aead.AUTO
    assert options.timings.rekey_after_time == 120 * SECOND


def test_features_the_aead_and_timings_can_be_chosen() -> None:
    options = options_from(
        {"WGPY_DISABLE": "tso,udp_gro", "WGPY_AEAD": "openssl", "WGPY_TIMINGS": "rekey_after_time=3"}
    )
    assert options.features == Feature.ALL & ~Feature.TSO & ~Feature.UDP_GRO
    assert options.aead is Aead.OPENSSL
    assert options.timings.rekey_after_time == 3 * SECOND


@pytest.mark.parametrize(
    "environment",
    [
        {"WGPY_DISABLE": "nonsense"},
        {"WGPY_AEAD": "rot13"},
        {"WGPY_TIMINGS": "x=1"},
        {"WGPY_ROSENPASS_TIMERS": "x=1"},
        {"WGPY_ROSENPASS_TIMERS": "reject_after=soon"},
    ],
)
def test_a_wrong_choice_is_named(environment: dict[str, str]) -> None:
    with pytest.raises((UsageError, ConfigError), match=next(iter(environment))):
        options_from(environment)


def test_descriptors_that_are_no_udp_sockets_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/null") as null:
        monkeypatch.setenv("WG_UDP_FD", str(null.fileno()))
        with pytest.raises(WgpyError, match="WG_UDP_FD"):
            daemon._adopt_sockets()


@pytest.mark.parametrize(("text", "workers"), [("", None), ("1", 1), ("8", 8)])
def test_the_number_of_workers_can_be_chosen(text: str, workers: int | None) -> None:
    assert workers_from({"WGPY_WORKERS": text}) == workers


@pytest.mark.parametrize("text", ["0", "9", "-1", "00018", "two", "²"])
def test_a_number_of_workers_out_of_range_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"WGPY_WORKERS=.*from 1 to 8"):
        workers_from({"WGPY_WORKERS": text})


@pytest.mark.parametrize(("processors", "workers"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 3), (8, 4), (64, 4)])
def test_without_a_word_the_machine_says_how_many_workers(
    monkeypatch: pytest.MonkeyPatch, processors: int, workers: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)))
    assert default_workers() == workers


@pytest.mark.parametrize(
    ("modules", "spared"),
    [
        (
            ("wgpy.device", "wgpy.uapi_socket"),
            ("click", "rich", "wgpy.config", "pyroute2", "oqs", "rosenpass.kem", "rosenpass.server"),
        ),
        (("wgpy.cli.status",), ("rich", "numpy", "prometheus_client", "cryptography", "asyncio", "tun")),
    ],
    ids=["wgpyd", "wgpy status --json"],
)
def test_a_start_imports_only_what_it_needs(modules: tuple[str, ...], spared: tuple[str, ...]) -> None:
    program = f"import sys, {', '.join(modules)}; print(*({set(spared)!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
