"""What `make causes` changes in a cell that failed, and what it says of it."""

from __future__ import annotations

import pytest

from benchmarks.causes import CHANGES, changes, outcome, page
from pipeline.config import vary_training
from pipeline.records import TrialState
from tests.test_cells import ended, of, training

SMALL = ("steps=20", "segment_steps=10", "evaluation.samples=64", "metrics=[sliced_wasserstein]")


def test_each_change_is_one_change_and_gives_a_training():
    cell = training("ring8", "wasserstein+dragan+mlp", *SMALL)
    found = changes(cell, ended=True)
    assert set(found) == set(CHANGES)
    changed = {name: vary_training(cell, sets, {}) for name, sets in found.items()}
    assert changed["another seed"] == cell.model_copy(update={"seed": 1})
    assert changed["a tenth of the rates"].optim.lr_d == pytest.approx(cell.optim.lr_d / 10)
    assert changed["a tenth of the rates"].optim.lr_g == pytest.approx(cell.optim.lr_g / 10)
    assert changed["without the penalty"].penalty.name == "none"
    assert changed["a tenth of its weight"].penalty.model_dump()["lambda"] == pytest.approx(0.1)
    assert changed["told, not ended"].stability["exploding_gradient"].action == "warn"


@pytest.mark.parametrize(
    ("cell", "applied"),
    [
        ("wasserstein+none+pacgan", {"another seed", "a tenth of the rates"}),
        ("wasserstein+clip+mlp", {"another seed", "a tenth of the rates", "without the penalty"}),
    ],
)
def test_a_change_that_has_nothing_to_change_is_left_out(cell, applied):
    assert set(changes(training("ring8", cell, *SMALL), ended=False)) == applied


def test_the_outcome_of_a_change_is_a_score_in_bold_where_it_is_better_or_why_it_was_ended():
    cell = training("ring8", "hinge+spectral+mlp", *SMALL)
    assert outcome(vary_training(cell, ("steps=400", "segment_steps=200"), {}), None).startswith("**0.")
    assert not outcome(vary_training(cell, ("optim.lr_g=1",), {}), None).startswith("**")
    early = ("stability.exploding_gradient.threshold=1e-9", "stability.exploding_gradient.window=5")
    assert outcome(vary_training(cell, early, {}), None) == "exploding_gradient at step 5"


def test_the_page_has_a_column_for_each_change():
    cell = of(ended(TrialState.COMPLETED, 6.0))
    assert "| hinge, spectral, mlp | 5 | 6 |  | **1** |  |  |  |" in page(
        {"ring8": [(cell, {"another seed": "**1**"})]}
    )
