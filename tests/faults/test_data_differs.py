"""The machines of a cluster have different files under the name of one data set."""

from __future__ import annotations

from pathlib import Path

from pipeline.records import TrialState
from tests.command_line import refusal
from tests.faults import own_data
from tests.place import Place


def test_a_worker_with_other_data_ends_the_search_before_it_trains_and_fails_no_trial(tmp_path: Path):
    place = Place(tmp_path, options=("--data", own_data.DIFFERS.name))
    message = refusal(place.search("--trials", "2"), 5)
    assert "the data of this study are not those of another worker" in message
    assert "give every machine the same files" in message
    trials = place.book.trials.values()
    assert {trial.state for trial in trials} == {TrialState.SUSPENDED}
    assert {segment.attempt for trial in trials for segment in trial.segments} <= {0}
    assert place.book.begun.data["digest"][:12] in message
    # One machine alone has one data set, whoever begins: what is left is refused as another study's.
    message = refusal(place.search("--trials", "2", "--workers", "1"), 5)
    assert "data digest: " in message
