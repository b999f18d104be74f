"""Which trial comes next: its parameters, its place in virtual time, and whether it may be trained at all."""

from __future__ import annotations

import time
from typing import Protocol

from pipeline import order, policies
from pipeline.book import Trial
from pipeline.config import SearchConfig, train_config, trial_seed
from pipeline.ledger import Ledger
from pipeline.records import Origin, Scalar, TrialRecord, TrialSpec, TrialState
from trainers.checks import refusals
from trainers.errors import ConfigError


class Asker(Protocol):
    """Whatever suggests parameters."""

    def ask(self, number: int, trials: list[Trial]) -> dict[str, Scalar]:
        """Return the parameters of trial `number`, given all earlier ones."""

    def origin(self, number: int) -> Origin:
        """Return where the parameters of trial `number` come from."""


class Trials:
    """Asks for trials until those that are finished or under way use up the budget.

    Args:
        config: of the search.
        ledger: the study's, which new trials are staged in.
        asker: suggests parameters.
    """

    def __init__(self, config: SearchConfig, ledger: Ledger, asker: Asker) -> None:
        self._config, self._ledger, self._asker = config, ledger, asker

    @property
    def wanted(self) -> bool:
        """Whether the budget has room for another trial."""
        book = self._ledger.book
        return book.finished + len(book.unfinished) < self._config.trials

    def ask(self) -> int | None:
        """Stage new trials until one may be trained, and return its number; None where the budget has no more room."""
        while self.wanted:
            number = self._ask()
            if not self.refuse(number):
                return number
        return None

    def refuse(self, number: int) -> bool:
        """Decide a trial that a static check refuses, without training a step; tell whether it was one."""
        trial = self._ledger.book.trials[number]
        stops = [event for event in refusals(trial.spec.config) if event.action == "stop"]
        for event in stops[:1]:
            decision = policies.final(trial, TrialState.DIVERGED, event.message, at=time.time(), event=event)
            self._ledger.stage(decision)
        return bool(stops)

    def _ask(self) -> int:
        book, config = self._ledger.book, self._config
        number = len(book.trials)
        params = self._asker.ask(number, list(book.trials.values()))
        try:
            training = train_config(config, params, trial_seed(config.seed, number))
        except ConfigError as error:  # the same parameters would be asked for again and again
            told = ", ".join(f"{key}={value}" for key, value in params.items())
            raise ConfigError(f"space {config.space!r} asks for what cannot be trained ({told}): {error}") from error
        spec = TrialSpec(
            number=number,
            key=f"{book.begun.uid}/{number}",
            params=params,
            config=training,
            origin=self._asker.origin(number),
        )
        begins = order.place(book, config.workers) if config.schedule == "reproducible" else 0
        self._ledger.stage(TrialRecord(at=time.time(), spec=spec, begins=begins))
        return number
