"""Every test that docs/promises.md names is there, and every test of this room stands for one of its promises."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PROMISES = (TESTS.parent / "docs" / "promises.md").read_text("utf-8")
NAMED = re.findall(r"`(test_\w+\.py)::(\w+)`", PROMISES)
HERE = sorted(Path(__file__).parent.glob("test_*.py"))


def names_in(file):
    return {node.name for node in ast.parse(file.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_every_named_test_exists(file):
    """A promise whose test was renamed or removed is noticed."""
    (path,) = TESTS.rglob(file)
    assert {name for where, name in NAMED if where == file} <= names_in(path)


@pytest.mark.parametrize("path", [path for path in HERE if path != Path(__file__)], ids=lambda path: path.name)
def test_every_test_here_is_named(path):
    """What is shown here is also promised, where an operator reads it."""
    tests = {name for name in names_in(path) if name.startswith("test_")}
    assert tests == {name for where, name in NAMED if where == path.name}


def test_every_row_has_its_test():
    """No promise stands there without a test."""
    rows = [line for line in PROMISES.splitlines() if line.startswith("| ") and not line.startswith("| what breaks it")]
    assert rows
    assert not [row for row in rows if "::test_" not in row]
