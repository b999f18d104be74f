"""Make MLflow's models and registry say what a study's book says, writing only what differs; imports no MLflow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from pipeline.book import Book, Trial
from pipeline.projection import (
    GENERATOR,
    TRIAL_KEY,
    ModelVersion,
    generators,
    trial_generator,
    version_note,
    version_tags,
)
from pipeline.records import RegistrationRecord
from pipeline.store import Store
from trainers.config import TrainConfig
from trainers.errors import IntegrityError

logger = logging.getLogger(__name__)


class Models(Protocol):
    """What a place that holds models, and versions of registered ones, can do."""

    def find(self, tags: Mapping[str, str]) -> list[tuple[str, bool]]:
        """Return id and whether it is whole of each model that carries these tags."""
        ...

    def delete(self, model_id: str) -> None:
        """Remove a model."""
        ...

    def log(
        self, run_id: str, tags: dict[str, str], config: TrainConfig, shape: tuple[int, ...], weights: bytes
    ) -> str:
        """Make a model of a generator, which carries the tags from its first moment, and return its id."""
        ...

    def versions(self, name: str) -> list[ModelVersion]:
        """Return the versions of a registered model, the oldest first; none where there is no such model."""
        ...

    def create_version(self, name: str, model_id: str, tags: dict[str, str], note: str) -> int:
        """Make a version, and the registered model where it is missing, and return its number."""
        ...

    def aliases(self, name: str) -> dict[str, int]:
        """Return the versions of a registered model by alias; none where there is no such model."""
        ...

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Let an alias name a version."""
        ...


class Shelf:
    """The models of one study, found again by their tags."""

    def __init__(self, models: Models, store: Store) -> None:
        """Prepare to show the generators that are in `store`; nothing is contacted before the first call."""
        self._models = models
        self._store = store
        self._told: set[tuple[str, int]] = set()  # registrations whose version has another number now

    def show(self, book: Book, run_of: Callable[[Trial], str | None]) -> list[IntegrityError]:
        """Make models, versions and aliases say what the book says, and return what was not there to show.

        An alias that names another study's version is left alone: which of the two came last is in neither's ledger.
        A version that is made anew may have another number, if the name has versions that this book does not know, or
        had some: then a line is logged. Its tags say whose generator it is.

        Args:
            book: of the study.
            run_of: returns the run of a trial; one without a run is left out.
        """
        broken, made = [], dict[int, str]()
        for trial in generators(book):
            run_id = run_of(trial)
            try:
                made |= {} if run_id is None else {trial.number: self.model(book, trial, run_id)}
            except IntegrityError as error:
                broken.append(error)
        newest: dict[tuple[str, str], int] = {}
        for record in book.registrations:  # in their order, which is that of the versions' numbers
            if record.trial in made:
                trial = book.trials[record.trial]
                version = self.version(book, trial, made[record.trial], record.model, record.gates)
                newest[record.model, record.alias] = version
                self._tell_number(record, version)
        for (name, alias), version in newest.items():
            now = self.by_alias(name, alias)
            if now is None or (now.version != version and _ours(book, now)):
                self._models.set_alias(name, alias, version)
        return broken

    def _tell_number(self, record: RegistrationRecord, version: int) -> None:
        """Say once that a version has come back under another number, which MLflow alone gives."""
        if version != record.version and (record.model, record.trial) not in self._told:
            self._told.add((record.model, record.trial))
            told = "trial %d is version %d of %s in MLflow now; it was version %d when it was registered"
            logger.warning(told, record.trial, version, record.model, record.version)

    def model(self, book: Book, trial: Trial, run_id: str) -> str:
        """Return the id of the model of a trial's best generator; it is made where it is missing."""
        weights, shape = trial_generator(book, trial)
        tags = {GENERATOR: weights, TRIAL_KEY: trial.spec.key}
        for model_id, whole in self._models.find(tags):
            if whole:
                return model_id
            self._models.delete(model_id)  # whoever made it died before its files were whole
        return self._models.log(run_id, tags, trial.spec.config, shape, self._store.get(weights))

    def drop(self, book: Book, trial: Trial) -> None:
        """Remove the model of a trial, unless the book says that it is shown."""
        if trial.number not in {kept.number for kept in generators(book)}:
            for model_id, _ in self._models.find({TRIAL_KEY: trial.spec.key}):
                self._models.delete(model_id)

    def version(self, book: Book, trial: Trial, model_id: str, name: str, gates: Sequence[Mapping[str, Any]]) -> int:
        """Return the version of a registered model that holds a trial's generator; it is made where it is missing."""
        tags = version_tags(book, trial, gates)
        for version in self._models.versions(name):
            if all(version.tags.get(key) == tags[key] for key in (TRIAL_KEY, GENERATOR)):
                return version.version
        return self._models.create_version(name, model_id, tags, version_note(book, trial))

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Return the version of a registered model that an alias names, or None."""
        number = self._models.aliases(name).get(alias)
        return next((version for version in self._models.versions(name) if version.version == number), None)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Let an alias name a version, whosever version it named before."""
        if self._models.aliases(name).get(alias) != version:
            self._models.set_alias(name, alias, version)


def _ours(book: Book, version: ModelVersion) -> bool:
    return book.study is not None and version.tags.get(TRIAL_KEY, "").startswith(f"{book.study.uid}/")
