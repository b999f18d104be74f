"""A search goes on where the last driver left it: stopped, dead, or with segments to train again."""

from __future__ import annotations

import pytest

from pipeline.config import RetryConfig
from pipeline.ledger import Ledger, read_records
from pipeline.ports import WorkersGoneError
from pipeline.records import BudgetRecord, DecisionRecord
from tests.fakes import journal
from tests.fakes.scripted_executor import Course
from tests.fakes.search_bench import (
    STUDY,
    DriverDiedError,
    MortalStore,
    answers,
    book,
    config,
    courses,
    drive,
    executor,
    states,
    stop_after,
)
from trainers.errors import IntegrityError, UserError


@pytest.fixture
def store():
    return MortalStore()


# -- trained again -----------------------------------------------------------------------------------------------------


def die_before_a_checkpoint(store, search):
    """Two segments are committed, and the third would have the first checkpoint: all have to be trained again."""

    def tick(seen):
        if seen.trials[0].steps >= 20:
            raise DriverDiedError
        return []

    with pytest.raises(DriverDiedError):
        drive(store, search, executor(store, search, courses()), tick=tick)


def test_segments_without_a_checkpoint_are_trained_again_and_committed_once(store):
    search = config(trials=1, segments=5, train={"checkpoint_every": 3})
    die_before_a_checkpoint(store, search)
    again = executor(store, search, courses())
    assert drive(store, search, again)
    assert again.trained == [(0, start, start + 10) for start in (0, 10, 20, 30, 40)]
    assert [(s.result.stop, s.attempt) for s in book(store).trials[0].segments] == [
        (10, 0),
        (20, 0),
        (30, 1),
        (40, 1),
        (50, 1),
    ]


def test_segments_between_two_checkpoints_do_not_cost_the_older_one(store):
    search = config(trials=1, segments=6, train={"checkpoint_every": 3})
    fake = executor(store, search, courses(), choose=answers(*["segment"] * 5, "worker_lost"))
    assert drive(store, search, fake)
    assert [step for _, _, step in fake.started] == [0, 30]


def test_another_history_for_the_same_steps_is_an_error(store):
    search = config(trials=1, train={"checkpoint_every": 3})
    changed = {0: Course(scores=courses()[0].scores, salt="!")}
    die_before_a_checkpoint(store, search)
    again = executor(store, search, changed)
    with pytest.raises(IntegrityError, match="trial 0, trained again from its checkpoint to step 10, gave history"):
        drive(store, search, again)


def test_another_environment_may_give_another_history(store):
    search = config(trials=1, train={"checkpoint_every": 3})
    changed = {0: Course(scores=courses()[0].scores, salt="!")}
    elsewhere = journal.ENVIRONMENT.model_copy(update={"cpu": "x86_64 AVX512"})
    die_before_a_checkpoint(store, search)
    again = executor(store, search, changed, environment=elsewhere)
    assert drive(store, search, again)
    environments = [s.result.environment.cpu for s in book(store).trials[0].segments]
    assert environments == [journal.ENVIRONMENT.cpu] * 2 + ["x86_64 AVX512"]


def test_code_whose_difference_was_allowed_may_give_another_history(store):
    search = config(trials=1, segments=5, train={"checkpoint_every": 4})
    changed = {0: Course(scores=courses()[0].scores, salt="!")}
    die_before_a_checkpoint(store, search)
    with Ledger.open(store, STUDY) as ledger:
        ledger.append(BudgetRecord(at=1.0, config=ledger.book.config, allowed=("code: c0de in the study, edoc now",)))
    assert not drive(store, search, executor(store, search, changed), should_stop=stop_after(4))
    assert book(store).trials[0].steps == 30
    taken_back = executor(store, search, courses())  # what was allowed once is not told again
    assert drive(store, search, taken_back)
    assert taken_back.trained[0] == (0, 0, 10)


# -- stopped and resumed -----------------------------------------------------------------------------------------------


def test_a_search_that_is_stopped_suspends_its_trials(store):
    search = config(trials=5, workers=2)
    fake = executor(store, search, courses())
    assert not drive(store, search, fake, should_stop=stop_after(4))
    assert states(store) == ["suspended"] * 2
    assert sum(trial.steps for trial in book(store).trials.values()) == 10 * len(fake.trained)


