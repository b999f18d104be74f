"""The projector shows what is appended, survives a tracker that fails, and never makes the driver wait."""

import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest

from pipeline.projector import Projector
from pipeline.projectors import Projectors
from pipeline.records import Record, RunRecord
from tests.fakes import journal
from tests.fakes.tracker import MemoryTracker
from trainers.errors import IntegrityError


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


def test_the_newest_record_of_a_run_is_where_it_was_shown_last(records):
    noted = []
    for uri in ("http://a", "http://b", "http://a", "http://a"):
        projector = Projector(records, MemoryTracker(tracking_uri=uri))
        assert projector.show_now("suspended") == 0
        runs = projector.drain()
        noted.append({(run.trial, run.tracking_uri) for run in runs})
        records += runs
    assert noted == [{(None, uri), (0, uri)} for uri in ("http://a", "http://b", "http://a")] + [set()]


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


def test_close_ends_the_study(records, tracker, projector):
    projector.start()
    assert projector.close(10, "finished") == 0
    assert tracker.outcome == "finished"


def test_close_tells_what_is_left_and_comes_back_in_time(tracker, projector):
    tracker.down = True
    projector.start()
    began = time.monotonic()
    assert projector.close(0.2, "suspended") == 4
    assert time.monotonic() - began < 5


def test_what_was_removed_meanwhile_counts_as_not_shown_and_is_not_tried_again(records, tracker, projector):
    projector.start()
    wait_for(lambda: projector.unsynced == 0)
    tracker.gone = True
    records.append(journal.segment(0, 1, 50, 100))
    projector.notify()
    wait_for(lambda: projector.failure is not None)
    calls = tracker.calls
    records.append(journal.segment(0, 2, 100, 150))
    assert projector.close(5, "finished") == len(records)
    assert projector.failure == "somebody removed it"
    assert tracker.calls == calls


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


# -- what cannot be shown whole ----------------------------------------------------------------------------------------


def test_what_cannot_be_shown_whole_is_told_and_not_tried_for_ever(records, tracker, projector):
    records += [journal.trial(1), journal.attempt(1), journal.segment(1, 0, 0, 50)]
    tracker.broken = {0: IntegrityError("blob abc is missing")}
    projector.start()
    assert projector.close(10, "finished") == 3
    assert (str(projector.integrity), projector.failure) == (
        "blob abc is missing",
        "IntegrityError: blob abc is missing",
    )
    assert (tracker.steps[1], tracker.outcome) == (50, "finished")
    assert {run.run_id for run in drain(projector.outbox)} == {"run-None", "run-0", "run-1"}, (
        "it has a run all the same"
    )
    assert tracker.calls == 4


def test_what_was_not_shown_whole_is_tried_with_the_trials_next_record(records, tracker, projector):
    tracker.broken = {0: IntegrityError("blob abc is missing")}
    projector.start()
    wait_for(lambda: projector.integrity is not None)
    tracker.broken = {}
    records.append(journal.segment(0, 1, 50, 100))
    assert projector.close(10) == 0


# -- in the foreground, and several at once ----------------------------------------------------------------------------


def test_showing_now_gives_up_after_failures_in_a_row(tracker, projector):
    tracker.down = True
    assert projector.show_now("finished") == 4
    assert (tracker.calls, projector.failure) == (3, "ConnectionError: nobody answers")


def test_showing_now_shows_all_that_can_be_shown(records, tracker, projector):
    for number in range(1, 9):
        records += [journal.trial(number), journal.segment(number, 0, 0, 50)]
    tracker.refused = {0, 1}
    assert projector.show_now("finished") == 3 + 2
    assert [number for number in tracker.steps if number is not None] == [2, 3, 4, 5, 6, 7, 8]
    tracker.refused = set()
    assert projector.show_now("finished") == 0
    assert tracker.outcome == "finished"


def test_a_tracker_that_is_down_does_not_hold_up_another(records):
    first, second = MemoryTracker(down=True), MemoryTracker()
    both = Projectors(records, [first, second])
    both.start()
    wait_for(lambda: second.steps == {None: 0, 0: 50})
    assert both.close(0.5, "suspended") == {"MLflow": 4}
    assert (both.failure, second.outcome) == ("MLflow: ConnectionError: nobody answers", "suspended")
    first.down = False
    assert Projectors(records, [first, second]).show_now("suspended") == 0


def test_what_waits_for_a_tracker_takes_no_memory_by_the_record(records, tracker):
    """10,000 records of one trial wait as one number; the book, which is the study's size, is the search's own too."""
    tracker.down = True
    projector = Projector(records, tracker)
    for index in range(1, 10_001):
        records.append(journal.segment(0, index, 50 * index, 50 * index + 50))
    assert projector.show_now("suspended") == 10_004
    backlog = projector._backlog
    held = (backlog._waiting, backlog._broken, backlog._began, backlog._runs)
    assert sum(map(len, held)) <= 4
    assert projector.outbox.qsize() == 0
