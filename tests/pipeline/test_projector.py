"""The projector shows what is appended, survives a tracker that fails, and never makes the driver wait."""

import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest

from pipeline.projector import Projector
from pipeline.records import Record, RunRecord
from tests.fakes import journal
from tests.fakes.tracker import MemoryTracker


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)


def drain(outbox: "SimpleQueue[RunRecord]") -> list[RunRecord]:
    return [outbox.get() for _ in range(outbox.qsize())]


@pytest.fixture
def records() -> list[Record]:
    return [journal.study(), journal.trial(0), journal.attempt(0), journal.segment(0, 0, 0, 50)]


@pytest.fixture
def tracker() -> MemoryTracker:
    return MemoryTracker()


@pytest.fixture
def projector(records: list[Record], tracker: MemoryTracker) -> Iterator[Projector]:
    made = Projector(records, tracker)
    yield made
    if made._thread.is_alive():
        tracker.down = False
        made.close(10)


def test_what_is_there_and_what_is_appended_is_shown(records, tracker, projector):
    projector.start()
    wait_for(lambda: projector.unsynced == 0)
    assert tracker.steps == {None: 0, 0: 50}
    assert tracker.began == {None: 1.5, 0: 2.0}
    records.append(journal.segment(0, 1, 50, 100))
    projector.notify()
    wait_for(lambda: tracker.steps[0] == 100)
    assert projector.close(10) == 0
    assert projector.failure is None
    assert tracker.outcome is None, "close without an outcome leaves the study's run as it is"


def test_every_run_enters_the_outbox_once_and_never_when_the_journal_has_it(records, tracker, projector):
    records.append(RunRecord(at=3.0, trial=None, run_id="run-None", tracking_uri="memory://"))
    projector.start()
    wait_for(lambda: projector.unsynced == 0)
    records.append(journal.segment(0, 1, 50, 100))
    assert projector.close(10) == 0
    assert [(run.trial, run.run_id) for run in drain(projector.outbox)] == [(0, "run-0")]


def test_a_run_that_was_made_anew_enters_the_outbox(records, projector):
    records.append(RunRecord(at=3.0, trial=0, run_id="of a database that was deleted", tracking_uri="memory://"))
    projector.start()
    assert projector.close(10) == 0
    assert {run.run_id for run in drain(projector.outbox)} == {"run-None", "run-0"}


def test_an_outage_is_survived_and_nothing_is_lost(records, tracker, projector):
    tracker.down = True
    projector.start()
    wait_for(lambda: projector.failure is not None)
    assert projector.failure == "ConnectionError: nobody answers"
    assert projector.unsynced == 4
    records.append(journal.segment(0, 1, 50, 100))
    tracker.down = False
    projector.notify()
    wait_for(lambda: projector.unsynced == 0)
    assert tracker.steps[0] == 100
    assert projector.failure is None


def test_a_trial_that_cannot_be_shown_does_not_hold_up_the_others(records, tracker, projector):
    records += [journal.trial(1), journal.attempt(1), journal.segment(1, 0, 0, 50)]
    tracker.refused = {0}
    projector.start()
    wait_for(lambda: 1 in tracker.steps)
    wait_for(lambda: projector.unsynced == 3)
    assert projector.failure == "ValueError: trial 0 cannot be shown"


def test_close_ends_the_study_at_its_last_records_time(records, tracker, projector):
    projector.start()
    assert projector.close(10, "finished") == 0
    assert (tracker.outcome, tracker.ended_at) == ("finished", 4.0)


def test_close_tells_what_is_left_and_comes_back_in_time(tracker, projector):
    tracker.down = True
    projector.start()
    began = time.monotonic()
    assert projector.close(0.2, "suspended") == 4
    assert time.monotonic() - began < 5


def test_close_counts_a_study_that_could_not_be_ended(records, tracker, projector):
    projector.start()
    wait_for(lambda: projector.unsynced == 0)
    tracker.down = True
    assert projector.close(0.2, "finished") == 1


def test_appending_never_waits_for_a_tracker_that_is_down(records, tracker, projector):
    tracker.down = True
    projector.start()
    wait_for(lambda: projector.failure is not None)
    began = time.monotonic()
    for index in range(1, 1000):
        records.append(journal.segment(0, index, 50 * index, 50 * index + 50))
        projector.notify()
    assert time.monotonic() - began < 5
    assert tracker.calls < 20, "a tracker that is down is asked rarely"


def test_what_was_never_started_can_be_closed(tracker, projector):
    assert projector.close(10, "suspended") == 4
    assert tracker.calls == 0
