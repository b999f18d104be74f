"""A metric of a user's own returns what is no score: no trial may end as if it had one."""

from __future__ import annotations

import pytest

from pipeline.records import TrialState
from tests.command_line import refusal
from tests.faults import metrics
from tests.faults.conftest import Note
from tests.place import Place


def rule(name: str) -> str:
    told = "ValueError: metric mine must return numbers by name, 'mine' first"
    return f"{told}, but returned {metrics.RETURNED[name]}"


@pytest.mark.parametrize("name", metrics.RETURNED)
def test_a_metric_that_returns_no_score_is_refused_before_a_study_begins(place: Place, name: str):
    message = refusal(place.search("--set", f"metrics=[tests.faults.metrics:{name}]", "--workers", "1"), 2)
    assert f"error: no training can be built: {rule(name)}" in message
    assert place.book.study is None


@pytest.mark.parametrize("name", metrics.RETURNED)
def test_a_metric_that_returns_no_score_stops_the_search(place: Place, note: Note, name: str):
    # `stagnation` alone scores a generator before its first update: without it the trial is the first to find out
    later = ("--set", "stability.stagnation.action=off")
    chosen = ("--set", f"metrics=[tests.faults.metrics:{name}]", *later, "--trials", "1", "--workers", "1")
    message = refusal(place.search(*chosen), 2)
    assert f"failed: {rule(name)}" in message
    [trial] = place.book.trials.values()
    assert (trial.state, trial.steps, [loss.cause for loss in trial.losses]) == (TrialState.FAILED, 0, ["user_error"])
    assert f"gansearch show {trial.number}" in message
    note(
        f"worker: a metric returns {metrics.RETURNED[name]!s}", "exit 2 that names trial and error; no retry",
        attempts=len(trial.attempts),
    )  # fmt: skip
