"""docs/security.md names tests for what it promises: each of them is there."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "security.md").read_text()
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and "`" in line.rpartition(" | ")[2]]
NAMED = sorted(set(re.findall(r"`(test_\w+|[a-z0-9]+(?:_[a-z0-9]+){2,})`", "\n".join(ROWS))))


@cache
def known() -> frozenset[str]:
    """Every test function of the project, and every one of its C programs' that is run."""
    found: set[str] = set()
    for folder in ("tests", "netns-tests"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    for path in (ROOT / "tests" / "c").glob("*_test.c"):
        found |= set(re.findall(r"\bRUN\((\w+)\)", path.read_text()))
    return frozenset(found)


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_the_security_page_names_exists(name: str) -> None:
    assert name in known()


def test_every_wound_has_a_test() -> None:
    wounds = TEXT.partition("## Known wounds")[2].partition("\n## ")[0]
    rows = [line for line in wounds.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 50
    assert [row for row in rows if not re.search(r"`\w+`", row.rpartition(" | ")[2])] == []


def test_the_page_is_pointed_to() -> None:
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text()
    assert "security.md" in (ROOT / "README.md").read_text()
