"""No secret is compared by an operator that stops at the first difference."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECRETS = re.compile(r"(^|_)(mac1?2?|tag|cookie|psk|preshared_key|secret|osk|private_key|sskm|shared)$")
# Presence, kinds and lengths are no secrets.
MEMCMP = re.compile(r"(?<!CRYPTO_)\bmemcmp\(([^;]*)")
C_SECRETS = re.compile(r"\b(expected|tags?|mac[12]?|cookie|secret|key)\b")
# Command lines, which compare files of the person who runs them with each other.
OWN_FILES = ("wgpy/cli/", "wgpy/config_update.py")
# mac2 is compared with zeros, which everybody on the path can see.
C_KNOWN = {("cookie.c", "message + covered, none, MAC_LEN")}


def compared(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Compare):
            continue
        for operator, operand in zip(node.ops, [*node.comparators], strict=True):
            if not isinstance(operator, ast.Eq | ast.NotEq):
                continue
            for side in (node.left, operand):
                name = getattr(side, "attr", getattr(side, "id", ""))
                if SECRETS.search(name):
                    yield node.lineno, name


@pytest.mark.parametrize("package", ["wgpy", "rosenpass", "tun"])
def test_secrets_are_compared_by_compare_digest(package: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in (ROOT / package).rglob("*.py")
        for line, name in compared(path)
        if not str(path.relative_to(ROOT)).startswith(OWN_FILES)
    }
    assert found == set()


@pytest.mark.parametrize("directory", ["tun/csrc", "rosenpass/csrc", "wgpy/csrc"])
def test_secrets_are_compared_by_crypto_memcmp(directory: str) -> None:
    found = {
        (path.name, call.rpartition(")")[0] or call)
        for path in (ROOT / directory).glob("*.c")
        for line in path.read_text().splitlines()
        for call in MEMCMP.findall(line)
        if C_SECRETS.search(call)
    }
    known = {each for each in found for name, text in C_KNOWN if each[0] == name and text in each[1]}
    assert found == known
