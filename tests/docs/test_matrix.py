"""docs/matrix.md against the pages that it is about."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.causes import CHANGES

ROOT = Path(__file__).parents[2]
MATRIX, CAUSES = (ROOT / "benchmarks" / name for name in ("matrix.md", "causes.md"))
TEXT = " ".join((ROOT / "docs" / "matrix.md").read_text().split())


def rows(page: Path, first: str, second: str) -> list[list[str]]:
    """The rows of the page's tables whose heads begin so."""
    found, inside = [], False
    for line in page.read_text().splitlines():
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if row[:2] == [first, second]:
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and row[0] != "---":
            found.append(row)
    return found


CELLS, CHANGED = rows(MATRIX, "objective", "penalty"), rows(CAUSES, "cell", "untrained")
FAILED = [cell for cell in CELLS if cell[6] == "no"]


def test_the_counts_are_those_of_the_matrix():
    stable = [cell for cell in CELLS if cell[8]]
    assert {cell[7].split(":")[0] for cell in CELLS} == {"completed", "diverged"}, "a cell met an error"
    assert f"Of {len(CELLS)} cells none met an error" in TEXT
    assert {cell[6] for cell in stable} == {"yes"}
    assert f"each of the {len(stable)} that the literature calls stable ended better" in TEXT
    assert f"{len(FAILED)} others did not." in TEXT
    ended = [cell for cell in FAILED if cell[7] != "completed"]
    assert {"exploding_gradient" in cell[7] for cell in ended} == {True}
    assert f"Ended by a detector: {len(ended)} cells" in TEXT
    assert f"ended worse: {len(FAILED) - len(ended)} cells" in TEXT
    below = sum(int(count) for count in re.findall(r"and (\d+) ended below", MATRIX.read_text()))
    assert f"Of the {len(stable)} stable cells {below} end below the mark" in TEXT


def test_each_cell_that_failed_was_trained_again_and_the_counts_are_what_came_out():
    assert sorted(row[0] for row in CHANGED) == sorted(", ".join(cell[:3]) for cell in FAILED)
    better = {
        change: [row for row in CHANGED if row[3 + index].startswith("**")] for index, change in enumerate(CHANGES)
    }
    assert f"All {len(better['told, not ended'])} end better than untrained where the detector only tells" in TEXT
    assert f"with another one {len(better['another seed'])} of the {len(FAILED)} are better" in TEXT


def test_every_figure_of_the_text_is_on_a_page():
    pages = (MATRIX.read_text() + CAUSES.read_text()).replace("1.64e+03", "1,640")
    figures = set(re.findall(r"-?\d+\.\d+", TEXT)) - {"0.02"}  # N(0, 0.02)
    assert len(figures) > 15
    assert {figure for figure in figures if not re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", pages)} == set()
