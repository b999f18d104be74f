"""Decisions are functions of values: halving against an oracle, stop, retry, and what may be discarded."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.book import Book, Trial
from pipeline.config import HalvingConfig, RetryConfig
from pipeline.policies import (
    KEPT,
    collected,
    committed_before,
    discardable,
    garbage,
    hopeless,
    kept,
    may_decide,
    may_retry,
    rungs,
    score_at,
    survives,
    to_name,
    verdict,
)
from pipeline.records import Cause, TrialState
from tests.fakes import journal
from trainers.errors import IntegrityError
from trainers.stability.events import Event

HALVING = HalvingConfig(first_rung=10, eta=3)
OFF = HalvingConfig(enabled=False)
SCORES = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.0, 3.0]))


def event(action="stop"):
    return Event(kind="non_finite", step=7, severity=1.0, action=action, evidence={}, message="it is NaN")


def trial(*scores, number=0, steps=60, events=()):
    """A trial with a segment of 10 steps for each score; the events are in the last one."""
    made = Trial(spec=journal.trial(number, steps=steps).spec)
    for index, score in enumerate(scores):
        told = events if index == len(scores) - 1 else ()
        made.segments.append(journal.segment(number, index, 10 * index, 10 * index + 10, score, events=told))
        made.order.append(10 * index + number)  # trials of smaller numbers are a little earlier
    return made


def decide(own, others=(), halving=OFF):
    own.order[-1] = 1000  # later than all the others
    return verdict(own, own.segments[-1].result, others, halving)


# -- halving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "eta", "steps", "expected"),
    [
        (1000, 3, 6000, (1000, 3000)),
        (1000, 3, 3000, (1000,)),
        (1000, 3, 3001, (1000, 3000)),
        (1000, 3, 1000, ()),
        (1, 2, 9, (1, 2, 4, 8)),
    ],
)
def test_rungs_are_powers_of_eta_below_the_budget(first, eta, steps, expected):
    assert rungs(HalvingConfig(first_rung=first, eta=eta), steps) == expected


def test_without_halving_there_are_no_rungs():
    assert rungs(OFF, 10**6) == ()


@pytest.mark.parametrize(
    ("scores", "rung", "expected"),
    [
        ((3.0, 1.0, 0.0), 20, 1.0),
        ((1.0, 3.0, 0.0), 20, 1.0),
        ((3.0, 2.0, 0.0), 11, 2.0),
        ((3.0, 2.0), 30, None),
        ((None, 2.0), 20, 2.0),
        ((None, None), 20, None),
        ((), 10, None),
    ],
)
def test_the_score_at_a_rung_is_the_best_up_to_it(scores, rung, expected):
    assert score_at(trial(*scores), rung) == expected


@given(own=st.floats(0, 9), others=st.lists(st.floats(0, 9), max_size=12), eta=st.integers(2, 5))
def test_who_survives_is_who_stands_among_the_first_of_the_sorted(own, others, eta):
    ranked = sorted([own, *others])
    places = max(1, len(ranked) // eta)
    assert survives(own, others, eta) == (own <= ranked[places - 1])


@given(scores=st.lists(st.floats(0, 9), min_size=1, max_size=12), eta=st.integers(2, 5))
def test_the_best_at_a_rung_always_survives(scores, eta):
    best = min(range(len(scores)), key=scores.__getitem__)
    assert survives(scores[best], scores[:best] + scores[best + 1 :], eta)


# -- what becomes of a trial -------------------------------------------------------------------------------------------


def test_a_trial_goes_on_below_its_budget():
    assert decide(trial(1.0)) is TrialState.RUNNING


def test_a_trial_is_completed_at_its_budget():
    assert decide(trial(1.0, 1.0, steps=20)) is TrialState.COMPLETED


@pytest.mark.parametrize("steps", [20, 60])
def test_an_event_that_stops_is_a_divergence_also_at_the_budget(steps):
    assert decide(trial(1.0, 1.0, steps=steps, events=(event("warn"), event()))) is TrialState.DIVERGED


def test_an_event_that_warns_is_none():
    assert decide(trial(1.0, events=(event("warn"),))) is TrialState.RUNNING


def test_the_worst_of_three_is_pruned_at_a_rung():
    others = [trial(1.0, number=1), trial(2.0, number=2)]
    assert decide(trial(3.0), others, HALVING) is TrialState.PRUNED
    assert decide(trial(0.5), others, HALVING) is TrialState.RUNNING
    assert decide(trial(3.0), others, OFF) is TrialState.RUNNING


def test_of_fewer_than_eta_only_the_best_goes_on():
    assert decide(trial(3.0), [trial(1.0, number=1)], HALVING) is TrialState.PRUNED
    assert decide(trial(1.0), [trial(3.0, number=1)], HALVING) is TrialState.RUNNING


def test_between_rungs_nobody_is_pruned():
    others = [trial(1.0, 1.0, number=1), trial(1.0, 1.0, number=2)]
    assert decide(trial(3.0, 3.0), others, HALVING) is TrialState.RUNNING


def test_those_that_did_not_reach_the_rung_are_not_compared():
    others = [trial(1.0, number=1), trial(1.0, number=2)]
    assert decide(trial(9.0, 9.0, 9.0), others, HALVING) is TrialState.RUNNING


def test_a_trial_without_a_score_is_not_pruned():
    others = [trial(1.0, number=number) for number in (1, 2, 3)]
    assert decide(trial(None), others, HALVING) is TrialState.RUNNING


def test_a_segment_that_was_committed_later_does_not_count():
    """Whatever the clock said: the place in the journal decides."""
    own, other = trial(3.0), trial(1.0, number=1)
    own.order, other.order = [7], [8]
    assert verdict(own, own.segments[-1].result, [other], HALVING) is TrialState.RUNNING
    other.order = [6]
    assert verdict(own, own.segments[-1].result, [other], HALVING) is TrialState.PRUNED


@given(scores=st.lists(SCORES, min_size=1, max_size=6), others=st.lists(st.lists(SCORES, max_size=6), max_size=4))
def test_a_segment_that_cannot_decide_never_does(scores, others):
    own = trial(*scores)
    rivals = [trial(*theirs, number=number) for number, theirs in enumerate(others, start=1)]
    if decide(own, rivals, HALVING) is not TrialState.RUNNING:
        assert may_decide(own, own.segments[-1].result, HALVING)


def test_a_segment_that_was_trained_again_must_be_the_same():
    own = trial(1.0, 2.0)
    assert committed_before(own, own.segments[0].result)
    assert not committed_before(trial(1.0), own.segments[1].result)
    other = own.segments[1].result.model_copy(update={"history": "another"})
    with pytest.raises(IntegrityError, match="trained again from its checkpoint to step 20, gave history another"):
        committed_before(own, other)
    for what, told in (("checkpoint", "c"), ("samples", "s"), ("generator", "g")):
        with pytest.raises(IntegrityError, match=f"gave {what} {told}"):
            committed_before(own, own.segments[1].result.model_copy(update={what: told}))
    elsewhere = other.environment.model_copy(update={"cpu": "another"})
    assert committed_before(own, other.model_copy(update={"environment": elsewhere}))


def test_what_other_code_may_have_trained_is_not_compared():
    own = trial(1.0, 2.0)
    own.attempts.append(journal.attempt(0))
    other = own.segments[1].result.model_copy(update={"history": "another"})
    assert committed_before(own, other, since=own.order[1] + 1)
    assert committed_before(own, other, since=own.order[1]), "its start was trained by other code"
    own.attempts.append(journal.attempt(0, 1, step=10))
    with pytest.raises(IntegrityError, match="gave history another"):
        committed_before(own, other, since=own.order[1])


def test_behind_a_segment_that_came_from_elsewhere_nothing_is_compared():
    own, elsewhere = trial(1.0, 2.0), journal.ENVIRONMENT.model_copy(update={"cpu": "another"})
    second = own.segments[1].result.model_copy(update={"environment": elsewhere})
    own.segments[1] = own.segments[1].model_copy(update={"result": second})
    own.attempts.append(journal.attempt(0))
    other = second.model_copy(update={"history": "another"})
    assert committed_before(own, other), "from step 0 on, it began with what this environment made of segment 1"
    own.attempts.append(journal.attempt(0, 1, step=10))
    with pytest.raises(IntegrityError, match="gave history another"):
        committed_before(own, other)


def test_a_segment_that_passes_several_rungs_must_survive_each():
    fast = HalvingConfig(first_rung=5, eta=2)  # rungs 5, 10, 20, 40
    others = [trial(1.0, number=1), trial(4.0, 0.0, number=2)]
    assert decide(trial(3.0), others[:1], fast) is TrialState.PRUNED
    assert decide(trial(0.5), others, fast) is TrialState.RUNNING


# -- losses ------------------------------------------------------------------------------------------------------------


@given(
    causes=st.lists(st.sampled_from(sorted(RetryConfig.model_fields)), min_size=1, max_size=8),
    budgets=st.fixed_dictionaries({cause: st.integers(0, 4) for cause in RetryConfig.model_fields}),
)
def test_each_cause_has_its_own_budget_of_retries(causes, budgets):
    losses = [journal.loss(0).model_copy(update={"cause": cause}) for cause in causes]
    assert may_retry(causes[-1], losses, RetryConfig(**budgets)) == (causes.count(causes[-1]) <= budgets[causes[-1]])


def test_every_cause_but_the_users_error_has_a_budget():
    assert {*RetryConfig.model_fields, "user_error"} == {*get_args(Cause)}


def test_the_users_error_is_never_tried_again():
    loss = journal.loss(0).model_copy(update={"cause": "user_error"})
    assert not may_retry("user_error", [loss], RetryConfig(worker_lost=1000))


@given(states=st.lists(st.sampled_from([state for state in TrialState if state.final]), max_size=6), rng=st.randoms())
def test_three_failures_at_the_end_are_hopeless_whichever_trials_they_are(states, rng):
    numbers = rng.sample(range(len(states)), len(states))
    book = Book()
    for record in (journal.study(), *map(journal.trial, range(len(states)))):
        book.apply(record)
    for number, state in zip(numbers, states, strict=True):
        book.apply(journal.decision(number, state))
    assert [trial.number for trial in book.ended] == numbers
    assert hopeless(book.ended) == (states[-3:] == [TrialState.FAILED] * 3)


# -- what may be discarded ---------------------------------------------------------------------------------------------


@given(scores=st.lists(SCORES, max_size=9), every=st.integers(1, 4), last=st.booleans(), again=st.integers(1, 3))
def test_all_but_the_last_two_checkpoints_and_the_best_generator_go_and_never_come_back(scores, every, last, again):
    whole = Trial(spec=journal.trial(0, steps=1000, score_at="last" if last else "best").spec)
    stored: set[str] = set()
    for index, score in enumerate(scores):
        checkpoint = f"c{index}" if (index + 1) % every == 0 else None
        result = {"checkpoint": checkpoint, "generator": f"g{index}"}
        whole.apply(journal.segment(0, index, 10 * index, 10 * index + 10, score, **result), index)
        # Putting again what is there already, or was, is what a segment that is trained again does.
        stored |= {f"g{index}", f"g{max(0, index - again)}"} | ({checkpoint} if checkpoint else set())
        gone = discardable(whole)
        assert len(set(gone)) == len(gone)
        stored -= set(gone)
        checkpoints = [s.result.checkpoint for s in whole.segments if s.result.checkpoint]
        assert stored == {*checkpoints[-2:]} | ({whole.best.result.generator} if whole.best else set())


def test_a_generator_that_did_not_change_stays_with_the_best_one():
    whole = trial()
    for index, score in enumerate((1.0, 2.0)):
        whole.apply(journal.segment(0, index, 10 * index, 10 * index + 10, score, generator="same"), index)
    assert discardable(whole) == ()


def test_a_corrupt_checkpoint_does_not_count_as_one_that_is_kept():
    whole = trial()
    for index in range(3):
        whole.apply(journal.segment(0, index, 10 * index, 10 * index + 10, checkpoint=f"c{index}"), index)
    whole.apply(journal.loss(0, cause="checkpoint", blob="c2"), 3)
    whole.apply(journal.segment(0, 3, 30, 40, checkpoint="c3"), 4)
    assert discardable(whole) == ("c0", "c2"), "what was corrupt may have been put again"
    whole.apply(journal.loss(0, cause="checkpoint", blob="c3"), 5)
    assert whole.checkpoint == ("c1", 20)


def test_nothing_is_discarded_before_a_segment():
    assert discardable(trial()) == ()


def ended(number, state, *scores):
    """A trial that has ended, and whose segments had all weights."""
    made = trial(*scores, number=number, steps=10 * len(scores))
    made.segments = [
        s.model_copy(update={"result": s.result.model_copy(update={"checkpoint": f"c{i}", "generator": f"g{i}"})})
        for i, s in enumerate(made.segments)
    ]
    made.decision = journal.decision(number, state, score=made.score, best_index=made.best.index)
    made.state = state
    return made


def study(*trials):
    return Book(trials={trial.number: trial for trial in trials})


def test_of_a_final_trial_only_the_best_generator_of_a_kept_one_stays():
    one = ended(0, TrialState.COMPLETED, 2.0, 1.0, 3.0)
    assert set(garbage(one, keep=True)) == {"c0", "c1", "c2", "g0", "g2"}
    assert set(garbage(one, keep=False)) == {"c0", "c1", "c2", "g0", "g1", "g2"}


def test_kept_are_the_best_completed_ones_those_once_named_and_the_registered():
    book = study(*(ended(n, TrialState.COMPLETED, float(n)) for n in range(6)), ended(6, TrialState.DIVERGED, 0.0))
    assert kept(book) == set(range(KEPT))
    book.registrations.append(journal.registration(6))
    book.finishes.append(journal.finish(5, 1))
    assert kept(book) == {0, 1, 2, 5, 6}
    assert [n for n, t in book.trials.items() if collected(book, t)] == [3, 4]


def test_the_best_are_named_once_when_the_budget_is_used_up():
    book = study(*(ended(n, TrialState.COMPLETED, float(-n)) for n in range(4)))
    assert to_name(book, 5) is None
    assert to_name(book, 4) == (3, 2, 1)
    book.finishes.append(journal.finish(3, 2, 1))
    assert to_name(book, 4) is None
    book.trials[9] = trial(1.0, number=9)
    book.finishes.clear()
    assert to_name(book, 4) is None, "a trial is still to be trained"
