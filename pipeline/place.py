"""Where a study is, as a command's options say it, and the study opened for reading."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.book import Book, Trial
from pipeline.ledger import read_book, study_names
from pipeline.messages import short
from pipeline.store import DiskStore, Store, open_store
from trainers.errors import ConfigError, nearest

if TYPE_CHECKING:
    from pipeline.mlflow_store import MlflowTracker

DEFAULT_STORE = "./gansearch-store"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a study is, as the options of a command say it; ConfigError where one is empty."""

    store: str | None = None
    study: str | None = None
    tracking_uri: str | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value == "":
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{option} must not be empty (a shell variable that is not set?): leave it out")


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study that was opened for reading."""

    name: str
    store: Store
    book: Book
    tracking_uri: str | None

    def trial(self, text: str) -> Trial:
        """Return a trial by its number or its MLflow run id.

        Raises:
            ConfigError: there is no such trial; the message says which there are.
        """
        trials = self.book.trials
        number = re.fullmatch(r"[0-9]{1,9}", text)
        if number and int(text) in trials:
            return trials[int(text)]
        for trial in trials.values():
            if trial.run_id == text:
                return trial
        there = f"0 to {len(trials) - 1}" if trials else "none yet"
        hint = "" if number else nearest(short(text), [t.run_id for t in trials.values() if t.run_id])
        told = f"study {self.name!r} has no trial {short(text)!r}{hint}"
        raise ConfigError(f"{told} (trials: {there}; `gansearch trials`)")

    def tracker(self) -> MlflowTracker:
        """Return the study in MLflow, once MLflow has answered."""
        from pipeline.mlflow_store import MlflowTracker

        tracker = MlflowTracker(self.tracking_uri, self.store, self.name)
        tracker.check()
        return tracker


def resolve_study(store: Store, name: str | None) -> str:
    """Return the study that is meant: the named one, or the only one.

    Raises:
        ConfigError: there is none of that name, or none, or several to choose from.
    """
    known = study_names(store)
    listed = ", ".join(known)
    if not known:
        raise ConfigError(
            f"there is no study in {store.uri}; begin one with `gansearch search`, or name another --store"
        )
    if name is None and len(known) > 1:
        raise ConfigError(f"--study must say which study of {store.uri} is meant: {listed}")
    if name is not None and name not in known:
        raise ConfigError(f"there is no study {name!r} in {store.uri}{nearest(name, known)} (known: {listed})")
    return known[0] if name is None else name


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
    return uris.pop() if uris else own_tracking_uri(store)


def own_tracking_uri(store: Store) -> str:
    """Return where MLflow is, for a study that names no other place: a file of the store's.

    Raises:
        ConfigError: the store is no directory, and holds no such file.
    """
    if not isinstance(store, DiskStore):
        raise ConfigError(f"--tracking-uri must be given where the store is no directory, but got --store {store.uri}")
    return f"sqlite:///{store.path}/mlflow.db"
