"""Where a study is, as a command's options say it, and the study opened for reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.book import Book, Trial
from pipeline.ledger import read_book, resolve_study, study_names
from pipeline.store import DiskStore, open_store
from trainers.errors import ConfigError, nearest

if TYPE_CHECKING:
    from pipeline.mlflow_store import Tracker

DEFAULT_STORE = "./gansearch-store"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a study is, as the options of a command say it."""

    store: str | None = None
    study: str | None = None
    tracking_uri: str | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study that was opened for reading."""

    name: str
    store: DiskStore
    book: Book
    tracking_uri: str | None

    def trial(self, text: str) -> Trial:
        """Return a trial by its number or its MLflow run id.

        Raises:
            ConfigError: there is no such trial; the message says which there are.
        """
        trials = self.book.trials
        if text.isdecimal() and int(text) in trials:
            return trials[int(text)]
        for trial in trials.values():
            if trial.run_id == text:
                return trial
        there = f"0 to {len(trials) - 1}" if trials else "none yet"
        hint = nearest(text, [t.run_id for t in trials.values() if t.run_id]) if not text.isdecimal() else ""
        raise ConfigError(f"study {self.name!r} has no trial {text!r}{hint} (trials: {there}; `gansearch trials`)")

    def tracker(self) -> Tracker:
        """Return the study in MLflow, once MLflow has answered."""
        from pipeline.mlflow_store import Tracker

        tracker = Tracker(self.tracking_uri, self.store, self.name)
        tracker.check()
        return tracker


def open_study(place: Place) -> Study:
    """Open a study for reading.

    Raises:
        Unreachable: the store is not there.
        ConfigError: the study is not in it, or none was named where there are several.
    """
    store = open_store(place.store or DEFAULT_STORE, create=False)
    name = resolve_study(store, place.study)
    book = read_book(store, name)
    return Study(name=name, store=store, book=book, tracking_uri=place.tracking_uri or book.config.get("tracking_uri"))


def tracking_uri(place: Place) -> str:
    """Return where MLflow is: as the option says, else as the only study does, else the store's own file."""
    if place.tracking_uri is not None:
        return place.tracking_uri
    store = open_store(place.store or DEFAULT_STORE, create=False)
    names = study_names(store) if place.study is None else [resolve_study(store, place.study)]
    configs = [read_book(store, name).config for name in names]
    uris = {str(config["tracking_uri"]) for config in configs if config.get("tracking_uri")}
    if len(uris) > 1:
        raise ConfigError(f"--tracking-uri must be given: the studies in {store.uri} use {', '.join(sorted(uris))}")
    return uris.pop() if uris else f"sqlite:///{store.path}/mlflow.db"
