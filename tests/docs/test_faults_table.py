"""docs/faults.md walks all forty faults, and every test that it names is there."""

from __future__ import annotations

import ast
import json
import re

import pytest

from benchmarks.faults import TARGET, about_here, measuring, page, rows
from tests.command_line import ROOT

TEXT = (ROOT / "docs" / "faults.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if re.match(r"\| \d+ \|", line)]
NAMED = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT))
STATES = {"here", "elsewhere", "in part", "does not apply", "not covered"}


def defined(path: str) -> set[str]:
    """The names at the top level of a module of tests."""
    body = ast.parse((ROOT / path).read_text()).body
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    assigned = {target.id for target in targets if isinstance(target, ast.Name)}
    return assigned | {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_every_fault_is_there_once():
    assert sorted(int(row[0]) for row in ROWS) == list(range(1, 41))


def test_every_fault_says_where_it_is_tested_or_why_it_is_not():
    for number, _, state, told in ROWS:
        assert state in STATES, number
        if state == "here":
            assert "`tests/faults/" in told, number
        if state in ("elsewhere", "in part"):
            assert "`tests/" in told, number
        if state in ("does not apply", "not covered"):
            assert "`tests/" not in told, number
        assert ("not covered" in told) == (state == "in part"), number


def test_every_test_that_is_named_exists():
    assert [f"{path}::{name}" for path, name in sorted(NAMED) if name not in defined(path)] == []


def test_every_test_of_a_fault_is_named():
    files = [f"tests/faults/{path.name}" for path in (ROOT / "tests" / "faults").glob("test_*.py")]
    there = {(path, name) for path in files for name in defined(path) if name.startswith("test_")}
    assert there - NAMED == set()


def test_every_test_that_measures_is_on_the_page():
    """Where it fails, `make faults` writes the page anew."""
    names = re.findall(r"\| `(test_\w+\.py::\w+)` \|$", TARGET.read_text(), flags=re.M)
    assert sorted({f"tests/faults/{name}" for name in names}) == sorted(measuring())


def test_a_log_that_lacks_a_test_makes_no_page():
    row = {"test": "tests/faults/test_a.py::test_b[x]", "injected": "x", "promised": "y", "measured": {}}
    assert rows([json.dumps(row)], {"tests/faults/test_a.py::test_b"}) == [row]
    with pytest.raises(ValueError, match=r"the log lacks .*tests/faults/test_workers\.py::test_kill_9"):
        rows([json.dumps(row)], measuring())


def test_what_was_observed_becomes_a_table():
    first = {"test": "tests/faults/test_a.py::test_b[x|y]", "injected": "x|y", "promised": "it goes on"}
    seen = [{**first, "measured": {"seconds_until_known": 9}}, {**first, "measured": {"seconds_until_known": 0.4}}]
    text = page(rows(json.dumps(row) for row in seen), "here and now")
    table = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert table == ["| x/y | it goes on | seconds until known 0.4 | `test_a.py::test_b` |"]
    assert "here and now" in text
    with pytest.raises(ValueError, match="must have injected, measured, promised"):
        rows(['{"test": "t"}'])
    assert "torch" in about_here()
