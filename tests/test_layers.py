"""Walks every import against the table of docs/architecture.md."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EFFECTS = set(
    [
        "asyncio",
        "socket",
        "time",
        "os",
        "random",
        "threading",
        "subprocess",
        "select",
        "uvloop",
        "pyroute2",
        "pytun",
        "signal",
        "selectors",
        "secrets",
        "datetime",
        "fcntl",
        "resource",
        "tempfile",
        "shutil",
    ]
)
PURE = set(
    [
        "actions",
        "config",
        "constants",
        "cookie",
        "crypto",
        "errors",
        "index",
        "messages",
        "model",
        "noise",
        "peer",
        "psk_ring",
        "quantum",
        "tai64n",
        "timers",
        "tunnel",
        "uapi",
        "watch",
    ]
)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
    return found


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def files(package: str) -> list[str]:
    found = (str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py"))
    return sorted(name for name in found if not name.endswith("ffi_build.py"))


def is_pure(module: str) -> bool:
    """A module, or the first part of its name before an underscore, is on the list."""
    return module in PURE or module.split("_")[0] in PURE - {"config"} or module.startswith("config_")


@pytest.mark.parametrize("name", files("tun"))
def test_tun_knows_neither_protocol(name: str) -> None:
    assert not tops(ROOT / name) & {"wgpy", "rosenpass", "asyncio", "uvloop"}


@pytest.mark.parametrize("name", files("rosenpass"))
def test_rosenpass_stands_alone(name: str) -> None:
    assert not tops(ROOT / name) & {"wgpy", "tun"}
    if "/standalone/" not in name:
        looks_for_a_library = Path(name).name in {"kem.py", "liboqs.py"}
        assert not tops(ROOT / name) & (EFFECTS - {"os"} if looks_for_a_library else EFFECTS)


@pytest.mark.parametrize("module", sorted(PURE))
def test_the_pure_half_of_wgpy_has_no_effects(module: str) -> None:
    path = ROOT / "wgpy" / f"{module}.py"
    assert not tops(path) & (EFFECTS | {"tun"})
    assert {name for name in imports(path) if name.startswith("rosenpass")} <= {"rosenpass.primitives"}
    for name in imports(path):
        if name.startswith("wgpy."):
            assert is_pure(name.split(".")[1]), f"{module} imports {name}"
