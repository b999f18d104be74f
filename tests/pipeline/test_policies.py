"""Decisions are functions of values: halving against an oracle, stop, retry, and what may be discarded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.book import Trial
from pipeline.config import HalvingConfig, RetryConfig
from pipeline.policies import discardable, hopeless, may_retry, rungs, score_at, survives, verdict
from pipeline.records import TrialState
from tests.fakes import journal
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
    return made


def decide(own, others=(), halving=OFF):
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
    assert score_at(trial(*scores).segments, rung) == expected


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


def test_a_segment_that_passes_several_rungs_must_survive_each():
    fast = HalvingConfig(first_rung=5, eta=2)  # rungs 5, 10, 20, 40
    others = [trial(1.0, number=1), trial(4.0, 0.0, number=2)]
    assert decide(trial(3.0), others[:1], fast) is TrialState.PRUNED
    assert decide(trial(0.5), others, fast) is TrialState.RUNNING


# -- losses ------------------------------------------------------------------------------------------------------------


@given(
    causes=st.lists(st.sampled_from(["worker_lost", "out_of_memory"]), min_size=1, max_size=8),
    lost=st.integers(0, 4),
    memory=st.integers(0, 4),
)
def test_each_cause_has_its_own_budget_of_retries(causes, lost, memory):
    losses = [journal.loss(0).model_copy(update={"cause": cause}) for cause in causes]
    budget = {"worker_lost": lost, "out_of_memory": memory}[causes[-1]]
    retries = RetryConfig(worker_lost=lost, out_of_memory=memory)
    assert may_retry(causes[-1], losses, retries) == (causes.count(causes[-1]) <= budget)


def test_the_users_error_is_never_tried_again():
    loss = journal.loss(0).model_copy(update={"cause": "user_error"})
    assert not may_retry("user_error", [loss], RetryConfig(worker_lost=1000, out_of_memory=1000))


@given(states=st.lists(st.sampled_from([state for state in TrialState if state.final]), max_size=6))
def test_three_failures_at_the_end_are_hopeless(states):
    assert hopeless(states) == (states[-3:] == [TrialState.FAILED] * 3)


# -- what may be discarded ---------------------------------------------------------------------------------------------


@given(scores=st.lists(SCORES, max_size=9), every=st.integers(1, 4), last=st.booleans(), again=st.integers(1, 3))
def test_all_but_the_last_two_checkpoints_and_the_best_generator_go_and_never_come_back(scores, every, last, again):
    whole = Trial(spec=journal.trial(0, steps=1000, score_at="last" if last else "best").spec)
    stored: set[str] = set()
    for index, score in enumerate(scores):
        checkpoint = f"c{index}" if (index + 1) % every == 0 else None
        result = {"checkpoint": checkpoint, "generator": f"g{index}"}
        whole.segments.append(journal.segment(0, index, 10 * index, 10 * index + 10, score, **result))
        # Putting again what is there already, or was, is what a segment that is trained again does.
        stored |= {f"g{index}", f"g{max(0, index - again)}"} | ({checkpoint} if checkpoint else set())
        gone = discardable(whole.segments, whole.best)
        assert len(set(gone)) == len(gone)
        stored -= set(gone)
        checkpoints = [s.result.checkpoint for s in whole.segments if s.result.checkpoint]
        assert stored == {*checkpoints[-2:]} | ({whole.best.result.generator} if whole.best else set())


def test_a_generator_that_did_not_change_stays_with_the_best_one():
    whole = trial()
    for index, score in enumerate((1.0, 2.0)):
        whole.segments.append(journal.segment(0, index, 10 * index, 10 * index + 10, score, generator="same"))
    assert discardable(whole.segments, whole.best) == ()


def test_nothing_is_discarded_before_a_segment():
    assert discardable([], None) == ()
