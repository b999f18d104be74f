"""Ask and tell: a suggestion is a function of (seed, number, trials), and Optuna sees each trial as it ended."""

import math

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.book import Book
from pipeline.config import SearchConfig, train_config
from pipeline.records import RECORD, TrialRecord, TrialSpec, TrialState
from pipeline.study import Sampler, distributions, frozen
from search_spaces import CLASSIC, GAN, WGAN_GP, Choice, Float, Space, defaults, narrow
from tests.fakes import journal
from trainers.stability.events import Event

SEARCH = SearchConfig()
ENDS = ("completed", "pruned", "diverged", "failed", "running", "suspended")


def sampler(space=CLASSIC, seed=3, first=(), startup=2):
    return Sampler(space, seed=seed, n_startup_trials=startup, first=first)


def event(severity):
    return Event(kind="exploding_gradient", step=7, severity=severity, action="stop", evidence={}, message="too steep")


def end(number, state, score, severity=0.5):
    """The records of a trial that has been asked for: up to where it stands."""
    stop = event(severity) if state == "diverged" else None
    yield journal.attempt(number)
    yield journal.segment(number, 0, 0, 10, score, events=(stop,) if stop else ())
    if state != "running":
        known = {"score": score, "best_index": 0} if score is not None else {}
        yield journal.decision(number, TrialState(state), event=stop, **known)


def asked(number, params):
    config = train_config(SEARCH.model_copy(update={"space": "classic"}), params, number)
    return TrialRecord(at=1.0, spec=TrialSpec(number=number, key=f"u/{number}", params=params, config=config))


def history(ends, asker=None):
    """Records of a study whose trials were asked for one after the other, and the book that they make."""
    asker = asker or sampler()
    book, records = Book(), [journal.study()]
    book.apply(records[0])
    for number, (state, score) in enumerate(ends):
        more = [asked(number, asker.ask(number, list(book.trials.values()))), *end(number, state, score)]
        for record in more:
            book.apply(record)
        records += more
    return records, book


MIXED = [(state, float(number)) for number, state in enumerate(ENDS * 2)]


@pytest.fixture(scope="module")
def mixed():
    return history(MIXED)


def only(state, score=1.0, severity=0.5, space=CLASSIC, params=None):
    book = Book()
    for record in (journal.study(), asked(0, params or defaults(CLASSIC)[0]), *end(0, state, score, severity)):
        book.apply(record)
    return frozen(book.trials[0], space)


# -- ask ---------------------------------------------------------------------------------------------------------------


def test_the_first_trials_are_the_wanted_ones_in_order():
    first = defaults(CLASSIC)
    asker = sampler(first=first)
    assert [asker.ask(number, []) for number in range(len(first))] == first
    assert asker.ask(len(first), []) not in first


def test_a_rebuilt_book_gives_the_same_suggestions(mixed):
    records, book = mixed
    rebuilt = Book()
    for record in records:
        rebuilt.apply(RECORD.validate_json(RECORD.dump_json(record)))
    for number in range(len(book.trials), len(book.trials) + 3):
        expected = sampler().ask(number, list(book.trials.values()))
        assert sampler().ask(number, list(rebuilt.trials.values())) == expected
        assert sampler().ask(number, reversed(list(rebuilt.trials.values()))) == expected


def test_asking_twice_changes_nothing(mixed):
    asker, trials = sampler(), list(mixed[1].trials.values())
    assert asker.ask(12, trials) == asker.ask(12, trials)


