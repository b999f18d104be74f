"""What a book makes of its records, and which it refuses."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.book import Book
from pipeline.records import BudgetRecord, DecisionRecord, Record, TrialState
from tests.fakes.journal import attempt, decision, finish, late, loss, registration, run, segment, study, trial
from trainers.errors import IntegrityError
from trainers.stability.events import Event

FINAL = [state for state in TrialState if state.final]
EXPLODED = Event(kind="exploding_gradient", step=70, severity=0.5, action="stop")
WARNED = Event(kind="d_loss_zero", step=60, severity=0.5, action="warn")


def book_of(*records: Record) -> Book:
    book = Book()
    for record in (study(), *records):
        book.apply(record)
    return book


# -- what it tells -----------------------------------------------------------------------------------------------------


def test_a_trial_is_followed_from_question_to_decision() -> None:
    book = book_of(trial(0))
    one = book.trials[0]
    assert (one.number, one.state, one.steps, one.score, one.best) == (0, TrialState.RUNNING, 0, None, None)
    assert (one.checkpoint, one.event, one.device_seconds, one.run_id) == (None, None, 0, None)
    book.apply(attempt(0))
    book.apply(segment(0, 0, 0, 50, 3.0, checkpoint="a"))
    book.apply(loss(0))
    book.apply(attempt(0, 1, step=50))
    book.apply(segment(0, 1, 50, 100, 2.0))
    book.apply(segment(0, 2, 100, 120, 4.0, seconds=0.3))
    assert [record.attempt for record in one.attempts] == [0, 1]
    assert [record.cause for record in one.losses] == ["worker_lost"]
    assert (one.steps, one.score, one.best) == (120, 2.0, one.segments[1])
    assert one.checkpoint == ("a", 50)
    assert one.device_seconds == pytest.approx(0.5)
    book.apply(decision(0, TrialState.COMPLETED, score=2.0, best_index=1))
    assert (one.state, one.score, one.best) == (TrialState.COMPLETED, 2.0, one.segments[1])


def test_of_equal_scores_the_earlier_segment_is_best_and_one_without_a_score_never() -> None:
    one = book_of(trial(0), segment(0, 0, 0, 50), segment(0, 1, 50, 100, 2.0), segment(0, 2, 100, 150, 2.0)).trials[0]
    assert one.best is one.segments[1]


def test_the_last_score_counts_where_the_config_says_so() -> None:
    records = segment(0, 0, 0, 50, 2.0), segment(0, 1, 50, 100, 3.0), segment(0, 2, 100, 150)
    one = book_of(trial(0, score_at="last"), *records).trials[0]
    assert (one.best, one.score) == (one.segments[1], 3.0)


def test_the_decision_has_the_last_word_on_score_and_best() -> None:
    records = segment(0, 0, 0, 50, 2.0), segment(0, 1, 50, 100, 3.0)
    one = book_of(trial(0), *records, decision(0, TrialState.PRUNED, score=3.0, best_index=1)).trials[0]
    assert (one.best, one.score) == (one.segments[1], 3.0)


def test_the_newest_checkpoint_is_the_one_to_resume_from() -> None:
    kept = segment(0, 0, 0, 50, checkpoint="a"), segment(0, 1, 50, 100, checkpoint="b"), segment(0, 2, 100, 150)
    assert book_of(trial(0), *kept).trials[0].checkpoint == ("b", 100)


def test_a_checkpoint_that_was_found_corrupt_is_skipped() -> None:
    kept = segment(0, 0, 0, 50, checkpoint="a"), segment(0, 1, 50, 100, checkpoint="b")
    book = book_of(trial(0), *kept, loss(0, cause="checkpoint", blob="b"))
    assert book.trials[0].checkpoint == ("a", 50)
    book.apply(loss(0, cause="checkpoint", blob="a"))
    assert book.trials[0].checkpoint is None
    book.apply(segment(0, 2, 100, 150, checkpoint="c"))
    assert book.trials[0].checkpoint == ("c", 150)


def test_every_segment_knows_its_place_in_the_journal() -> None:
    book = book_of(trial(0), trial(1), segment(0, 0, 0, 50), run(0), segment(1, 0, 0, 50), segment(0, 1, 50, 100))
    assert (book.trials[0].order, book.trials[1].order, book.num_records) == ([3, 6], [5], 7)
    with pytest.raises(IntegrityError):
        book.apply(segment(0, 1, 50, 100))
    assert book.after([run(0), segment(1, 1, 50, 100)]).trials[1].order == [5, 8]
    assert (book.trials[1].order, book.num_records) == ([5], 7)


def test_a_trial_knows_when_it_begins_in_virtual_time() -> None:
    book = book_of(trial(0), trial(1, begins=300))
    assert [one.begins for one in book.trials.values()] == [0, 300]


def test_late_answers_are_counted_and_finishes_kept() -> None:
    book = book_of(trial(0), late(0), decision(0, TrialState.COMPLETED), late(0), finish(0), finish())
    assert (book.late, book.finishes) == (2, [finish(0), finish()])
    assert book.trials[0].state is TrialState.COMPLETED
    after = book.after([late(0), finish(0)])
    assert (after.late, len(after.finishes), book.late, len(book.finishes)) == (3, 3, 2, 2)


def test_the_event_is_the_one_that_stopped() -> None:
    stopped = segment(0, 0, 0, 80, events=(WARNED, EXPLODED))
    assert book_of(trial(0), stopped).trials[0].event == EXPLODED
    assert book_of(trial(0), segment(0, 0, 0, 80, events=(WARNED,))).trials[0].event is None
    refused = EXPLODED.model_copy(update={"kind": "refused_batch_norm", "step": 0})
    assert book_of(trial(0), decision(0, TrialState.DIVERGED, event=refused)).trials[0].event == refused


def test_a_suspended_trial_goes_on_with_its_next_attempt() -> None:
    book = book_of(trial(0), attempt(0), decision(0, TrialState.SUSPENDED))
    assert book.trials[0].state is TrialState.SUSPENDED
    assert book.finished == 0
    book.apply(attempt(0, 1))
    assert book.trials[0].state is TrialState.RUNNING


def test_counts_and_ranking() -> None:
    scores = {0: 3.0, 1: 1.0, 2: 1.0, 3: 0.5}
    ended = [decision(number, TrialState.COMPLETED, score=score) for number, score in scores.items() if number != 3]
    others = [
        decision(3, TrialState.PRUNED, score=0.5),
        decision(4, TrialState.DIVERGED),
        decision(5, TrialState.FAILED),
    ]
    unscored = decision(6, TrialState.COMPLETED)
    book = book_of(*(trial(number) for number in range(8)), *reversed(ended), *others, unscored)
    assert book.counts == {"completed": 4, "pruned": 1, "diverged": 1, "failed": 1}
    assert book.finished == 6
    assert [one.number for one in book.ranking] == [1, 2, 0]
    assert book.best is book.trials[1]


def test_an_empty_study_has_no_best() -> None:
    assert Book().best is None
    assert Book().counts == {"completed": 0, "pruned": 0, "diverged": 0, "failed": 0}


def test_the_newest_driver_says_what_the_config_is() -> None:
    book = book_of(BudgetRecord(at=9.0, config={"trials": 9}))
    assert book.config == {"trials": 9}
    assert book.study == study()


# -- what it refuses ---------------------------------------------------------------------------------------------------

BEGUN = (trial(0), attempt(0), segment(0, 0, 0, 50, 2.0))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (segment(0, 0, 0, 50, 2.0), "next segment must be 1, but got index=0"),
        (segment(0, 2, 50, 100), "next segment must be 1, but got index=2"),
        (segment(0, 1, 0, 50), "must go on from step 50, but got start=0"),
        (segment(0, 1, 60, 100), "must go on from step 50, but got start=60"),
        (segment(0, 1, 50, 50), "must go on from step 50, but got start=50, stop=50"),
        (attempt(0), "next attempt must be 1, but got attempt=0"),
        (attempt(0, 2), "next attempt must be 1, but got attempt=2"),
        (attempt(0, 1, step=51), "must begin in 0..50, but got step=51"),
        (decision(0, TrialState.RUNNING), "got state=running"),
        (decision(0, TrialState.COMPLETED, best_index=1), "has 1 segments, but got best_index=1"),
        (trial(0), "trial 0 was asked for twice"),
        (study(), "study record must come first and only once"),
        (segment(1, 0, 0, 50), "trial 1, which was never asked for"),
        (attempt(1), "trial 1, which was never asked for"),
        (loss(1), "trial 1, which was never asked for"),
        (decision(1, TrialState.FAILED), "trial 1, which was never asked for"),
        (run(1), "trial 1, which was never asked for"),
        (registration(1), "trial 1, which was never asked for"),
        (late(1), "trial 1, which was never asked for"),
        (finish(0, 1), "trial 1, which was never asked for"),
    ],
)
def test_an_impossible_record_is_refused_and_changes_nothing(record: Record, message: str) -> None:
    book = book_of(*BEGUN)
    before = deepcopy(book)
    with pytest.raises(IntegrityError, match=message):
        book.apply(record)
    assert book == before


@pytest.mark.parametrize("state", FINAL)
@pytest.mark.parametrize(
    "record", [attempt(0, 1, step=50), segment(0, 1, 50, 100), loss(0), *(decision(0, state) for state in TrialState)]
)
def test_final_is_final(state: TrialState, record: Record) -> None:
    book = book_of(*BEGUN, decision(0, state))
    before = deepcopy(book)
    with pytest.raises(IntegrityError, match=f"trial 0 is {state}, which is final"):
        book.apply(record)
    assert book == before


def test_a_final_trial_is_still_shown_and_registered() -> None:
    book = book_of(*BEGUN, decision(0, TrialState.COMPLETED), run(0, "one"), run(None, "all"), registration(0))
    assert (book.trials[0].run_id, book.run_id) == ("one", "all")
    assert book.registrations == [registration(0)]
    book.apply(run(0, "made anew"))
    assert book.trials[0].run_id == "made anew"


def test_nothing_comes_before_the_study() -> None:
    with pytest.raises(IntegrityError, match="must come first"):
        Book().apply(trial(0))


# -- whatever comes ----------------------------------------------------------------------------------------------------

NUMBERS = st.integers(0, 2)
STEPS = st.sampled_from([0, 10, 20, 30])
ANY_RECORD = st.one_of(
    st.builds(trial, NUMBERS),
    st.builds(attempt, NUMBERS, st.integers(0, 3), STEPS),
    st.builds(segment, NUMBERS, st.integers(0, 2), STEPS, STEPS, st.sampled_from([None, 1.0, 2.0])),
    st.builds(loss, NUMBERS),
    st.builds(decision, NUMBERS, st.sampled_from(TrialState), best_index=st.sampled_from([None, 0, 1])),
    st.builds(run, st.one_of(st.none(), NUMBERS)),
    st.builds(registration, NUMBERS),
    st.builds(late, NUMBERS),
    st.builds(finish, NUMBERS),
)


@settings(deadline=None)
@given(st.lists(ANY_RECORD, max_size=40))
def test_whatever_comes_a_book_stays_possible(records: list[Record]) -> None:
    book = book_of()
    taken: list[Record] = []
    for record in records:
        before = deepcopy(book)
        try:
            after = book.after([record])
        except IntegrityError:
            with pytest.raises(IntegrityError):
                book.apply(record)
            assert book == before
            continue
        assert book == before
        book.apply(record)
        assert book == after
        taken.append(record)
    assert book == book_of().after(taken)
    assert book.num_records == len(taken) + 1
    for number, one in book.trials.items():
        stops = [0, *(s.result.stop for s in one.segments)]
        assert [s.result.start for s in one.segments] == stops[:-1]
        assert stops == sorted(set(stops))
        assert [s.index for s in one.segments] == list(range(len(one.segments)))
        assert one.order == [taken.index(s) + 1 for s in one.segments]
        mine = [r for r in taken if isinstance(r, DecisionRecord) and r.trial == number]
        assert sum(r.state.final for r in mine) == one.state.final
        assert one.best is None or one.best in one.segments
