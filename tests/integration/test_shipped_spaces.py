"""`gansearch search --space NAME` trains the published defaults of every shipped space, as a user would run it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pipeline.ledger import read_book
from pipeline.store import open_store
from search_spaces import SHIPPED, find_space
from search_spaces.declarations import BRANCH
from tests.command_line import document, gansearch

QUICK = ("steps=10", "segment_steps=5", "evaluation.samples=64", "evaluation.grid=4", "halving.enabled=false")
DATA = {"lucic": "digits", "landscape": "digits", "ali_grid25": "grid25"}  # by how a name begins; ring8 of the others


@pytest.mark.slow
@pytest.mark.parametrize("name", [space.name for space in SHIPPED])
def test_every_shipped_space_is_searched_from_the_command_line(name: str, tmp_path: Path):
    data = next((data for start, data in DATA.items() if name.startswith(start)), "ring8")
    branches = getattr(find_space(name), "branches", ())
    sets = [part for value in QUICK for part in ("--set", value)]
    trials = max(1, len(branches))
    args = ("--space", name, "--data", data, "--trials", str(trials), "--workers", "2", "--store", "store", *sets)
    told = document(gansearch("search", *args, "--format", "json", cwd=tmp_path))
    assert (told["trials"]["completed"], sum(told["trials"].values())) == (trials, trials)
    assert math.isfinite(told["best"]["score"])
    book = read_book(open_store(tmp_path / "store", create=False), told["study"])
    assert {trial.spec.origin for trial in book.trials.values()} == {"default"}
    assert len({trial.spec.params.get(BRANCH) for trial in book.trials.values()}) == trials
