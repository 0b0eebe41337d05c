"""Finds test vectors: the shared ones where they are, the project's own always."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
OWN = ROOT / "tests" / "vectors"


def shared_dir() -> Path:
    """$WGPY_VECTORS, else ../shared/vectors beside the project."""
    return Path(os.environ.get("WGPY_VECTORS", ROOT / ".." / "shared" / "vectors"))


def shared(name: str) -> Any:
    """One shared JSON file, for instance "wireguard/kdf.json"; skips the test where it is absent."""
    path = shared_dir() / name
    if not path.exists():
        pytest.skip(f"no shared vectors: {path}")
    return json.loads(path.read_text())


def own(name: str) -> Any:
    """One of the project's own JSON files."""
    return json.loads((OWN / name).read_text())
