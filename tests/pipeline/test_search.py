"""The loop, whatever its workers do: each trial is decided once, refused ones untrained, lost ones tried again."""

from __future__ import annotations

import pytest

from pipeline.config import HalvingConfig, RetryConfig, search_space, train_config, trial_seed
from pipeline.ledger import Ledger
from pipeline.records import TrialRecord
from pipeline.store import open_store
from search_spaces import defaults
from tests.fakes import journal
from tests.fakes.scripted_executor import Course
from tests.fakes.search_bench import (
    STUDY,
    Defaults,
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
from trainers.errors import NotGoodEnough, UserError


@pytest.fixture
def store():
    return MortalStore()


# -- to the budget -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_search_trains_every_trial_to_its_end(store, workers):
    search = config(trials=4, workers=workers)
    assert drive(store, search, executor(store, search, courses()))
    assert states(store) == ["completed"] * 4
    trials = book(store).trials
    assert [[(s.result.start, s.result.stop) for s in t.segments] for t in trials.values()] == [
        [(0, 10), (10, 20), (20, 30)]
    ] * 4
    assert [t.decision.reason for t in trials.values()] == ["trained 30 steps"] * 4


def test_on_a_disk_as_in_memory(tmp_path):
    store, search = open_store(tmp_path), config(trials=2)
    assert drive(store, search, executor(store, search, courses()))
    assert states(store) == ["completed"] * 2


def test_a_trial_trains_what_was_asked_with_a_seed_of_its_own(store):
    search = config(trials=3)
    drive(store, search, executor(store, search, courses()))
    specs = [trial.spec for trial in book(store).trials.values()]
    assert [spec.config.optim.lr_d for spec in specs] == [spec.params["optim.lr_d"] for spec in specs]
    assert [spec.key for spec in specs] == ["u/0", "u/1", "u/2"]
    assert len({spec.config.seed for spec in specs}) == 3


def test_the_best_segment_is_the_score_of_a_trial(store):
    search = config(trials=1)
    drive(store, search, executor(store, search, courses((3.0, 1.0, 2.0))))
    decision = book(store).trials[0].decision
    assert (decision.score, decision.best_index) == (1.0, 1)


def test_halving_stops_the_worse_of_two(store):
    search = config(trials=3, workers=1, halving=HalvingConfig(first_rung=10, eta=2))
    drive(store, search, executor(store, search, courses((2.0, 2.0, 2.0), (3.0, 0.0, 0.0), (1.0, 1.0, 1.0))))
    assert states(store) == ["completed", "pruned", "completed"]
    pruned = book(store).trials[1]
    assert (pruned.steps, pruned.score, pruned.decision.reason) == (10, 3.0, "not in the best 1/2 at step 10")


def test_a_diverged_trial_keeps_its_event_and_its_best_score(store):
    search, plan = config(trials=2, workers=1), courses((2.0, 3.0, None))
    plan[0] = Course(scores=(2.0, 3.0, None), diverges_in=2)
    drive(store, search, executor(store, search, plan))
    trial = book(store).trials[0]
    assert states(store) == ["diverged", "completed"]
    assert (trial.event.kind, trial.steps, trial.score, trial.decision.reason) == ("non_finite", 20, 2.0, "it is NaN")


def test_a_time_out_changes_nothing(store):
    search = config(trials=1)
    fake = executor(store, search, courses(), choose=answers("nobody", "nobody", "segment", "nobody"))
    assert drive(store, search, fake)
    assert fake.trained == [(0, 0, 10), (0, 10, 20), (0, 20, 30)]


def test_records_of_others_are_appended_at_each_tick(store):
    search = config(trials=1)

    def tick(seen):
        return [] if seen.trials[0].run_id else [journal.run(0, "run-of-0")]

    drive(store, search, executor(store, search, courses()), tick=tick)
    assert book(store).trials[0].run_id == "run-of-0"


# -- refused -----------------------------------------------------------------------------------------------------------


def test_a_refused_configuration_is_decided_without_a_worker_and_the_search_goes_on(store):
    search = config(trials=3)
    fake = executor(store, search, courses())
    assert drive(store, search, fake, asker=Defaults(search, refused=lambda number: number == 1))
    assert states(store) == ["completed", "diverged", "completed"]
    refused = book(store).trials[1]
    assert (refused.event.kind, refused.event.step) == ("refused_batch_norm_in_penalised_critic", 0)
    assert refused.attempts == []
    assert refused.decision.reason == refused.event.message
    assert {trial for _, trial, _ in fake.started} == {0, 2}


def test_a_budget_of_refused_configurations_ends(store):
    search = config(trials=4)
    fake = executor(store, search, courses())
    assert drive(store, search, fake, asker=Defaults(search, refused=lambda number: True))
    assert (states(store), fake.started) == (["diverged"] * 4, [])


def test_a_rule_that_only_warns_refuses_nothing(store):
    search = config(trials=1, train={"static_checks": "warn"})
    drive(store, search, executor(store, search, courses()), asker=Defaults(search, refused=lambda number: True))
    assert states(store) == ["completed"]


def test_a_trial_that_was_asked_for_and_not_refused_yet_is_refused_by_the_next_driver(store):
    search = config(trials=2)
    [_, _, penalised] = defaults(search_space(search))
    spec = journal.trial(0).spec.model_copy(
        update={"params": penalised, "config": train_config(search, penalised, trial_seed(search.seed, 0))}
    )
    with Ledger.open(store, STUDY) as ledger:
        ledger.append(journal.study(study=STUDY, config=search.model_dump(mode="json")))
        ledger.append(TrialRecord(at=2.0, spec=spec))
    fake = executor(store, search, courses())
    assert drive(store, search, fake)
    assert states(store) == ["diverged", "completed"]
    assert {trial for _, trial, _ in fake.started} == {1}


# -- losses ------------------------------------------------------------------------------------------------------------


def test_a_lost_trial_goes_on_from_its_checkpoint(store):
    search = config(trials=1)
    fake = executor(store, search, courses(), choose=answers("segment", "segment", "worker_lost"))
    assert drive(store, search, fake)
    trial = book(store).trials[0]
    assert [(a.attempt, a.step) for a in trial.attempts] == [(0, 0), (1, 20)]
    assert [s.attempt for s in trial.segments] == [0, 0, 1]
    assert [(loss.cause, loss.attempt) for loss in trial.losses] == [("worker_lost", 0)]
    assert fake.trained == [(0, 0, 10), (0, 10, 20), (0, 20, 30)]


def test_a_lost_trial_goes_to_a_worker_that_has_its_place(store):
    """The one in the stead of the lost worker never gets one: nobody waits for it while another is idle."""
    search = config(trials=2, workers=2, retries=RetryConfig(node_lost=1))
    fake = executor(store, search, courses(), choose=answers("nobody", "node_lost"), homeless_for=10**9)
    assert drive(store, search, fake)
    assert states(store) == ["completed"] * 2
    assert [(worker, trial) for worker, trial, _ in fake.started] == [("worker-0", 0), ("worker-1", 1), ("worker-1", 0)]


@pytest.mark.parametrize("schedule", ["throughput", "reproducible"])
def test_a_search_waits_for_a_place_where_no_other_worker_is_idle(store, schedule):
    search = config(trials=2, workers=1, retries=RetryConfig(node_lost=1), schedule=schedule)
    fake = executor(store, search, courses(), choose=answers("segment", "node_lost"), homeless_for=3)
    assert drive(store, search, fake)
    assert states(store) == ["completed"] * 2


def test_a_failed_trial_is_made_up_for_once_its_worker_has_a_place_again(store):
    search = config(trials=1, workers=1)
    fake = executor(store, search, courses(), choose=answers("device_memory"), homeless_for=3)
    assert drive(store, search, fake)
    assert states(store) == ["failed", "completed"]


def test_a_search_that_waits_for_a_place_can_be_stopped(store):
    search = config(trials=1, workers=1, retries=RetryConfig(node_lost=1))
    fake = executor(store, search, courses(), choose=answers("node_lost"), homeless_for=10**9)
    assert not drive(store, search, fake, should_stop=stop_after(9))
    assert states(store) == ["suspended"]


def test_a_lost_trial_goes_first(store):
    two = config(trials=2, workers=2)
    drive(store, two, executor(store, two, courses()), should_stop=stop_after(4))
    one = config(trials=2, workers=1)
    fake = executor(store, one, courses(), choose=answers("worker_lost"))
    drive(store, one, fake)
    assert [trial for _, trial, _ in fake.started] == [0, 0, 1]


@pytest.mark.parametrize(
    ("cause", "retries"),
    [
        ("worker_lost", RetryConfig(worker_lost=2, device_memory=0)),
        ("device_memory", RetryConfig(worker_lost=0, device_memory=2)),
    ],
)
def test_a_trial_whose_retries_are_used_up_fails_and_another_takes_its_place(store, cause, retries):
    search = config(trials=2, workers=1, retries=retries)
    assert drive(store, search, executor(store, search, courses(), choose=answers(*[cause] * 3)))
    assert states(store) == ["failed", "completed", "completed"]
    decision = book(store).trials[0].decision
    assert decision.reason == f"worker-0: {cause}"
    assert decision.traceback == f"Traceback of {cause}"


def test_three_failures_in_a_row_stop_the_search(store):
    search = config(trials=9, workers=1, retries=RetryConfig(worker_lost=0, device_memory=0))
    fake = executor(store, search, courses(), choose=answers(*["segment"] * 3, *["device_memory"] * 3))
    with pytest.raises(NotGoodEnough, match="the last 3 trials failed, the latest of: worker-0: device_memory"):
        drive(store, search, fake)
    assert states(store) == ["completed", "failed", "failed", "failed"]


def test_two_failures_in_a_row_do_not(store):
    search = config(trials=3, workers=1, retries=RetryConfig(worker_lost=0))
    lost = ["worker_lost"] * 2
    assert drive(store, search, executor(store, search, courses(), choose=answers(*lost, *["segment"] * 3, *lost)))
    assert states(store) == ["failed", "failed", "completed", "failed", "failed", "completed", "completed"]


def test_the_users_error_fails_the_trial_and_stops_the_search(store):
    search = config(trials=3, workers=2)
    fake = executor(store, search, courses(), choose=answers("segment", "user_error"))
    with pytest.raises(UserError, match=r"trial 1 failed: worker-1: user_error \(`gansearch show 1` tells more\)"):
        drive(store, search, fake)
    assert states(store) == ["suspended", "failed"]
    assert book(store).trials[1].decision.traceback == "Traceback of user_error"
    assert drive(store, search, executor(store, search, courses()))  # once it is mended
    assert states(store) == ["completed", "failed", "completed", "completed"]
