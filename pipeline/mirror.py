"""Make a study's runs say what its book says, writing only what differs; imports no MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from pipeline import projection as shown
from pipeline.artifacts import digest, sample_images, study_files, trial_files
from pipeline.book import Book, Trial
from pipeline.projection import SHOWN, STATE, Outcome
from pipeline.records import SegmentRecord, StudyRecord
from pipeline.store import Store
from trainers.history import from_bytes

Texts = Mapping[str, str]
Numbers = Mapping[str, float]
STUDY_STATUS = {"running": "RUNNING", "suspended": "KILLED", "finished": "FINISHED"}


@dataclass
class Run:
    """A run as this process left it."""

    run_id: str
    status: str
    tags: dict[str, str] = field(default_factory=dict)
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

    def __init__(self, runs: Runs, store: Store) -> None:
        """Prepare to show a study whose blobs are in `store`; nothing is contacted before the first call."""
        self._runs = runs
        self._store = store
        self._known: dict[str, Run] = {}  # by trial key, and the study's own by its uid
        self._looked = False

    def forget(self) -> None:
        """Look everything up again: a call failed, but may have worked, with only its answer lost."""
        self._known, self._looked = {}, False

    def find(self, book: Book, trial: Trial) -> Run | None:
        """Return a trial's run, if it has one."""
        return self._all(_study(book)).get(trial.spec.key)

    def show(self, book: Book, trial: int | None, began: float) -> Run:
        """Make the run of a trial, or of the study, say what the book says, and return it."""
        return self.show_study(book, began) if trial is None else self.show_trial(book, book.trials[trial], began)

    def show_study(self, book: Book, began: float) -> Run:
        """Make the study's run say what the book says, and return it; it is made where it is missing."""
        study, config = _study(book), digest(book.config)
        runs = self._all(study)
        if study.uid not in runs:
            runs[study.uid] = self._runs.create(study.study, began, shown.identity_tags(book, None))
        run = runs[study.uid]
        if run.tags.get(SHOWN) != config:
            self._runs.upload(run.run_id, study_files(book))
            self._log(run, params=shown.study_params(book), tags=shown.study_tags(book, "running") | {SHOWN: config})
        return run

    def show_trial(self, book: Book, trial: Trial, began: float) -> Run:
        """Make a trial's run say what the book says, and return it; it is made where it is missing."""
        parent, runs = self.show_study(book, began), self._all(_study(book))
        if trial.spec.key not in runs:
            tags = shown.identity_tags(book, trial) | {"mlflow.parentRunId": parent.run_id}
            runs[trial.spec.key] = self._runs.create(shown.run_name(trial.spec), began, tags)
        run = runs[trial.spec.key]
        if SHOWN not in run.tags:
            self._runs.log_data(run.run_id, shown.data_input(_study(book)))
            self._log(run, params=shown.trial_params(trial.spec), tags={SHOWN: "0"})
        for record in trial.segments[int(run.tags[SHOWN]) :]:
            self._show_segment(run, record)
        ended = trial.state.final and run.tags.get(STATE) != trial.state
        if ended:
            self._runs.upload(run.run_id, trial_files(book, trial, self._store))
        self._tag(run, shown.trial_tags(book, trial))
        self._set_status(run, shown.RUN_STATUS[trial.state], trial.decision.at if trial.decision else began)
        if ended or not trial.state.final:
            self._tag(parent, shown.study_tags(book, "running"))
            self._set_status(parent, "RUNNING", began)
        return run

    def finish(self, book: Book, outcome: Outcome, at: float) -> None:
        """End the study's run, and those of trials that have no final state."""
        parent, runs = self.show_study(book, at), self._all(_study(book))
        for trial in book.trials.values():
            run = runs.get(trial.spec.key)
            if run is not None and not trial.state.final:
                self._tag(run, {STATE: "suspended"})
                self._set_status(run, "KILLED", at)
        self._tag(parent, shown.study_tags(book, outcome))
        self._set_status(parent, STUDY_STATUS[outcome], at)

    def _show_segment(self, run: Run, record: SegmentRecord) -> None:
        """Show the pictures first, and then the numbers together with the mark that says that both are there."""
        files = sample_images(self._store, record)
        if run.images is None:
            run.images = self._runs.sizes(run.run_id, "images")
        # A file of another size was cut short by a crash; one of the same size has the same name, so the same content.
        fresh = {path: data for path, data in files.items() if run.images.get(path) != len(data)}
        if fresh:
            self._runs.upload(run.run_id, fresh)
        run.images |= {path: len(data) for path, data in fresh.items()}
        metrics = shown.segment_metrics(from_bytes(self._store.get(record.result.history)), record)
        tags = {SHOWN: str(record.index + 1)} | ({"mlflow.loggedImages": "true"} if files else {})
        self._log(run, metrics=metrics, tags=tags, step=record.result.stop, at=record.at)

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
        self._runs.log(run.run_id, tags=tags, params=params, metrics=metrics, step=step, at=at)
        run.tags |= tags

    def _set_status(self, run: Run, status: str, at: float) -> None:
        if run.status != status:
            self._runs.set_status(run.run_id, status, at)
            run.status = status

    def _all(self, study: StudyRecord) -> dict[str, Run]:
        """Return the study's runs by key; of two with one key the older stays."""
        if not self._looked:
            for run in self._runs.find(study.uid):
                key = run.tags.get(shown.TRIAL_KEY, study.uid)
                if self._known.setdefault(key, run) is not run:
                    self._runs.delete(run.run_id)
            self._looked = True
        return self._known


def _study(book: Book) -> StudyRecord:
    assert book.study is not None, "a journal's first record is its study"  # noqa: S101 - ours, not the user's
    return book.study
