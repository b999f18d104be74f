"""The loop where a trial waits for its turn or a worker, and where another driver or place left something behind."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pipeline.config import HalvingConfig, RetryConfig
from pipeline.ledger import Ledger
from tests.fakes import journal
from tests.fakes.journal import ENVIRONMENT
from tests.fakes.scripted_executor import Course
from tests.fakes.search_bench import (
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
from trainers.errors import ConfigError, GansearchError


@pytest.fixture
def store():
    return MortalStore()


def test_fewer_workers_than_unfinished_trials_take_turns_in_virtual_time(store):
    """Each rests on a segment that may decide, and the trial whose turn it is has none: one gives its worker away."""
    two = config(trials=4, workers=3, schedule="reproducible")
    drive(store, two, executor(store, two, courses()), should_stop=stop_after(5))
    assert len(book(store).unfinished) == 3
    one = executor(store, two, courses(), placeless=frozenset({"worker-1", "worker-2"}))
    assert drive(store, two, one)
    assert states(store) == ["completed"] * 4


@pytest.mark.parametrize("first", ["worker-0", "worker-1"])
def test_in_virtual_time_a_trial_fails_when_it_is_due_whoever_is_heard_first(store, first):
    search = config(trials=4, workers=2, schedule="reproducible")
    plan = courses() | {0: Course(scores=(1.0, 1.0, 1.0), diverges_in=1), 1: Course(scores=(1.0,), too_large_in=1)}
    fake = executor(
        store, search, plan, choose=lambda workers: [(first if first in workers else workers[0], "segment")]
    )
    assert drive(store, search, fake)
    assert states(store) == ["diverged", "failed", "completed", "completed", "completed"]
    assert [trial.begins for trial in book(store).trials.values()] == [0, 0, 10, 10, 40]


class Witness(Defaults):
    """It notes which trials it knows to have ended when it is asked for one."""

    asked: list[tuple[int, ...]]

    def ask(self, number, trials):
        self.asked.append(tuple(trial.number for trial in trials if trial.state.final))
        return super().ask(number, trials)


@pytest.mark.parametrize("at_once", [1, 2])
def test_in_virtual_time_a_search_that_gives_up_asks_nothing_of_those_that_end_at_the_same_time(store, at_once):
    """Three fail in a row, the third as the fourth trial diverges: whoever goes on fills one place, then the other."""
    search = config(trials=6, workers=2, schedule="reproducible")
    plan = courses() | {number: Course(scores=(1.0,), too_large_in=1) for number in range(3)}
    plan |= {3: Course(scores=(1.0,), diverges_in=1)}
    witness = Witness(search)
    witness.asked = []
    fakes = [
        executor(store, search, plan, choose=lambda workers: [(worker, "segment") for worker in workers[:at_once]])
        for _ in range(2)
    ]
    with pytest.raises(GansearchError, match="the last 3 trials failed"):
        drive(store, search, fakes[0], asker=witness)
    assert drive(store, search, fakes[1], asker=witness)
    assert states(store)[:4] == ["failed", "failed", "failed", "diverged"]
    assert witness.asked[:6] == [(), (), (0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)]


def test_a_segment_that_went_well_and_elsewhere_does_not_is_a_divergence(store):
    search = config(trials=1, train={"checkpoint_every": 3})
    drive(store, search, executor(store, search, courses()), should_stop=stop_after(3))
    assert len(book(store).trials[0].segments) == 2
    other = ENVIRONMENT.model_copy(update={"cpu": "another"})
    plan = courses() | {0: Course(scores=(6.0, 5.0, 4.0), diverges_in=1)}
    assert drive(store, search, executor(store, search, plan, environment=other))
    assert states(store) == ["diverged"]


def test_a_message_that_is_no_text_is_told_all_the_same(store):
    search = config(trials=1, workers=1, retries=RetryConfig(worker_lost=0))
    fake = executor(store, search, courses(), choose=answers("worker_lost"))
    fake.detail = "cannot parse \udcff.png"
    assert drive(store, search, fake)
    assert [loss.detail for loss in book(store).trials[0].losses] == ["cannot parse \\udcff.png"]


def test_a_driver_that_died_before_it_set_a_checkpoint_aside_leaves_it_to_the_next(store):
    search = config(trials=1, retries=RetryConfig(checkpoint=1))
    drive(store, search, executor(store, search, courses()), should_stop=stop_after(3))
    [bad, _] = book(store).trials[0].checkpoint
    with Ledger.open(store, search.study) as ledger:
        ledger.append(journal.attempt(0, 1), journal.loss(0, attempt=1, cause="checkpoint", blob=bad))
    assert drive(store, search, executor(store, search, courses()))
    assert [name for name in store.aside if bad in name]


def test_a_trial_that_was_taken_away_gets_a_worker_before_its_held_segments_count(store):
    search = config(
        trials=2,
        segments=6,
        workers=2,
        schedule="reproducible",
        retries=RetryConfig(),
        halving=HalvingConfig(enabled=True, first_rung=30, eta=2),
    )
    lost = []

    def choose(workers):
        if not lost:
            if "worker-1" in workers:
                return [("worker-1", "segment")]
            lost.append(1)
            return [("worker-0", "worker_lost")]
        if len(lost) == 1 and workers == ["worker-1"]:  # nobody answers until worker-0 has its place
            return []
        lost.append(1)
        return [("worker-0" if "worker-0" in workers else workers[0], "segment")]

    fake = executor(store, search, courses(), choose=choose, homeless_for=2)
    assert drive(store, search, fake)
    assert ("worker-0", 1, 0) in fake.started
    assert states(store) == ["completed"] * 2


def test_a_resting_worker_of_a_node_that_died_is_given_no_trial(store):
    """Each would cost the trial that is due a try, and a few of them the trial itself."""
    search = config(trials=8, workers=8, schedule="reproducible", retries=RetryConfig())
    dead = ("worker-0", "worker-5", "worker-6", "worker-7")
    gone = []

    def choose(workers):
        living = [worker for worker in workers if worker != "worker-0"]
        if not gone:
            if living:
                return [(living[0], "segment")]
            gone.append(1)
            fake.placeless = frozenset(dead)
            return [("worker-0", "node_lost")]
        lost = [worker for worker in workers if worker in dead]
        return [(lost[0], "node_lost")] if lost else [(workers[0], "segment")]

    fake = executor(store, search, courses(), choose=choose)
    assert drive(store, search, fake)
    assert states(store) == ["completed"] * 8
    assert [loss.cause for trial in book(store).trials.values() for loss in trial.losses] == ["node_lost"]


@dataclass
class Impossible(Defaults):
    """Asks, from its second trial on, for what no configuration accepts."""

    def ask(self, number, trials):
        params = super().ask(number, trials)
        return params if number == 0 else params | {"optim.lr_d": -1.0}


def test_an_asker_that_wants_what_cannot_be_trained_ends_the_search_and_loses_nothing(store):
    search = config(trials=3, workers=1)
    with pytest.raises(ConfigError) as caught:
        drive(store, search, executor(store, search, courses()), asker=Impossible(search))
    told = str(caught.value)
    assert told.startswith("space 'classic' asks for what cannot be trained (")
    assert "optim.lr_d=-1.0" in told
    assert "greater than 0" in told
    assert states(store) == ["completed"]
    assert drive(store, search, executor(store, search, courses()))  # with another space, say
    assert states(store) == ["completed"] * 3
