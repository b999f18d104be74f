"""A worker is killed in the middle of a segment, runs out of device memory, or runs a user's code that is wrong."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline.records import TrialState
from pipeline.study import frozen
from tests.command_line import document, end, refusal, wait_for
from tests.faults import variants
from tests.faults.conftest import Note
from tests.faults.held import SEGMENT, Held, losses, steps, variant
from tests.place import STEPS, Place, assert_whole, lost, retrained
from tests.ray_processes import trainers

DETECTED = 5.0  # seconds


def test_kill_9_of_a_worker_in_the_middle_of_a_segment(tmp_path: Path, note: Note, monkeypatch: pytest.MonkeyPatch):
    place = Held(tmp_path)
    driver = place.begin("--trials", "2")
    try:
        wait_for(lambda: place.waits(trials=2), driver)
        [victim] = wait_for(lambda: trainers(driver.pid)[1:], driver)  # both train
        victim.kill()
        began, before = time.monotonic(), place.book
        wait_for(lambda: bool(losses(place.book)), driver)
        took = time.monotonic() - began
        place.go_on()
        assert driver.wait(240) == 0, place.talk()
    finally:
        end(driver)
    assert took < DETECTED
    after = place.book
    assert losses(after) == ["worker_lost"]
    assert_whole(place, trials=2)
    [hit] = [trial for trial in after.trials.values() if trial.losses]
    [unharmed] = [trial for trial in after.trials.values() if not trial.losses]
    assert (len(unharmed.attempts), len(hit.attempts)) == (1, 2)
    again_from = hit.attempts[1].step
    again = steps(before)[hit.number] - again_from
    assert (lost(before, after), again) == (0, 0)
    done, left = again_from // SEGMENT, (STEPS - again_from) // SEGMENT
    assert done > 0
    assert [segment.attempt for segment in hit.segments] == [0] * done + [1] * left
    monkeypatch.setenv("FAULT_FOLDER", str(tmp_path))
    assert retrained(place, hit.number)["identical"] is True
    note(
        "worker: kill -9 in the middle of a segment",
        f"known within {DETECTED:g} s; it goes on from its last checkpoint, to the same bits",
        seconds_until_known=round(took, 2), committed_steps_trained_again=again,
    )  # fmt: skip


def test_a_users_exception_stops_the_search_which_goes_on_once_it_is_mended(tmp_path: Path, note: Note):
    place = Place(tmp_path, options=variant("RAISES"), FAULT_FOLDER=str(tmp_path))
    message = refusal(place.search("--trials", "2"), 2)
    assert "failed: ZeroDivisionError: the window is empty" in message
    before = place.book
    states = [trial.state for trial in before.trials.values()]
    assert TrialState.FAILED in states
    assert set(states) <= {TrialState.FAILED, TrialState.SUSPENDED}
    [first] = [trial for trial in before.trials.values() if trial.state is TrialState.FAILED][:1]
    assert [loss.cause for loss in first.losses] == ["user_error"]
    assert f"gansearch show {first.number}" in message
    assert 'variants.py", line' in (first.decision.traceback if first.decision else "")
    for mark in variants.marks(tmp_path):
        mark.touch()
    told = document(place.search("--trials", "2"))
    assert told["trials"] == {"completed": 2, "pruned": 0, "diverged": 0, "failed": states.count(TrialState.FAILED)}
    note(
        "worker: the user's own code raises", "exit 2 that names trial and error, after the first; no retry",
        trials_that_failed=states.count(TrialState.FAILED), attempts=len(first.attempts),
    )  # fmt: skip


@pytest.mark.long
def test_a_trial_for_which_the_device_is_too_small_gets_a_fresh_worker_once_and_then_fails(tmp_path: Path, note: Note):
    place = Place(tmp_path, options=variant("STARVES"), FAULT_FOLDER=str(tmp_path))
    told = document(place.search("--trials", "1", "--workers", "1"))
    assert told["trials"] == {"completed": 1, "pruned": 0, "diverged": 0, "failed": 1}
    failed, completed = place.book.trials.values()
    assert [loss.cause for loss in failed.losses] == ["device_memory"] * 2
    assert [attempt.step for attempt in failed.attempts] == [0, variants.STEP - SEGMENT]
    assert failed.decision is not None
    assert failed.decision.reason.startswith("OutOfMemoryError: CUDA out of memory")
    assert frozen(failed, None).constraints == {"device_memory": 1.0}
    assert (completed.losses, completed.steps) == ([], STEPS)
    pids = {mark.read_text() for mark in variants.marks(tmp_path)}
    assert len(pids) == variants.TIMES, "the worker was not replaced"
    note(
        "worker: torch.OutOfMemoryError, twice",
        "a fresh worker goes on from the checkpoint once; then the trial fails with a constraint; the search goes on",
        attempts=len(failed.attempts), workers_used=len(pids),
    )  # fmt: skip
