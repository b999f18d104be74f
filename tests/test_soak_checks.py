"""What the soak holds to be wrong, and how it counts; the soak itself takes many minutes (`make soak`)."""

from __future__ import annotations

from benchmarks import soak_checks
from pipeline.book import Book
from pipeline.ray_errors import before_training
from pipeline.records import Record, SegmentRecord, TrialState
from tests.fakes import journal

DONE = journal.decision(0, TrialState.COMPLETED, score=1.0, best_index=1)


def segment(index: int, attempt: int = 0, **more: str) -> SegmentRecord:
    blobs = {"history": f"h{index}", "samples": f"s{index}", "checkpoint": f"c{index}", "generator": f"g{index}"}
    record = journal.segment(0, index, 50 * index, 50 * index + 50, score=2.0 - index, **blobs | more)
    return record.model_copy(update={"attempt": attempt})


def records(*middle: Record) -> list[Record]:
    return [journal.study(), journal.trial(0, steps=100, segment_steps=50), journal.attempt(0), *middle]


def book(*middle: Record) -> Book:
    made = Book()
    for record in records(*middle):
        made.apply(record)
    return made


class ActorDiedError(Exception):
    """As Ray has one."""


def test_a_soak_that_killed_or_hit_nothing_proves_nothing():
    whole = book(segment(0), segment(1), DONE)
    hit = book(segment(0), journal.attempt(0, 1, 50), segment(1, 1), DONE)
    assert soak_checks.wrong_in_faults({"worker": 28, "driver": 3}, hit) == []
    assert soak_checks.wrong_in_faults({"driver": 3}, hit) == ["no worker was killed"]
    assert soak_checks.wrong_in_faults({"worker": 28}, hit) == ["no driver was killed"]
    assert soak_checks.wrong_in_faults({"worker": 28, "driver": 3}, whole) == ["no trial was hit"]


def test_a_driver_may_give_up_for_a_worker_that_was_killed_early_and_that_not_often():
    killed = before_training(ActorDiedError("its process was killed"))
    assert soak_checks.may_give_up(killed.exit_code, f"error: {killed}\n", 0)
    assert not soak_checks.may_give_up(killed.exit_code, f"error: {killed}\n", soak_checks.MOST_GIVEN_UP)
    assert not soak_checks.may_give_up(killed.exit_code, "error: Ray does not answer here", 0)
    assert not soak_checks.may_give_up(1, f"error: {killed}\n", 0)
    assert not soak_checks.may_give_up(None, f"{killed}, and was replaced\n", 0)


def test_a_whole_journal_has_nothing_wrong():
    assert soak_checks.wrong_in_journal(records(segment(0), segment(1), DONE), 1) == []


def test_a_trial_without_or_with_two_final_states_and_a_missed_budget_are_told():
    open_trial = soak_checks.wrong_in_journal(records(segment(0)), 1)
    assert open_trial == ["trial 0 has 0 final states", "0 trials are finished, but the budget was 1"]
    assert soak_checks.wrong_in_journal(records(DONE, DONE), 2) == ["trial 0 has 2 final states"]


def test_a_segment_that_is_there_twice_or_missing_is_told():
    [twice] = soak_checks.wrong_in_journal(records(segment(0), segment(0), segment(1), DONE), 1)
    [missing] = soak_checks.wrong_in_journal(records(segment(1), DONE), 1)
    assert "begins at 0," in twice
    assert "begins at 50," in missing


def test_every_trial_and_the_study_have_one_run_each_that_has_ended():
    whole = book(segment(0), segment(1), DONE)
    assert soak_checks.wrong_in_runs({"": ["FINISHED"], "u/0": ["FINISHED"]}, whole) == []
    assert soak_checks.wrong_in_runs({"": ["RUNNING"], "u/0": ["FINISHED"]}, whole) == [
        "the run of the study is RUNNING"
    ]
    assert soak_checks.wrong_in_runs({"": ["KILLED"], "u/0": ["FAILED"] * 2}, whole) == ["2 runs show u/0"]
    others = {"": ["FINISHED"], "u/7": ["FINISHED"]}
    assert soak_checks.wrong_in_runs(others, whole) == ["0 runs show u/0", "runs show u/7, which is no trial"]


def test_histories_samples_and_the_best_generator_are_all_that_stays_of_a_completed_trial():
    whole = book(segment(0), segment(1), DONE)
    needed = ["h0", "h1", "s0", "s1", "g1"]
    assert soak_checks.wrong_in_blobs(needed, whole, []) == []
    assert soak_checks.wrong_in_blobs([*needed, "c1"], whole, []) == ["nothing needs blob c1"]
    assert soak_checks.wrong_in_blobs([*needed, "g0"], whole, []) == ["nothing needs blob g0"]
    assert soak_checks.wrong_in_blobs(needed[1:], whole, []) == ["blob h0 is missing"]
    assert soak_checks.wrong_in_blobs([*needed, "p"], whole, ["p"]) == []
    assert soak_checks.wrong_in_blobs(needed, whole, ["p"]) == ["blob p is missing"]


def test_a_segment_for_each_attempt_that_another_replaced_counts_as_trained_again():
    again = book(segment(0), journal.loss(0), journal.attempt(0, 1, 50), segment(1, 1), DONE)
    assert soak_checks.work_of(again) == soak_checks.Work(useful=100, gone_back=0, in_flight=50)
    assert soak_checks.work_of(again).share == 100 / 150


def test_steps_behind_the_checkpoint_are_known_exactly():
    back = book(segment(0), journal.loss(0), journal.attempt(0, 1, 0), segment(1, 1), DONE)
    assert soak_checks.work_of(back) == soak_checks.Work(useful=100, gone_back=50, in_flight=50)
