"""Ask and tell; beside optuna_storage.py the only file that imports optuna.

Nothing is kept between two asks: Optuna's study is made anew from the trials, each ask has a sampler of its own, and so
a suggestion is a function of (study seed, trial number, the trials as the ledger has them).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from pipeline.book import Trial
from pipeline.config import trial_seed
from pipeline.records import Origin, Scalar, TrialState
from search_spaces.declarations import Choice, Dim, Space, Union, check
from trainers.errors import ConfigError

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

BRANCH = "space"


class Sampler:
    """Optuna's tree-structured Parzen estimator (Bergstra et al. 2011) over one of our spaces.

    Args:
        space: what is searched.
        seed: the study's.
        n_startup_trials: finished trials before which suggestions are random.
        first: configurations to try before any suggestion, by trial number.
        num_enqueued: how many of them are the user's own.
    """

    def __init__(
        self,
        space: Space | Union,
        *,
        seed: int,
        n_startup_trials: int,
        first: Iterable[dict[str, Scalar]],
        num_enqueued: int = 0,
    ) -> None:
        self._space = space
        self._seed = seed
        self._n_startup_trials = n_startup_trials
        self._first = tuple(first)
        self._num_enqueued = num_enqueued

    def origin(self, number: int) -> Origin:
        """Return where the parameters of trial `number` come from."""
        if number >= len(self._first):
            return "sampled"
        return "enqueued" if number < self._num_enqueued else "default"

    def ask(self, number: int, trials: Iterable[Trial]) -> dict[str, Scalar]:
        """Return the parameters of trial `number`, given all earlier ones, finished or not."""
        if number < len(self._first):
            return self._first[number]
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=trial_seed(self._seed, number) % 2**32,
                n_startup_trials=self._n_startup_trials,
                multivariate=True,
                group=True,
                constant_liar=True,
            )
            study = optuna.create_study(sampler=sampler)
            known = sorted((trial for trial in trials if fits(trial, self._space)), key=lambda t: t.number)
            study.add_trials(frozen(trial, self._space) for trial in known)
            return suggest(study.ask(), self._space)


def suggest(trial: optuna.Trial, space: Space | Union) -> dict[str, Scalar]:
    """Return a suggestion for every dimension of the space; of a union, the branch and then its own dimensions."""
    if isinstance(space, Union):
        branches = {branch.name: branch for branch in space.spaces}
        name = trial.suggest_categorical(BRANCH, list(branches))
        return {BRANCH: name, **suggest(trial, branches[name])}
    return {dim.key: _suggest(trial, dim) for dim in space.dims}


def _suggest(trial: optuna.Trial, dim: Dim) -> Scalar:
    if isinstance(dim, Choice):
        return cast("Scalar", trial.suggest_categorical(dim.key, list(dim.options)))
    return trial.suggest_float(dim.key, dim.low, dim.high, log=dim.log)


def distributions(space: Space | Union, params: dict[str, Scalar]) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions of the dimensions that `params` has values for."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(space, Union):
        branches = {branch.name: branch for branch in space.spaces}
        own = distributions(branches[str(params[BRANCH])], params)
        return {BRANCH: CategoricalDistribution(list(branches)), **own}
    return {
        dim.key: CategoricalDistribution(list(dim.options))
        if isinstance(dim, Choice)
        else FloatDistribution(dim.low, dim.high, log=dim.log)
        for dim in space.dims
    }


def fits(trial: Trial, space: Space | Union) -> bool:
    """Whether a trial lies in the space; it may not where a later driver was allowed to change what is searched."""
    try:
        return check(space, trial.spec.params) == trial.spec.params
    except ConfigError:
        return False


def frozen(trial: Trial, space: Space | Union | None) -> optuna.trial.FrozenTrial:
    """Return a trial as Optuna sees it: a diverged one is PRUNED and infeasible by its event's severity.

    One that is completed without a score has nothing to learn from, and is a FAIL there, which samplers ignore.

    Args:
        trial: of the study.
        space: in which it lies; None leaves its parameters out.
    """
    from optuna.trial import TrialState as State
    from optuna.trial import create_trial

    constraints = _constraints(trial)
    completed = State.FAIL if trial.score is None else State.COMPLETE
    states = {TrialState.COMPLETED: completed, TrialState.FAILED: State.FAIL}
    pruned = trial.state in (TrialState.PRUNED, TrialState.DIVERGED) or constraints is not None
    state = State.PRUNED if pruned else states.get(trial.state, State.RUNNING)
    scores = {s.result.stop: s.result.score for s in trial.segments if s.result.score is not None}
    return create_trial(
        state=state,
        value=trial.score if state is State.COMPLETE else None,
        params={} if space is None else dict(trial.spec.params),
        distributions={} if space is None else distributions(space, trial.spec.params),
        intermediate_values=scores,
        constraints=constraints,
    )


def _constraints(trial: Trial) -> dict[str, float] | None:
    """Return by how much a trial is infeasible: an unstable one, or one for which the device has too little memory."""
    if trial.state is TrialState.DIVERGED and trial.event is not None:
        return {trial.event.kind: trial.event.severity}
    if trial.state is TrialState.FAILED and trial.losses and trial.losses[-1].cause == "device_memory":
        return {"device_memory": 1.0}
    return None
