"""docs/scores.md and the page of its figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import scores
from tests.docs import test_readme as readme
from trainers.evaluation import classes, copies, discrepancy, frechet, manifold, mixtures, pairs, parzen, support

ROOT = Path(__file__).parents[2]
PAGE, TEXT = "docs/scores.md", (ROOT / "docs" / "scores.md").read_text()
TABLES = (ROOT / "benchmarks" / "scores.md").read_text()
MODULES = (classes, copies, discrepancy, frechet, manifold, mixtures, pairs, parzen, support)


def row(data: str, score: str) -> list[float]:
    """The means of a score of the page, by number of samples."""
    part = TABLES.split(f"## {data}\n")[1].split("\n## ")[0]
    (line,) = [line for line in part.splitlines() if line.startswith(f"| {score} |")]
    return [float(cell.split("±")[0]) for cell in line.strip("|").split("|")[1:]]


def test_links_commands_and_pictures_exist() -> None:
    readme.test_every_command_and_option_that_is_named_exists(PAGE)
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert [t for t in targets if "://" not in t and not (ROOT / "docs" / t).exists()] == []


def test_every_score_that_is_named_is_measured_or_a_function() -> None:
    named = set(re.findall(r"^\| (`[^|]+`) \|", TEXT, flags=re.M))
    names = {name for cell in named for name in re.findall(r"`([a-z_]+)`", cell)}
    measured = set(re.findall(r"^\| ([a-z_]+) \|", TABLES, flags=re.M))
    assert {n for n in names if n not in measured and not any(hasattr(m, n) for m in MODULES)} == set()


def test_what_the_page_says_of_the_truth_is_what_was_measured() -> None:
    assert row("ring8", "high_quality")[-1] == pytest.approx(0.9889, abs=0.002)
    assert row("ring8", "spread")[-1] == pytest.approx(1, abs=0.01)
    assert row("ring8", "accuracy")[-1] == pytest.approx(0.5, abs=0.02)
    assert row("ring8", "ndb")[-1] < 0.1
    assert row("ring8", "mixture_kl") == sorted(row("ring8", "mixture_kl"), reverse=True)
    assert row("digits", "frechet") == sorted(row("digits", "frechet"), reverse=True)
    assert all(value < 0 for value in row("digits", "kernel"))
    assert row("digits", "coverage") == sorted(row("digits", "coverage"))
    assert row("digits", "classifier_score") == sorted(row("digits", "classifier_score"))
    assert all(value == pytest.approx(1, abs=0.05) for value in row("digits", "memorisation"))


@pytest.mark.parametrize("name", scores.MADE)
def test_the_table_is_of_what_is_measured(name: str) -> None:
    found = scores.measured(name, [60], 2)
    assert set(scores.SHOWN[name]) <= set(found)
    lines = scores.table(name, [60], found)
    assert {line.split(" | ")[0].strip("| ") for line in lines[4:] if line} == set(found)
    part = TABLES.split(f"## {name}\n")[1].split("\n## ")[0]
    assert set(found) == set(re.findall(r"^\| ([a-z_]+) \|", part, flags=re.M)) - {"score"}
