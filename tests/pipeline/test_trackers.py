"""A tracker that does not answer is refused, or told where it may do so later; one that refuses always is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.store import DiskStore, open_store
from pipeline.trackers import ask, open_trackers, same_database
from tests.command_line import free_port
from tests.fakes.tracked import MARKS
from trainers.errors import ConfigError, Unreachable

pytestmark = MARKS


def raises(error: Exception) -> Callable[[], None]:
    def check() -> None:
        raise error

    return check


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    opened = open_store(tmp_path / "store")
    assert isinstance(opened, DiskStore)
    return opened


def test_who_answers_is_not_told() -> None:
    said: list[str] = []
    ask(lambda: None, said.append)
    assert said == []


def test_who_does_not_answer_is_told_where_somebody_is_to_be_told() -> None:
    said: list[str] = []
    ask(raises(Unreachable("MLflow at x cannot be used: nobody answers")), said.append)
    goes_on = "the search goes on, and shows there what is missing once it answers"
    assert said == [f"MLflow at x cannot be used: nobody answers; {goes_on}"]
    with pytest.raises(Unreachable, match="nobody answers"):
        ask(raises(Unreachable("nobody answers")), None)


@pytest.mark.parametrize("error", [Unreachable("it refuses (401)", for_good=True), ConfigError("no such URL")])
def test_what_no_waiting_mends_is_refused(error: Exception) -> None:
    said: list[str] = []
    with pytest.raises(type(error), match=str(error).partition("(")[0]):
        ask(raises(error), said.append)
    assert said == []


def test_a_server_that_is_down_is_told_and_its_study_is_opened_all_the_same(store: DiskStore) -> None:
    said: list[str] = []
    uri = f"http://me:secret@127.0.0.1:{free_port()}"
    (tracker,) = open_trackers({}, store, "digits", uri, absent=said.append)
    assert tracker.tracking_uri == uri
    assert len(said) == 1
    assert said[0].startswith("MLflow at http://***@127.0.0.1:")
    assert "secret" not in said[0]
    with pytest.raises(Unreachable, match="start the server"):
        open_trackers({}, store, "digits", uri)


def test_mlflow_and_optuna_have_a_database_each(
    store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="study_storage must be another database than MLflow's"):
        open_trackers({"study_storage": "sqlite:///store/mlflow.db"}, store, "digits", None)
    assert not (store.path / "mlflow.db").exists(), "it was found out before anything was asked"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sqlite:////a/b.db", "sqlite:////a/b.db", True),
        ("sqlite:///b.db", "sqlite:////here/b.db", True),
        ("sqlite+pysqlite:////here/x/../b.db?timeout=5", "sqlite:////here/b.db", True),
        ("sqlite:////a/me@1.db", "sqlite:////b/me@1.db", False),
        ("sqlite:////a/b.db", "sqlite:////a/c.db", False),
        ("postgresql://me:pw@host/db", "postgresql+psycopg2://you@HOST/db?sslmode=off", True),
        ("postgresql://host/db", "postgresql://host/other", False),
        ("postgresql://host/db", "mysql://host/db", False),
        ("sqlite:////a/b.db", "http://host/a/b.db", False),
    ],
)
def test_one_database_may_be_written_in_several_ways(
    one: str, other: str, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getcwd", lambda: "/here")
    assert same_database(one, other) == same
    assert same_database(other, one) == same
