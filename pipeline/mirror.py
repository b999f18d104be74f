"""Make a study's runs say what its book says, writing only what differs; imports no MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Protocol, TypeVar

import pyarrow as pa

from pipeline import projection as shown
from pipeline.artifacts import digest, generator_files, sample_images, stored_files, study_files, trial_files
from pipeline.book import Book, Trial
from pipeline.projection import FILES, GENERATOR, SHOWN, STATE, Outcome, milliseconds
from pipeline.records import SegmentRecord, StudyRecord, TrialState
from pipeline.store import Store
from trainers.errors import IntegrityError
from trainers.history_file import from_bytes

T = TypeVar("T")
Broken = list[IntegrityError]  # blobs that were not there to show
Texts = Mapping[str, str]
Numbers = Mapping[str, float]
STUDY_STATUS = {"running": "RUNNING", "suspended": "KILLED", "finished": "FINISHED"}


@dataclass
class Run:
    """A run as this process left it."""

    run_id: str
    status: str
    tags: dict[str, str] = field(default_factory=dict)
    ended: int | None = None  # milliseconds since 1970
    images: dict[str, int] | None = None  # size by path; None: not looked up yet


class Runs(Protocol):
    """What a place that holds a study's runs can do; writing the same again changes nothing, but for `create`."""

    def find(self, uid: str) -> list[Run]:
        """Return all runs of the study, the oldest first."""
        ...

    def create(self, name: str, began: float, tags: dict[str, str]) -> Run:
        """Make a run that carries these tags from its first moment."""
        ...

    def delete(self, run_id: str) -> None:
        """Remove a run."""
        ...

    def log(self, run_id: str, *, tags: Texts, params: Texts, metrics: Numbers, step: int, at: float) -> None:
        """Write tags, parameters that the run does not have yet, and metrics of one step."""
        ...

    def log_data(self, run_id: str, data: dict[str, str]) -> None:
        """Name the data set that the run has used."""
        ...

    def upload(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Write files by their path in the run."""
        ...

    def sizes(self, run_id: str, folder: str) -> dict[str, int]:
        """Return the sizes of the files in a run's folder, by their path in the run."""
        ...

    def set_status(self, run_id: str, status: str, at: float) -> None:
        """Set a run's status: RUNNING, FINISHED, FAILED or KILLED."""
        ...


class Mirror:
    """The runs of one study, found again by their tags."""

    def __init__(self, runs: Runs, store: Store, check: Callable[[], None] = lambda: None) -> None:
        """Prepare to show a study; nothing is contacted before the first call.

        Args:
            runs: of all studies.
            store: that holds the study's blobs.
            check: called before each write; raises StateConflict where another driver took the study over, so that
                of a thread that thaws in the middle of showing something one write at most comes after the other's.
        """
        self._runs = runs
        self._check = check
        self._store = store
        self._known: dict[str, Run] = {}  # by trial key, and the study's own by its uid
        self._looked = False

    def forget(self) -> None:
        """Look everything up again: a call failed, but may have worked, with only its answer lost."""
        self._known, self._looked = {}, False

    def find(self, book: Book, trial: Trial) -> Run | None:
        """Return a trial's run, if it has one."""
        return self._all(book.begun).get(trial.spec.key)

    def show(self, book: Book, trial: int | None, began: float) -> tuple[Run, Broken]:
        """Make the run of a trial, or of the study, say what the book says, as far as the blobs are there to show."""
        if trial is None:
            return self.show_study(book, began), []
        return self.show_trial(book, book.trials[trial], began)

    def show_study(self, book: Book, began: float) -> Run:
        """Make the study's run say what the book says, and return it; it is made where it is missing."""
        study, config = book.begun, digest(book.config)
        runs = self._all(study)
        if study.uid not in runs:
            runs[study.uid] = self._writing.create(study.study, began, shown.identity_tags(book, None))
        run = runs[study.uid]
        if run.tags.get(SHOWN) != config:
            self._writing.upload(run.run_id, study_files(book))
            self._log(run, params=shown.study_params(book), tags=shown.study_tags(book, "running") | {SHOWN: config})
        return run

    def show_trial(self, book: Book, trial: Trial, began: float) -> tuple[Run, Broken]:
        """Make a trial's run say what the book says, and return it; it is made where it is missing."""
        parent, runs = self.show_study(book, began), self._all(book.begun)
        if trial.spec.key not in runs:
            tags = shown.identity_tags(book, trial) | {"mlflow.parentRunId": parent.run_id}
            runs[trial.spec.key] = self._writing.create(shown.run_name(trial.spec), began, tags)
        run, broken = runs[trial.spec.key], Broken()
        if SHOWN not in run.tags:
            self._writing.log_data(run.run_id, shown.data_input(book.begun))
            self._log(run, params=shown.trial_params(trial.spec), tags={SHOWN: "0"})
        for record in trial.segments[shown.segments_shown(run.tags[SHOWN]) :]:
            self._show_segment(run, record, broken)
        ended = trial.state.final and run.tags.get(STATE) != trial.state
        if trial.state.final and run.tags.get(FILES) != trial.state:
            self._show_files(book, trial, run, broken)
        self._tag(run, shown.trial_tags(book, trial))
        self._set_status(run, shown.RUN_STATUS[trial.state], trial.decision.at if trial.decision else began)
        if ended or trial.state is TrialState.RUNNING:
            self._tag(parent, shown.study_tags(book, "running"))
            self._set_status(parent, "RUNNING", began)
        return run, broken

    def finish(self, book: Book, outcome: Outcome) -> Broken:
        """End the study's run and those of trials without a final state; add what kept generators need."""
        at, broken = shown.ended_at(book), Broken()
        parent, runs = self.show_study(book, at), self._all(book.begun)
        for trial in book.trials.values():
            run = runs.get(trial.spec.key)
            if run is not None and not trial.state.final:
                suspended = trial.state is TrialState.SUSPENDED and trial.decision is not None
                self._tag(run, {STATE: "suspended"})
                self._set_status(run, "KILLED", trial.decision.at if suspended and trial.decision else at)
        self.show_generators(book, broken)
        self._tag(parent, shown.study_tags(book, outcome))
        self._set_status(parent, STUDY_STATUS[outcome], at)
        return broken

    def show_generators(self, book: Book, broken: Broken) -> None:
        """Put the generators that are kept for good into their runs, as far as there are runs."""
        for trial in shown.generators(book):
            run = self.find(book, trial)
            weights, _ = shown.trial_generator(book, trial)
            if run is not None and run.tags.get(GENERATOR) != weights:
                files = _tried(partial(generator_files, book, trial, self._store), broken)
                if files is not None:
                    self._writing.upload(run.run_id, files)
                    self._tag(run, {GENERATOR: weights})

    def _show_segment(self, run: Run, record: SegmentRecord, broken: Broken) -> None:
        """Show the pictures first, and then the numbers together with the mark that says that both are there.

        The mark stays before the first segment that is not whole, so that each later try begins with it.
        """
        files = _tried(lambda: sample_images(self._store, record), broken) or {}
        if run.images is None:
            run.images = self._runs.sizes(run.run_id, "images")
        # A file of another size was cut short by a crash; one of the same size has the same name, so the same content.
        fresh = {path: data for path, data in files.items() if run.images.get(path) != len(data)}
        if fresh:
            self._writing.upload(run.run_id, fresh)
        run.images |= {path: len(data) for path, data in fresh.items()}
        history = _tried(lambda: from_bytes(self._store.get(record.result.history)), broken)
        metrics = shown.segment_metrics(pa.table({}) if history is None else history, record)
        tags = {} if broken else {SHOWN: str(record.index + 1)}
        tags |= {"mlflow.loggedImages": "true"} if files else {}
        self._log(run, metrics=metrics, tags=tags, step=record.result.stop, at=record.at)

    def _show_files(self, book: Book, trial: Trial, run: Run, broken: Broken) -> None:
        lost = Broken()
        made = {path: _tried(make, lost) for path, make in stored_files(book, trial, self._store).items()}
        files = {path: data for path, data in made.items() if data is not None}
        self._writing.upload(run.run_id, trial_files(book, trial) | files)
        broken += lost
        if not lost:
            self._tag(run, {FILES: trial.state})

    def _tag(self, run: Run, tags: dict[str, str]) -> None:
        if changed := {key: value for key, value in tags.items() if run.tags.get(key) != value}:
            self._log(run, tags=changed)

    def _log(
        self,
        run: Run,
        *,
        tags: Texts,
        params: Texts = MappingProxyType({}),
        metrics: Numbers = MappingProxyType({}),
        step: int = 0,
        at: float = 0.0,
    ) -> None:
        self._writing.log(run.run_id, tags=tags, params=params, metrics=metrics, step=step, at=at)
        run.tags |= tags

    def _set_status(self, run: Run, status: str, at: float) -> None:
        ended = None if status == "RUNNING" else milliseconds(at)
        if run.status != status or (ended is not None and run.ended != ended):
            self._writing.set_status(run.run_id, status, at)
            run.status, run.ended = status, ended

    @property
    def _writing(self) -> Runs:
        self._check()
        return self._runs

    def _all(self, study: StudyRecord) -> dict[str, Run]:
        """Return the study's runs by key; of two with one key the older stays."""
        if not self._looked:
            for run in self._runs.find(study.uid):
                key = run.tags.get(shown.TRIAL_KEY, study.uid)
                if self._known.setdefault(key, run) is not run:
                    self._writing.delete(run.run_id)
            self._looked = True
        return self._known


def _tried(make: Callable[[], T], broken: Broken) -> T | None:
    """Return what `make` makes from blobs, or None, with the reason noted, where one is missing or corrupt."""
    try:
        return make()
    except IntegrityError as error:
        broken.append(error)
        return None
