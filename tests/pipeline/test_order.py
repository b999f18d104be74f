"""In virtual time all workers are equally fast, whatever the clock says."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import order
from pipeline.book import Book, Trial
from pipeline.records import TrialState
from tests.fakes import journal


def trial(number, begins=0, steps=0, budget=60, state=TrialState.RUNNING):
    made = Trial(spec=journal.trial(number, steps=budget, segment_steps=10).spec, begins=begins, state=state)
    for index in range(-(-steps // 10)):
        made.segments.append(journal.segment(number, index, 10 * index, min(10 * index + 10, steps)))
        made.order.append(index)
    return made


def book(*trials):
    return Book(trials={trial.number: trial for trial in trials})


def test_the_segment_that_ends_first_counts_first():
    assert order.due(book(trial(0, steps=20), trial(1, steps=10))) == 1


def test_of_two_that_end_together_the_lower_number_counts_first():
    assert order.due(book(trial(0, steps=20), trial(1, begins=10, steps=10))) == 0


def test_a_short_last_segment_ends_early():
    assert order.due(book(trial(0, steps=10, budget=60), trial(1, steps=10, budget=13))) == 1


def test_a_study_without_running_trials_waits_for_none():
    assert order.due(book(trial(0, steps=60, state=TrialState.COMPLETED))) is None


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ((), 0),
        ((trial(0),), 0),
        ((trial(0, steps=30, state=TrialState.PRUNED), trial(1)), 30),
        ((trial(0, steps=30, state=TrialState.PRUNED), trial(1), trial(2, begins=30, state=TrialState.DIVERGED)), 30),
        ((trial(0, steps=30, state=TrialState.PRUNED), trial(1, steps=20, state=TrialState.DIVERGED)), 20),
    ],
)
def test_the_place_that_is_free_for_longest_is_taken(trials, expected):
    assert order.place(book(*trials), 2) == expected


@settings(deadline=None)
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=12), places=st.integers(1, 4))
def test_trials_begin_as_on_workers_that_are_equally_fast(lengths, places):
    """Against a simulation with clocks: each worker takes the next trial when it has trained its last one."""
    free, begins = [0] * places, []
    for length in lengths:
        start = min(free)
        free[free.index(start)] = start + 10 * length
        begins.append(start)
    known, told, left = Book(), [], deque(lengths)
    while left or any(not t.state.final for t in known.trials.values()):
        while left and sum(not t.state.final for t in known.trials.values()) < places:
            number = len(known.trials)
            known.trials[number] = trial(number, begins=order.place(known, places))
            told.append(known.trials[number].begins)
            if left.popleft() == 0:
                known.trials[number].state = TrialState.DIVERGED
        number = order.due(known)
        if number is None:
            continue
        grown = trial(number, begins=known.trials[number].begins, steps=known.trials[number].steps + 10)
        grown.state = TrialState.COMPLETED if grown.steps == 10 * lengths[number] else TrialState.RUNNING
        known.trials[number] = grown
    assert told == begins
