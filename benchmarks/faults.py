"""Turn what the tests of tests/faults/ wrote down into a table: `python -m benchmarks.faults LOG`.

LOG holds JSON lines, one an observation (FAULTS_LOG names it for the tests; see tests/faults/conftest.py). The table is
written to benchmarks/faults.md, with the date, the machine and the versions, once every test that measures something is
in LOG. Of two observations of one fault the later one counts.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import sys
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "ray", "mlflow", "optuna", "pyarrow", "obstore")
TARGET = Path(__file__).with_suffix(".md")
ROOT = Path(__file__).parents[1]
HEAD = """# What was injected, what was promised, what was measured

Written by `python -m benchmarks.faults` from what the tests of tests/faults noted, two at a time on the machine below;
`make faults` runs them all and writes this page. docs/faults.md says which faults there are, and which are tested
elsewhere. A row is there because its test passed: what is promised was checked, and the figures are what was seen
beside it.
"""


def measuring() -> set[str]:
    """Return the tests that write down what they measure, without their parameters: those that take `note`."""
    found = set()
    for path in (ROOT / "tests" / "faults").glob("test_*.py"):
        functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        names = [node.name for node in functions if "note" in {argument.arg for argument in node.args.args}]
        found |= {f"{path.relative_to(ROOT).as_posix()}::{name}" for name in names if name.startswith("test_")}
    return found


def rows(lines: Iterable[str], wanted: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the observations, sorted by test and fault.

    Args:
        lines: JSON objects with the keys test, injected, promised and measured; of two with one test and one fault
            the later one counts.
        wanted: tests that must be there, without their parameters.

    Raises:
        ValueError: a line is not one, or a test is missing: part of the page would be taken for all of it.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in lines:
        row = json.loads(line)
        if missing := {"test", "injected", "promised", "measured"} - row.keys():
            raise ValueError(f"an observation must have {', '.join(sorted(missing))}, but got {line.strip()}")
        found[row["test"].partition("[")[0], row["injected"]] = row
    if lacking := sorted(set(wanted) - {test for test, _ in found}):
        raise ValueError(f"the log lacks {', '.join(lacking)}; `make faults` runs them all")
    return [found[key] for key in sorted(found)]


def figures(measured: Mapping[str, object]) -> str:
    """Return measurements as a cell of a table: `steps trained again 30; seconds until known 0.4`."""
    return "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in measured.items())


def page(observed: Iterable[Mapping[str, Any]], about: str) -> str:
    """Return the page: a table with a row for each observation.

    Args:
        observed: from `rows`.
        about: a line on where and when it was measured.
    """
    table = ["| injected | promised | measured | test |", "|---|---|---|---|"]
    for row in observed:
        cells = (row["injected"], row["promised"], figures(row["measured"]), f"`{_short(row['test'])}`")
        table.append(f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |")
    return "\n".join([HEAD, about, "", *table, ""])


def _short(test: str) -> str:
    """Return a test without its folder and its parameters."""
    return test.partition("[")[0].removeprefix("tests/faults/")


def about_here() -> str:
    """Return when, on how many cores and with what this is run."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{platform.system()} {platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    return f"{datetime.now(UTC):%Y-%m-%d}, {machine}, Python {platform.python_version()}, {versions}."


if __name__ == "__main__":
    with Path(sys.argv[1]).open() as log:
        TARGET.write_text(page(rows(log, measuring()), about_here()))
    print(TARGET)