@pytest.mark.parametrize("schedule", ["throughput", "reproducible"])
def test_workers_that_are_ended_together_with_the_search_cost_no_try(store, schedule):
    """Whoever sends SIGTERM to a process group ends the workers in the same moment."""
    search = config(trials=2, workers=2, retries=RetryConfig(worker_lost=0), schedule=schedule)
    stop = []

    def end(workers):
        stop.append(True)
        return [(worker, "worker_lost") for worker in workers]

    for _ in range(3):
        stop.clear()
        assert not drive(store, search, executor(store, search, courses(), choose=end), should_stop=lambda: bool(stop))
        assert states(store) == ["suspended"] * 2
    assert all(trial.losses == [] for trial in book(store).trials.values())
    assert drive(store, search, executor(store, search, courses()))


def test_a_users_error_counts_though_the_search_stops(store):
    search, stop = config(trials=1, workers=1), []

    def fail(workers):
        stop.append(True)
        return [(worker, "user_error") for worker in workers]

    with pytest.raises(UserError, match="trial 0 failed"):
        drive(store, search, executor(store, search, courses(), choose=fail), should_stop=lambda: bool(stop))
    assert states(store) == ["failed"]


def test_a_search_whose_workers_are_all_gone_ends_as_one_that_is_stopped_where_it_was_asked_to(store):
    search = config(trials=2, workers=2)

    def gone(workers):
        raise WorkersGoneError("Ray has ended")

    with pytest.raises(WorkersGoneError):
        drive(store, search, executor(store, search, courses(), choose=gone))
    assert states(store) == ["suspended"] * 2
    stop = []

    def stopped(workers):
        stop.append(True)
        gone(workers)

    assert not drive(store, search, executor(store, search, courses(), choose=stopped), should_stop=lambda: bool(stop))
    assert states(store) == ["suspended"] * 2
    assert drive(store, search, executor(store, search, courses()))


def test_a_search_that_is_stopped_at_once_trains_nothing_and_says_it_once(store):
    search = config(trials=2)
    drive(store, search, executor(store, search, courses()), should_stop=stop_after(3))
    before = len(read_records(store, STUDY))
    fake = executor(store, search, courses())
    assert not drive(store, search, fake, should_stop=lambda: True)
    assert fake.started == []
    assert len(read_records(store, STUDY)) == before


def test_suspended_trials_go_on_before_new_ones_begin(store):
    search = config(trials=4, workers=2)
    drive(store, search, executor(store, search, courses()), should_stop=stop_after(4))
    steps = {trial.number: trial.steps for trial in book(store).trials.values()}
    fake = executor(store, search, courses())
    assert drive(store, search, fake)
    assert [(trial, step) for _, trial, step in fake.started][:2] == list(steps.items())
    assert states(store) == ["completed"] * 4


def test_a_trial_that_only_lacks_its_decision_is_not_trained_again(store):
    """A second Ctrl-C may come between the two."""
    search = config(trials=2, workers=1)
    drive(store, search, executor(store, search, courses()), should_stop=stop_after(9))
    records = read_records(store, STUDY)
    decided = next(
        index for index, record in enumerate(records) if isinstance(record, DecisionRecord) and record.state.final
    )
    cut = MortalStore()
    cut.blobs = store.blobs
    with Ledger.open(cut, STUDY) as ledger:
        ledger.append(*records[:decided])
    assert (book(cut).trials[0].steps, states(cut)) == (30, ["running"])
    fake = executor(cut, search, courses())
    assert drive(cut, search, fake)
    assert {trial for _, trial, _ in fake.started} == {1}
    assert states(cut) == ["completed"] * 2


def test_a_finished_study_is_left_alone(store):
    search = config(trials=2)
    drive(store, search, executor(store, search, courses()))
    before = read_records(store, STUDY)
    assert drive(store, search, executor(store, search, courses()))
    assert read_records(store, STUDY) == before


def test_a_larger_budget_extends_a_finished_study(store):
    drive(store, config(trials=2), executor(store, config(trials=2), courses()))
    larger = config(trials=5)
    fake = executor(store, larger, courses())
    assert drive(store, larger, fake)
    assert states(store) == ["completed"] * 5
    assert {trial for _, trial, _ in fake.started} == {2, 3, 4}


def test_a_smaller_budget_still_ends_what_has_begun(store):
    drive(store, config(trials=4, workers=3), executor(store, config(workers=3), courses()), should_stop=stop_after(4))
    assert drive(store, config(trials=1), executor(store, config(), courses()))
    assert states(store) == ["completed"] * 3


def test_a_trial_without_a_segment_goes_on_from_nothing(store):
    search = config(trials=1)
    with pytest.raises(DriverDiedError):
        drive(store, search, executor(store, search, courses(), choose=_die))
    fake = executor(store, search, courses())
    assert drive(store, search, fake)
    assert [step for _, _, step in fake.started] == [0]
    assert [a.attempt for a in book(store).trials[0].attempts] == [0, 1]


def _die(workers):
    raise DriverDiedError
