"""What MLflow and Optuna's database show can be deleted, and comes back from the ledger alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest

from pipeline import upkeep
from pipeline.config import SearchConfig
from pipeline.journal import epoch_name
from pipeline.ledger import Ledger, read_book, read_records
from pipeline.mlflow_store import MlflowTracker
from pipeline.place import Place
from pipeline.records import BudgetRecord, TrialState
from pipeline.store import DiskStore, open_store
from tests.command_line import document, free_port, gansearch, refusal
from tests.fakes import shown
from tests.fakes.tracked import MARKS, dump, mlflow_store, records_of, runs_of, shelf_of  # noqa: F401
from tests.finished_search import Finished
from trainers.errors import ConfigError, IntegrityError, StateConflict, Unreachable

pytestmark = MARKS
STATES = [TrialState.COMPLETED, TrialState.COMPLETED, TrialState.DIVERGED]


@pytest.fixture
def place(store: DiskStore) -> Place:
    """A finished study that nobody has shown yet."""
    with Ledger.open(store, "digits") as ledger:
        ledger.append(*records_of(store, *STATES, tracking_uri=None), shown.finish(0))
    return Place(store=str(store.path))


def unsaid(line: str) -> None:
    return None


def held(store: DiskStore, study: str) -> tuple[dict[str, Any], dict[str, Any]]:
    tracker = MlflowTracker(None, store, study)
    return dump(tracker), shelf_of(tracker)


def append(store: DiskStore, *records: Any) -> None:
    with Ledger.open(store, "digits") as ledger:
        ledger.append(*records)


def test_everything_is_shown_and_the_runs_enter_the_journal_once(place, store):
    said: list[str] = []
    told = upkeep.sync(place, said.append)
    assert told == {"study": "digits", "unsynced": 0, "tracking_uri": f"sqlite:///{store.path}/mlflow.db"}
    assert said
    runs = runs_of(MlflowTracker(None, store, "digits"))
    book = read_book(store, "digits")
    assert {number: trial.run_id for number, trial in book.trials.items()} == {
        n: runs[str(n)].info.run_id for n in range(3)
    }
    assert book.run_id == runs["study"].info.run_id
    assert runs["study"].info.status == "FINISHED"
    before, records = held(store, "digits"), read_records(store, "digits")
    upkeep.sync(place, unsaid)
    assert (held(store, "digits"), read_records(store, "digits")) == (before, records)


def test_who_is_taken_over_from_in_the_middle_shows_and_keeps_nothing(place, store):
    def taken_over(line: str) -> None:
        if line.startswith("showing"):  # its ledger is open
            store.create(epoch_name("digits", len(store.names("studies/digits/epochs")) + 1), b"{}")

    with pytest.raises(StateConflict, match="another driver took study 'digits' over"):
        upkeep.sync(place, taken_over)
    assert all(trial.run_id is None for trial in read_book(store, "digits").trials.values())


def test_a_study_that_is_being_searched_is_left_to_its_search(place, store):
    with Ledger.open(store, "digits"), pytest.raises(StateConflict):
        upkeep.sync(place, unsaid)


def test_an_mlflow_that_does_not_answer_is_out_of_reach(place, store):
    away = Place(store=place.store, tracking_uri=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unreachable, match="start the server"):
        upkeep.sync(away, unsaid)


def test_a_corrupt_blob_is_named_and_all_else_is_shown(place, store):
    digest = read_book(store, "digits").trials[1].segments[0].result.samples
    (store.path / "blobs" / digest[:2] / digest).write_bytes(b"damaged")
    with pytest.raises(IntegrityError, match=f"could not be shown whole.*{digest}"):
        upkeep.sync(place, unsaid)
    runs = runs_of(MlflowTracker(None, store, "digits"))
    assert {key: run.info.status for key, run in runs.items()} == {
        "study": "FINISHED",
        "0": "FINISHED",
        "1": "FINISHED",
        "2": "FAILED",
    }
    assert read_book(store, "digits").trials[1].run_id == runs["1"].info.run_id


def test_a_registration_is_recorded_once_and_then_has_the_alias(place, store):
    upkeep.sync(place, unsaid)
    options = {"name": "gan", "alias": "champion", "dry_run": False}
    for _ in range(2):
        done, refusal = upkeep.register(place, "1", **options)
        assert (done["version"], refusal) == (1, None)
    (record,) = read_book(store, "digits").registrations
    assert (record.trial, record.version, record.alias) == (1, 1, "champion")
    runs, shelf = held(store, "digits")
    assert shelf["registered"]["gan"][1] == {"champion": 1}
    assert [key for key in ("0", "1", "2") if "generator.safetensors" in runs[key][-1]] == ["0", "1"]
    assert [key for key, *_ in shelf["models"]] == ["0", "1"]
    upkeep.sync(place, unsaid)
    assert held(store, "digits") == (runs, shelf)


def test_a_registration_that_died_before_its_alias_is_completed(place, store):
    append(store, shown.registration(1, 1))
    upkeep.sync(place, unsaid)
    assert held(store, "digits")[1]["registered"]["gan"][1] == {"champion": 1}


# -- Optuna's database -------------------------------------------------------------------------------------------------


def with_optuna(store: DiskStore, url: str) -> None:
    """Let the study be one that was searched with `study_storage`."""
    search = SearchConfig(study="digits", study_storage=url).model_dump(mode="json")
    append(store, BudgetRecord(at=2000.0, config=search))


def test_optunas_database_is_brought_up_to_date_too(place, store, tmp_path):
    url = f"sqlite:///{tmp_path}/optuna.db"
    with_optuna(store, url)
    for _ in range(2):
        assert upkeep.sync(place, unsaid)["unsynced"] == 0
        found = optuna.load_study(study_name="digits", storage=url).trials
        assert [trial.state.name for trial in found] == ["COMPLETE", "COMPLETE", "PRUNED"]
        (tmp_path / "optuna.db").unlink()


def test_mlflows_own_database_is_not_optunas(place, store):
    with_optuna(store, f"sqlite:///{store.path}/mlflow.db")
    with pytest.raises(ConfigError, match="study_storage must be another database than MLflow's"):
        upkeep.sync(place, unsaid)


# -- a search's own runs -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_a_search_showed_is_shown_again_after_all_of_it_was_deleted(finished: Finished, tmp_path: Path):
    ours = tmp_path / "store"
    shutil.copytree(finished.store.path, ours, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    copy = open_store(ours, create=False)
    assert isinstance(copy, DiskStore)
    told = document(gansearch("sync", "--store", ours, "--format", "json", cwd=tmp_path))
    assert told == {"study": "tiny", "unsynced": 0, "tracking_uri": f"sqlite:///{ours}/mlflow.db"}
    original = held(finished.store, "tiny")
    assert held(copy, "tiny") == original
    book = read_book(copy, "tiny")
    assert {t.run_id for t in book.trials.values()}.isdisjoint(t.run_id for t in finished.book.trials.values())


@pytest.mark.slow
def test_the_commands_exit_codes_say_what_is_wrong(finished: Finished, tmp_path: Path):
    ours = tmp_path / "store"
    shutil.copytree(finished.store.path, ours, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    away = f"http://127.0.0.1:{free_port()}"
    refused = gansearch("sync", "--store", ours, "--tracking-uri", away, cwd=tmp_path)
    assert away in refusal(refused, 4)
    with Ledger.open(open_store(ours), "tiny"):
        assert "is in use" in refusal(gansearch("sync", "--store", ours, cwd=tmp_path), 5)
