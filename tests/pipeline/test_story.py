"""The story of a trial, and the trials that had an event."""

import pytest

from pipeline.records import SegmentRecord, TrialState
from pipeline.story import having, story
from tests.fakes import shown
from tests.fakes.memory_store import MemoryStore
from trainers.errors import ConfigError
from trainers.stability.events import Event

WARNED = Event(kind="oscillation", step=40, severity=0.4, action="warn", message="round and round")


@pytest.fixture
def book():
    """Trial 0 is completed and clean, 1 diverged, 2 completed with a warning, and 3 has not been trained."""
    store = MemoryStore()
    warned = shown.trial(store, 2)
    first = next(place for place, record in enumerate(warned) if isinstance(record, SegmentRecord))
    result = warned[first].result.model_copy(update={"events": (WARNED,)})
    warned[first] = warned[first].model_copy(update={"result": result})
    trials = [*shown.trial(store, 0), *shown.trial(store, 1, TrialState.DIVERGED), *warned]
    return shown.book_of([shown.study(store), *trials, *shown.trial(store, 3, None, segments=0)])


def test_a_trial_that_was_ended_tells_by_what_and_what_to_change(book):
    assert story(book.trials[1], shown.METRIC) == [
        "trial 001 wgan_gp lr_d=2e-4 lambda=9.1: diverged after 100 steps",
        f"{shown.METRIC}: 6 at step 50, 5 at step 100",
        "step     73  exploding_gradient (stop, severity 0.5): "
        "the discriminator's gradient norm was above 100 for 50 steps",
        "what to change after exploding_gradient: lower the player's learning rate, or a penalty's lambda; "
        "give D a penalty where it has none",
    ]


def test_what_was_as_severe_before_it_is_advised_upon_too_and_what_was_less_is_not(book):
    ended = book.trials[1].event
    before = [
        ended.model_copy(update={"kind": "non_finite", "step": 2, "severity": 1.0, "action": "warn"}),
        ended.model_copy(update={"kind": "oscillation", "step": 3, "severity": 0.4, "action": "warn"}),
    ]
    last = book.trials[1].segments[-1]
    told = last.result.model_copy(update={"events": (*before, ended)})
    book.trials[1].segments[-1] = last.model_copy(update={"result": told})
    advised = [line.split()[4].rstrip(":") for line in story(book.trials[1], shown.METRIC) if line.startswith("what")]
    assert advised == ["exploding_gradient", "non_finite"]


def test_a_suspended_trial_waits_and_a_failed_one_is_not_called_clean():
    store = MemoryStore()
    states = (TrialState.SUSPENDED, TrialState.FAILED)
    book = shown.book_of(
        [shown.study(store), *(r for n, state in enumerate(states) for r in shown.trial(store, n, state))]
    )
    assert story(book.trials[0], shown.METRIC)[-1].startswith("it waits for the same command, which goes on: ")
    lines = story(book.trials[1], shown.METRIC)
    assert "no detector saw anything" not in lines
    assert lines[-1].startswith("it ended: ")


def test_a_clean_trial_says_so_and_why_it_ended(book):
    lines = story(book.trials[0], shown.METRIC)
    assert lines[-2:] == ["no detector saw anything", "it ended: it is completed"]


def test_a_warning_is_told_with_its_advice(book):
    lines = story(book.trials[2], shown.METRIC)
    assert "step     40  oscillation (warn, severity 0.4): round and round" in lines
    assert lines[-1].startswith("what to change after oscillation: add penalty=r1")


def test_a_trial_that_was_never_scored_says_so(book):
    assert "it was never scored" in story(book.trials[3], shown.METRIC)


def test_trials_are_found_by_what_ended_them_and_by_what_was_only_told(book):
    trials = book.trials.values()
    assert [(t.number, e.step) for t, e in having(trials, "exploding_gradient")] == [(1, 73)]
    assert [(t.number, e) for t, e in having(trials, "oscillation")] == [(2, WARNED)]
    assert having(trials, "memorisation") == []


def test_an_unknown_kind_is_refused_with_the_nearest_one(book):
    with pytest.raises(ConfigError, match="unknown kind 'oscilation'; did you mean 'oscillation'"):
        having(book.trials.values(), "oscilation")
