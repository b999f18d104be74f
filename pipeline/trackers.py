"""Every place where a study is shown: MLflow, and a database of Optuna's where one is named; imports neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from pipeline.database_file import database_file
from pipeline.projector import Tracker
from pipeline.safe_text import redact
from pipeline.store import Store
from trainers.errors import ConfigError, Unreachable


def open_trackers(
    config: Mapping[str, Any],
    store: Store,
    study: str,
    tracking_uri: str | None,
    uid: str | None = None,
    absent: Callable[[str], None] | None = None,
    taken_over: Callable[[], None] = lambda: None,
) -> list[Tracker]:
    """Return where a study is shown, MLflow first, once each place has answered.

    Args:
        config: the search's, as JSON.
        store: that holds the study's blobs.
        study: its name.
        tracking_uri: where MLflow is; None is the store's own file.
        uid: of the study, where it has begun.
        absent: told one line for each place that does not answer, but may do so later; None refuses such a place.
        taken_over: called before MLflow is written to; raises StateConflict where another driver shows the study.

    Raises:
        Unreachable: one of them does not answer, or refuses; the message names the mend.
        ConfigError: both would be in one database, or one is not where it could be.
        StateConflict: Optuna's database has another study of the name.
    """
    from pipeline.mlflow_store import MlflowTracker

    mlflow, url = MlflowTracker(tracking_uri, store, study, taken_over), config.get("study_storage")
    if url is None:
        ask(mlflow.check, absent)
        return [mlflow]
    if same_database(str(url), mlflow.tracking_uri):  # their tables have one name in common
        raise ConfigError(f"study_storage must be another database than MLflow's, but got {redact(str(url))!r}")
    from pipeline.optuna_storage import StudyStorage

    optuna = StudyStorage(str(url), study)
    for check in (mlflow.check, optuna.check, partial(optuna.check_owner, uid)):
        ask(check, absent)
    return [mlflow, optuna]


def ask(check: Callable[[], None], absent: Callable[[str], None] | None) -> None:
    """Let a place answer; see `open_trackers`.

    Raises:
        Unreachable: as `check` raises it, where no waiting can mend it or nobody is to be told.
    """
    try:
        check()
    except Unreachable as error:
        if absent is None or error.for_good:
            raise
        absent(f"{error}; the search goes on, and shows there what is missing once it answers")


def same_database(study_storage: str, tracking_uri: str) -> bool:
    """Whether two URLs mean one database: the same file, however it is written, or the same name on one server.

    Raises:
        ConfigError: one is no URL, or that of a database in memory.
    """
    return _place("study_storage", study_storage) == _place("tracking_uri", tracking_uri)


def _place(key: str, url: str) -> object:
    file, parts = database_file(key, url), urlsplit(url)
    if file is not None:
        return file.resolve()
    return parts.scheme.partition("+")[0], parts.netloc.rpartition("@")[2].lower(), parts.path  # whatever the driver
