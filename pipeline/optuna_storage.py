"""The study in a database of Optuna's, for its dashboard; beside study.py the only file that imports optuna."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import optuna
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pipeline.book import Book, Trial
from pipeline.config import SearchConfig, search_space
from pipeline.database_file import DatabaseFile
from pipeline.projection import STATE, STUDY_UID, TRIAL_KEY, Outcome
from pipeline.projector import Shown
from pipeline.records import StudyRecord
from pipeline.safe_text import redact
from pipeline.study import fits, frozen
from search_spaces.declarations import Space, Union
from trainers.errors import ConfigError, IntegrityError, StateConflict, Unreachable

OUTCOME = "gansearch.outcome"
PARAMS = "gansearch.params"  # of a trial that does not fit into what is searched now
REFUSALS = ("authentication failed", "Access denied", "no pg_hba.conf entry")  # PostgreSQL's and MySQL's
PATIENCE = 5  # seconds to wait for a database server's answer to a connection


@dataclass
class _Entry:
    """A trial as the database has it."""

    trial_id: int
    final: bool
    shown: dict[int, float]  # intermediate values by step


class StudyStorage:
    """`pipeline.projector.Tracker` of a database of Optuna's; what is there is found by its trial keys."""

    def __init__(self, url: str, study: str) -> None:
        """Prepare to show a study; nothing is contacted before the first call.

        Args:
            url: of a database, as SQLAlchemy writes it.
            study: its name, there too.

        Raises:
            ConfigError: the database is in memory.
        """
        self.tracking_uri = url
        self._file = DatabaseFile("Optuna's", "study_storage", url)
        self._name = study
        self._study: optuna.Study | None = None
        self._entries: dict[int, _Entry] = {}  # by trial number
        self._dimensions: dict[str, BaseDistribution] = {}
        self._space: tuple[object, Space | Union] | None = None

    def check(self) -> None:
        """Connect, and make the tables where there are none.

        Raises:
            ConfigError: the URL cannot be understood, or its database needs a package that is not installed.
            Unreachable: the database does not answer, or refuses us, which `for_good` tells.
        """
        with self._reached():
            self._storage.get_all_studies()
        self._file.see()

    def check_owner(self, uid: str | None) -> None:
        """Look whether the database has another study of the name.

        Args:
            uid: of the study that will be shown; None is one that has not begun, so that none of the name may be there.

        Raises:
            StateConflict: it has.
            Unreachable: the database does not answer.
        """
        with self._reached():
            found = next((one for one in self._storage.get_all_studies() if one.study_name == self._name), None)
            if found is not None and found.user_attrs.get(STUDY_UID) != uid:
                self._refuse_unless_empty(found.user_attrs, self._storage.get_n_trials(found._study_id))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        where = redact(self.tracking_uri)
        try:
            yield
        except (ArgumentError, ImportError) as error:  # SQLAlchemy imports a database's driver by the URL
            rule = "must be a database's URL whose driver is installed, such as sqlite:////data/optuna.db"
            told = f"study_storage {rule}, but got study_storage={where!r}: {redact(str(error))}"
            raise ConfigError(told) from error
        except (SQLAlchemyError, OSError, RuntimeError, optuna.exceptions.OptunaError) as error:
            first = redact(str(error).splitlines()[0] if str(error) else type(error).__name__)
            mend = "start its server, or set study_storage to null"
            told = f"Optuna's database {where} cannot be used: {first[:300]}; {mend}"
            raise Unreachable(told, for_good=any(sign in str(error) for sign in REFUSALS)) from error

    def _refuse_unless_empty(self, attrs: Mapping[str, object], trials: int) -> None:
        """Raise StateConflict for a study that is somebody else's; one without a mark and a trial is nobody's."""
        if STUDY_UID in attrs or trials:
            where = redact(self.tracking_uri)
            mend = f"rename it, or delete it (optuna delete-study --study-name {self._name}), or use another --study"
            raise StateConflict(f"{where} has another study of the name {self._name!r}; {mend}")

    def show(self, book: Book, trial: int | None, began: float) -> Shown:
        """See `pipeline.projector.Tracker.show`; earlier trials that are missing come first, for Optuna counts them."""
        with self._retryable():
            study = self._open(book)
            if trial is not None:
                for number in range(trial + 1):
                    if number not in self._entries:
                        self._add(study, book, number, began if number == trial else None)
                self._update(book, trial)
        return Shown(None)

    def finish(self, book: Book, outcome: Outcome) -> IntegrityError | None:
        """See `pipeline.projector.Tracker.finish`; a suspended trial stays RUNNING, which is all that Optuna knows."""
        with self._retryable():
            study = self._open(book)
            if study.user_attrs.get(OUTCOME) != outcome:
                study.set_user_attr(OUTCOME, outcome)
        return None

    @cached_property
    def _storage(self) -> RDBStorage:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        server = not self.tracking_uri.startswith("sqlite")
        patience = {"connect_args": {"connect_timeout": PATIENCE}} if server else {}
        return RDBStorage(self.tracking_uri, engine_kwargs={"pool_pre_ping": True, **patience})

    @contextmanager
    def _retryable(self) -> Iterator[None]:
        """Look everything up again after a call that failed, but may have worked, with only its answer lost.

        Raises:
            TrackerGoneError: the database's file was removed.
        """
        self._file.see()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                yield
            self._file.see()
        except BaseException:
            self._study, self._entries, self._dimensions = None, {}, {}
            raise

    def _open(self, book: Book) -> optuna.Study:
        """Return the study; it is made where it is missing, and made anew where its trials are not the book's."""
        if self._study is None:
            record = book.begun
            study = self._load(record)
            trials = study.get_trials(deepcopy=False)
            if not all(_same(book, trial) for trial in trials):
                optuna.delete_study(study_name=self._name, storage=self._storage)
                study, trials = self._load(record), []
            for trial in trials:
                self._remember(trial)
            self._study = study
        return self._study

    def _load(self, record: StudyRecord) -> optuna.Study:
        """Return the study of that name if it is this one; raise StateConflict if it is somebody else's."""
        study = optuna.create_study(storage=self._storage, study_name=self._name, load_if_exists=True)
        if study.user_attrs.get(STUDY_UID) != record.uid:
            self._refuse_unless_empty(study.user_attrs, len(study.get_trials(deepcopy=False)))
            study.set_metric_names([record.metric])
            study.set_user_attr(STUDY_UID, record.uid)
        return study

    def _remember(self, trial: FrozenTrial) -> None:
        values = dict(trial.intermediate_values)
        self._entries[trial.number] = _Entry(trial._trial_id, trial.state.is_finished(), values)
        self._dimensions |= trial.distributions

    def _add(self, study: optuna.Study, book: Book, number: int, began: float | None) -> None:
        """Add a trial whole, in one transaction, under its own number."""
        trial = book.trials[number]
        made = self._frozen(book, trial, began)
        made._trial_id = self._storage.create_new_trial(study._study_id, made)  # study.add_trial would not return it
        self._remember(made)
        if self._storage.get_trial(made._trial_id).number != number:
            raise StateConflict(f"somebody else adds trials to study {self._name!r} in {redact(self.tracking_uri)}")

    def _update(self, book: Book, number: int) -> None:
        """Write what is new of a trial, its final state last: Optuna changes nothing of a finished trial."""
        entry, storage = self._entries[number], self._storage
        if entry.final:
            return
        made = self._frozen(book, book.trials[number], None)
        for step, value in made.intermediate_values.items():
            if entry.shown.get(step) != value:
                storage.set_trial_intermediate_value(entry.trial_id, step, value)
                entry.shown[step] = value
        if made.state.is_finished():
            for key, constraint in made.system_attrs.items():
                storage.set_trial_system_attr(entry.trial_id, key, constraint)
            for key, text in made.user_attrs.items():
                storage.set_trial_user_attr(entry.trial_id, key, text)
            storage.set_trial_state_values(entry.trial_id, made.state, made.values)
            entry.final = True

    def _frozen(self, book: Book, trial: Trial, began: float | None) -> FrozenTrial:
        """Return a trial as Optuna sees it, with our key; without parameters where they do not fit its other trials."""
        space = self._searched(book)
        if fits(trial, space) and self._agrees(frozen(trial, space).distributions.items()):
            made = frozen(trial, space)
        else:
            made = frozen(trial, None)
            made.set_user_attr(PARAMS, json.dumps(trial.spec.params))
        made.set_user_attr(TRIAL_KEY, trial.spec.key)
        if trial.state.final:
            made.set_user_attr(STATE, str(trial.state))
        # Optuna's times are local ones without a zone. Of a trial shown before its turn the first attempt's is near.
        known = (began, *(attempt.at for attempt in trial.attempts), book.begun.at)
        made.number = trial.number
        made.datetime_start = datetime.fromtimestamp(next(at for at in known if at is not None))
        if trial.state.final and trial.decision is not None:
            made.datetime_complete = datetime.fromtimestamp(trial.decision.at)
        return made

    def _agrees(self, dimensions: Iterable[tuple[str, BaseDistribution]]) -> bool:
        """Whether Optuna takes these beside the dimensions that the study has; one name has one set of choices."""
        try:
            for name, dimension in dimensions:
                check_distribution_compatibility(self._dimensions.get(name, dimension), dimension)
        except ValueError:
            return False
        return True

    def _searched(self, book: Book) -> Space | Union:
        if self._space is None or self._space[0] is not book.config:
            self._space = (book.config, search_space(SearchConfig.model_validate(book.config)))
        return self._space[1]


def _same(book: Book, trial: FrozenTrial) -> bool:
    """Whether a trial of the database is the one that the book has under its number, and not further than it is."""
    ours = book.trials.get(trial.number)
    if ours is None or trial.user_attrs.get(TRIAL_KEY) != ours.spec.key:
        return False
    return ours.state.final or not trial.state.is_finished()