def test_numbers_and_seeds_and_trials_make_a_difference(mixed):
    trials = list(mixed[1].trials.values())
    one = sampler().ask(12, trials)
    assert sampler().ask(13, trials) != one
    assert sampler(seed=4).ask(12, trials) != one
    assert sampler().ask(12, trials[6:]) != one


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), number=st.integers(0, 10**6), seen=st.integers(0, 12))
def test_a_suggestion_has_its_branchs_parameters_and_no_others_all_in_range(mixed, seed, number, seen):
    params = sampler(seed=seed).ask(number, list(mixed[1].trials.values())[:seen])
    branch = next(space for space in CLASSIC.spaces if space.name == params["space"])
    assert list(params) == ["space", *(dim.key for dim in branch.dims)]
    for dim in branch.dims:
        assert dim.check(params[dim.key]) == params[dim.key]
    train_config(SEARCH, params, 0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_choices_keep_their_type(seed):
    dims = (Choice("n_critic", (1, 5)), Choice("flag", (True, False)), Choice("word", ("a", "b")), Float("x", 0.5, 1.0))
    default = {"n_critic": 1, "flag": True, "word": "a", "x": 0.5}
    space = Space(name="s", summary="s", source="s", dims=dims, default=default)
    params = sampler(space, seed=seed).ask(0, [])
    assert [type(params[dim.key]) for dim in dims] == [int, bool, str, float]


def test_a_space_of_one_branch_names_none():
    assert list(sampler(GAN).ask(0, [])) == [dim.key for dim in GAN.dims]


def test_a_space_of_one_branch_learns_from_its_trials():
    book = Book()
    book.apply(journal.study())
    config = train_config(SearchConfig(space="gan"), GAN.default, 0)
    for number in range(4):
        params = sampler(GAN).ask(number, list(book.trials.values()))
        spec = TrialSpec(number=number, key=f"u/{number}", params=params, config=config)
        for record in (TrialRecord(at=1.0, spec=spec), *end(number, "completed", float(number))):
            book.apply(record)
    assert sampler(GAN).ask(4, list(book.trials.values())) != sampler(GAN).ask(4, [])


def test_suggestions_come_to_where_scores_are_low():
    """With 40 random trials whose score is |log10(lr_d) + 3|, 20 suggestions lie nearer to 1e-3 than chance would.

    The chance's expected distance on [1e-5, 1e-2] is 5/6 of a decade; the mean of 20 is below half a decade by chance
    in less than one of 10,000 draws (standard error 0.13), and these are fixed by the seed.
    """
    space = Space(name="s", summary="s", source="s", dims=(Float("optim.lr_d", 1e-5, 1e-2, log=True),),
                  default={"optim.lr_d": 1e-4})  # fmt: skip
    book = Book()
    book.apply(journal.study())

    def distance(params):
        return abs(math.log10(params["optim.lr_d"]) + 3)

    found = []
    for number in range(60):
        params = sampler(space, startup=40).ask(number, list(book.trials.values()))
        found.append(distance(params))
        spec = journal.trial(number).spec.model_copy(update={"params": params})
        for record in (TrialRecord(at=1.0, spec=spec), *end(number, "completed", distance(params))):
            book.apply(record)
    assert sum(found[40:]) / 20 < 0.5


# -- tell --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "seen", "value"),
    [
        ("completed", optuna.trial.TrialState.COMPLETE, 1.0),
        ("pruned", optuna.trial.TrialState.PRUNED, None),
        ("diverged", optuna.trial.TrialState.PRUNED, None),
        ("failed", optuna.trial.TrialState.FAIL, None),
        ("running", optuna.trial.TrialState.RUNNING, None),
        ("suspended", optuna.trial.TrialState.RUNNING, None),
    ],
)
def test_optuna_sees_each_end(state, seen, value):
    frozen = only(state)
    assert (frozen.state, frozen.value) == (seen, value)
    assert frozen.intermediate_values == {10: 1.0}
    assert frozen.params == defaults(CLASSIC)[0]


@pytest.mark.parametrize("severity", [0.25, 1.0])
def test_a_diverged_trial_is_infeasible_by_its_severity(severity):
    study = optuna.create_study()
    study.add_trial(only("diverged", severity=severity))
    assert study.trials[0].constraints == {"exploding_gradient": severity}


@pytest.mark.parametrize("state", [state for state in ENDS if state != "diverged"])
def test_only_diverged_trials_are_infeasible(state):
    assert not only(state).constraints


def test_a_diverged_trial_needs_no_score():
    assert only("diverged", score=None).intermediate_values == {}


def test_a_completed_trial_without_a_score_has_nothing_to_learn_from():
    """It was never evaluated; Optuna takes no completed trial without a value."""
    assert only("completed", score=None).state is optuna.trial.TrialState.FAIL


def test_a_refused_trial_is_infeasible_too():
    book = Book()
    told = journal.decision(0, TrialState.DIVERGED, event=event(1.0))
    for record in (journal.study(), asked(0, defaults(CLASSIC)[0]), told):
        book.apply(record)
    assert frozen(book.trials[0], CLASSIC).constraints == {"exploding_gradient": 1.0}


def test_failed_trials_make_no_difference_but_running_and_diverged_ones_do():
    """A running trial counts as a bad one, so that two workers are not sent to one place."""
    asker = sampler(startup=4)
    _, book = history([("completed", 1.0), ("completed", 2.0), ("completed", 3.0), ("completed", 4.0)], asker)
    params = asker.ask(4, list(book.trials.values()))

    def then(state):
        seen = Book()
        records, _ = history([("completed", 1.0), ("completed", 2.0), ("completed", 3.0), ("completed", 4.0)], asker)
        for record in (*records, asked(4, params), *end(4, state, 0.5)):
            seen.apply(record)
        return asker.ask(5, list(seen.trials.values()))

    without = asker.ask(5, list(book.trials.values()))
    assert then("failed") == without
    assert then("running") == then("suspended") != without
    assert then("diverged") != without
    assert then("diverged") != then("completed")


# -- a space that was changed ------------------------------------------------------------------------------------------


def test_trials_outside_a_changed_space_are_left_out(mixed):
    trials = list(mixed[1].trials.values())
    fixed = narrow(CLASSIC, {"optim.lr_d": 1e-4})
    params = sampler(fixed).ask(12, trials)
    assert "optim.lr_d" not in params
    assert params == sampler(fixed).ask(12, [])
    gan_only = narrow(CLASSIC, {"objective": "non_saturating"})
    inside = [trial for trial in trials if trial.spec.params["space"] == "gan"]
    assert sampler(gan_only).ask(12, trials) == sampler(gan_only).ask(12, inside)


def test_distributions_are_those_of_the_branch():
    found = distributions(CLASSIC, defaults(CLASSIC)[2])
    assert list(found) == ["space", *(dim.key for dim in WGAN_GP.dims)]
    assert found["penalty.lambda"] == optuna.distributions.FloatDistribution(0.1, 100.0, log=True)
    assert found["n_critic"] == optuna.distributions.CategoricalDistribution((1, 5))


def test_where_the_parameters_come_from_is_known_by_the_number():
    first = [{"a": 1}, {"a": 2}]
    sampler = Sampler(GAN, seed=0, n_startup_trials=8, first=first, num_enqueued=1)
    assert [sampler.origin(number) for number in range(3)] == ["enqueued", "default", "sampled"]
