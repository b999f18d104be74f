"""A metric of a user's own returns what is no score: no trial may end as if it had one."""

from __future__ import annotations

import pytest

from pipeline.records import TrialState
from tests.command_line import refusal
from tests.faults import metrics
from tests.faults.conftest import Note
from tests.place import Place


@pytest.mark.parametrize("name", metrics.RETURNED)
def test_a_metric_that_returns_no_score_stops_the_search(place: Place, note: Note, name: str):
    chosen = ("--set", f"metrics=[tests.faults.metrics:{name}]", "--trials", "1", "--workers", "1")
    message = refusal(place.search(*chosen), 2)
    rule = "metric mine must return numbers by name, 'mine' first"
    assert f"failed: ValueError: {rule}, but returned {metrics.RETURNED[name]}" in message
    [trial] = place.book.trials.values()
    assert (trial.state, trial.steps, [loss.cause for loss in trial.losses]) == (TrialState.FAILED, 0, ["user_error"])
    assert f"gansearch show {trial.number}" in message
    note(
        f"worker: a metric returns {metrics.RETURNED[name]!s}", "exit 2 that names trial and error; no retry",
        attempts=len(trial.attempts),
    )  # fmt: skip
