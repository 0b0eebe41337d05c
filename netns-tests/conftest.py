"""What every namespace test shares: the skip that names what is missing, and hosts to begin with."""

import os
from collections.abc import Generator, Iterator

import lab
import pytest
from wgpeer import ALL, SUBJECT, Peer, WgpyPeer, WireguardGoPeer

# `make netns` runs these two at a time, for they measure or compute, and most others four at a time.
HEAVY = {
    *("test_rekey", "test_psk_swap", "test_many_peers", "test_cookie_under_load"),
    *("test_hybrid_start", "test_hybrid_stall", "test_hybrid_interop", "test_hybrid_fanout"),
}
# And these one by one: each fills the processors.
ALONE = {"test_transfer", "test_hybrid_rotation", "test_floods"}
NO_SKIPS = os.environ.get("WGPY_REQUIRE_NETNS") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what must not run beside many others."""
    for item in items:
        for mark, files in ((pytest.mark.heavy, HEAVY), (pytest.mark.alone, ALONE)):
            if item.path.stem in files:
                item.add_marker(mark)


@pytest.fixture(scope="session", autouse=True)
def _prerequisites() -> None:
    if missing := lab.missing_prerequisites():
        pytest.skip(f"namespace tests need {', '.join(missing)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under WGPY_REQUIRE_NETNS=1 a skip is a failure: nothing may be left out unseen."""
    report = yield
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under WGPY_REQUIRE_NETNS=1: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Why a test was run once more, which -r does not tell."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.write_line(f"rerun {report.nodeid}: {report.longreprtext[-600:]}")


@pytest.fixture
def hosts() -> Iterator[tuple[lab.Namespace, lab.Namespace]]:
    """Two namespaces joined by one veth pair; see lab.two_hosts."""
    with lab.two_hosts() as pair:
        yield pair


def _others(adjustable: bool = False) -> list[object]:
    """Debian's wireguard-go always; what `make interop` built under its mark."""
    default = (WireguardGoPeer, WgpyPeer)
    built = [kind for kind in ALL if kind not in default and not kind.missing()]
    if adjustable:
        built = [kind for kind in built if kind.adjustable]
    return [WireguardGoPeer, *(pytest.param(kind, marks=pytest.mark.interop) for kind in built)]


@pytest.fixture(params=_others(), ids=lambda kind: kind.name)
def other(request: pytest.FixtureRequest) -> type[Peer]:
    """The implementation at the far end of the tunnel; the test runs once for each there is."""
    return _present(request.param)


@pytest.fixture(params=_others(adjustable=True), ids=lambda kind: kind.name)
def adjustable(request: pytest.FixtureRequest) -> type[Peer]:
    """As `other`, but only who can change a peer it already has."""
    return _present(request.param)


def _present(kind: type[Peer]) -> type[Peer]:
    for needed in (kind, SUBJECT):
        if needed.missing():
            pytest.skip(f"needs {needed.missing()}")
    return kind
