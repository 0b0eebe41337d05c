"""Walks every import against the table of docs/architecture.md."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EFFECTS = {
    *("asyncio", "uvloop", "threading", "subprocess", "signal", "selectors", "select"),
    *("socket", "fcntl", "resource", "pyroute2", "pytun", "os", "tempfile", "shutil"),
    *("time", "datetime", "random", "secrets"),
}
PURE = {
    *("actions", "model", "errors", "constants", "messages", "crypto", "tai64n", "noise", "cookie", "index"),
    *(
        "noise_native",
        "timers",
        "agenda",
        "handshakes",
        "psk_ring",
        "peer",
        "tunnel",
        "watch",
        "quantum",
        "report",
    ),
    *(
        "uapi",
        "uapi_ask",
        "config",
        "config_text",
        "config_values",
        "config_update",
        "rosenpass_settings",
        "wg_format",
    ),
}
# The rest of rosenpass/ is pure; these look for a library, read and write key files.
ROSENPASS_EDGE = {
    "kem.py": {"os"},
    "liboqs.py": {"os"},
    "keyfile.py": {"os", "tempfile"},
    "key_out.py": {"os", "tempfile"},
}


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


@pytest.mark.parametrize("name", files("tun"))
def test_tun_knows_neither_protocol(name: str) -> None:
    assert not tops(ROOT / name) & {"wgpy", "rosenpass", "asyncio", "uvloop"}


@pytest.mark.parametrize("name", files("rosenpass"))
def test_rosenpass_stands_alone(name: str) -> None:
    assert not tops(ROOT / name) & {"wgpy", "tun"}
    if "/standalone/" not in name:
        assert not tops(ROOT / name) & (EFFECTS - ROSENPASS_EDGE.get(Path(name).name, set()))


@pytest.mark.parametrize("module", sorted(PURE))
def test_the_pure_half_of_wgpy_has_no_effects(module: str) -> None:
    path = ROOT / "wgpy" / f"{module}.py"
    assert not tops(path) & (EFFECTS | {"tun"})
    assert {name for name in imports(path) if name.startswith("rosenpass")} <= {
        "rosenpass.primitives",
        "rosenpass.erasure",
    }
    for name in imports(path):
        if name.startswith("wgpy."):
            assert name.split(".")[1] in PURE | {"_noise"}, f"{module} imports {name}"


@pytest.mark.parametrize(
    "name", [name for package in ("wgpy", "rosenpass", "tun") for name in files(package)]
)
def test_no_random_byte_comes_from_anything_but_the_operating_system(name: str) -> None:
    """Keys, indices, nonces and cookies are drawn from what the edge hands in: os.urandom, named so."""
    assert not {"random", "numpy.random", "uuid"} & imports(ROOT / name)
    for node in ast.walk(ast.parse((ROOT / name).read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Tunnel", "CryptoServer"):
            assert "os.urandom" in [ast.unparse(word) for word in node.args], f"{name}:{node.lineno}"
