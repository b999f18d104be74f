"""A study in a real MLflow: what it holds, and that nothing it holds depends on how often it was shown."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipeline.book import Book
from pipeline.mlflow_store import MlflowTracker, read_run
from pipeline.projector import Projector
from pipeline.records import BudgetRecord, DecisionRecord, TrialState
from pipeline.store import open_store
from tests.fakes import shown
from tests.fakes.dies import Dies
from tests.fakes.tracked import MARKS, dump, files_of, mlflow_store, models_of, records_of, runs_of, shelf_of, show_all  # noqa: F401
from trainers.errors import UserError

STATES = (TrialState.COMPLETED, TrialState.PRUNED, TrialState.DIVERGED, TrialState.FAILED)

pytestmark = MARKS


def test_a_study_is_shown_whole(store):
    book = shown.book_of(records_of(store, *STATES))
    tracker = MlflowTracker(None, store, "digits")
    show_all(tracker, book)
    runs = runs_of(tracker)
    parent = runs.pop("study")
    assert sorted(runs) == ["0", "1", "2", "3"]
    assert {key: run.info.status for key, run in runs.items()} == {
        "0": "FINISHED",
        "1": "FINISHED",
        "2": "FAILED",
        "3": "FAILED",
    }
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in runs.values())
    assert parent.info.run_name == "digits"
    assert parent.info.status == "RUNNING"
    assert "is running: 1 completed, 1 pruned, 1 diverged, 1 failed" in parent.data.tags["mlflow.note.content"]
    assert parent.data.params["trials"] == "3"
    assert "secret" not in json.dumps(parent.data.to_dictionary())
    assert (store.path / "mlartifacts" / parent.info.run_id / "artifacts" / "config.json").is_file()


def test_a_trials_run_has_its_numbers_its_pictures_and_its_files(store):
    book = shown.book_of(records_of(store, TrialState.COMPLETED, TrialState.DIVERGED, TrialState.FAILED))
    tracker = MlflowTracker(None, store, "digits")
    show_all(tracker, book)
    runs = runs_of(tracker)
    run = runs["0"]
    assert run.info.run_name == "000 wgan_gp lr_d=2e-4 lambda=9.1"
    assert (run.info.start_time, run.info.end_time) == (1_001_000, 1_101_000)
    assert run.data.params["network.width"] == "16"
    assert run.data.params["space"] == "wgan_gp"
    assert run.data.tags["gansearch.state"] == "completed"
    assert [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs] == [("digits", "d" * 36)]
    history = tracker.mlflow.client.get_metric_history(run.info.run_id, f"score/{shown.METRIC}")
    assert [(m.step, m.timestamp, m.value) for m in history] == [(50, 1_001_123, 6.0), (100, 1_002_123, 5.0)]
    assert run.data.metrics["non_finite/grad_norm_d"] == 5.0
    assert all(abs(value) < 1e300 for value in run.data.metrics.values())
    files = files_of(tracker, run.info.run_id)
    names = ["config", "data", "environment", "events", "scores", "spec"]
    whole = {f"{name}.json" for name in names} | {"history.parquet", "extractor.safetensors"}
    assert {path for path in files if not path.startswith("images/")} == whole
    assert len([path for path in files if path.endswith(".png")]) == 2
    assert len([path for path in files if path.endswith("+compressed.webp")]) == 2
    assert run.data.tags["mlflow.loggedImages"] == "true"
    assert runs["1"].data.tags["gansearch.event"] == "exploding_gradient"
    mlflow.set_tracking_uri(tracker.tracking_uri)
    table = tracker.mlflow.client.load_table(tracker.mlflow.experiment, "events.json", [runs["1"].info.run_id])
    assert table["step"].tolist() == [73]
    assert "traceback.txt" in files_of(tracker, runs["2"].info.run_id)


def test_showing_again_changes_nothing(store):
    book = shown.book_of([*records_of(store, *STATES), shown.finish(0), shown.registration(0, 1)])
    tracker = MlflowTracker(None, store, "digits")
    show_all(tracker, book, "finished")
    before, shelf = dump(tracker), shelf_of(tracker)
    assert before["study"][0][1:] == ("FINISHED", 1_000_000, 1_900_000)
    assert before["0"][-1]["generator.safetensors"] == book.trials[0].segments[1].result.generator
    assert not any("generator.safetensors" in before[key][-1] for key in "123")
    show_all(tracker, book, "finished")
    assert (dump(tracker), shelf_of(tracker)) == (before, shelf)
    again = MlflowTracker(None, store, "digits")
    show_all(again, book, "finished")
    assert (dump(again), shelf_of(again)) == (before, shelf)
    assert len(models_of(again)) == 1


def test_a_lost_mlflow_is_made_anew_from_records_and_blobs(store, tmp_path):
    states = [TrialState.COMPLETED] * 4 + [TrialState.DIVERGED, TrialState.FAILED]
    versions = [(3, 1), (1, 2), (0, 3)]
    registered = [shown.registration(number, version) for number, version in versions]
    records = [*records_of(store, *states), shown.finish(0, 1, 2), *registered, shown.registration(1, 2, alias="old")]
    tracker = MlflowTracker(None, store, "digits")
    show_all(tracker, shown.book_of(records), "finished")
    before, shelf = dump(tracker), shelf_of(tracker)
    assert [model[0] for model in shelf["models"]] == ["0", "1", "2", "3"]
    assert shelf["registered"]["gan"][1] == {"champion": 3, "old": 2}
    assert [(row[0], row[1]) for row in shelf["registered"]["gan"][2]] == [(1, "3"), (2, "1"), (3, "0")]
    # Elsewhere, since one process keeps a deleted database open.
    elsewhere = open_store(tmp_path / "elsewhere")
    shutil.copytree(store.path / "blobs", elsewhere.path / "blobs")
    projector = Projector(records, MlflowTracker(None, elsewhere, "digits"))
    assert projector.show_now("finished") == 0, projector.failure
    again = MlflowTracker(None, elsewhere, "digits")
    assert (dump(again), shelf_of(again)) == (before, shelf)


def test_showing_record_by_record_or_at_once_ends_the_same(store):
    records = records_of(store, *STATES)
    slow, fast = MlflowTracker(None, store, "digits"), MlflowTracker(None, store, "other")
    book = Book()
    for record in records:
        book.apply(record)
        number = getattr(record, "trial", record.spec.number if record.kind == "trial" else None)
        slow.show(book, number, 1000.0 if number is None else 1001.0 + number)
    show_all(fast, book)
    assert dump(slow) == dump(fast)


WRITES = ("log_", "set_", "update_", "create_", "delete_")


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("same_process", [False, True])
def test_a_death_at_any_call_leaves_what_no_death_leaves(store, after, same_process):
    def records(uid: str) -> Book:
        trials = [*shown.trial(store, 0, uid=uid), *shown.trial(store, 1, TrialState.DIVERGED, uid=uid)]
        return shown.book_of([shown.study(store, uid=uid), *trials])

    def without_identity(held: dict[str, Any]) -> dict[str, Any]:
        ours = ("gansearch.study_uid", "gansearch.trial_key")
        skip = ("spec.json",)  # it holds the key
        return {
            key: (info, params, {t: v for t, v in tags.items() if t not in ours}, rows, inputs,
                  {f: d for f, d in files.items() if f not in skip})
            for key, (info, params, tags, rows, inputs, files) in held.items()
        }  # fmt: skip

    whole = MlflowTracker(None, store, "whole")
    show_all(whole, records("u1"))
    whole.finish(records("u1"), "suspended")
    wanted = without_identity(dump(whole))
    for calls in itertools.count(1):
        uid = f"death-{calls}"
        book, tracker = records(uid), MlflowTracker(None, store, f"death-{calls}")
        client = tracker.mlflow.client
        tracker.mlflow.client = Dies(client, calls, after=after, named=WRITES)
        try:
            show_all(tracker, book, "suspended")
            died = False
        except ConnectionResetError:
            died = True
        if not died:
            break
        if not same_process:
            tracker = MlflowTracker(None, store, f"death-{calls}")
        tracker.mlflow.client = client
        show_all(tracker, book, "suspended")
        assert without_identity(dump(tracker)) == wanted, f"died {'after' if after else 'before'} call {calls}"
    assert calls > 20


def test_of_two_runs_of_one_trial_the_older_stays(store):
    book = shown.book_of(records_of(store, TrialState.COMPLETED))
    tracker = MlflowTracker(None, store, "digits")
    older = tracker.show(book, 0, 1001.0).run.run_id
    tags = {"gansearch.study_uid": "u1", "gansearch.trial_key": "u1/0", "gansearch.number": "0"}
    tracker.mlflow.client.create_run(tracker.mlflow.experiment, 1_002_000, tags)
    assert MlflowTracker(None, store, "digits").show(book, 0, 1001.0).run.run_id == older
    assert runs_of(tracker)["0"].info.run_id == older


def test_a_deleted_run_and_a_deleted_experiment_are_made_anew(store):
    book = shown.book_of(records_of(store, TrialState.COMPLETED))
    tracker = MlflowTracker(None, store, "digits")
    show_all(tracker, book)
    before = dump(tracker)
    tracker.mlflow.client.delete_run(runs_of(tracker)["0"].info.run_id)
    again = MlflowTracker(None, store, "digits")
    show_all(again, book)
    assert dump(again) == before
    tracker.mlflow.client.delete_experiment(tracker.mlflow.experiment)
    show_all(MlflowTracker(None, store, "digits"), book)
    assert dump(MlflowTracker(None, store, "digits")) == before


def test_a_run_deleted_under_way_is_made_anew_at_the_second_try(store):
    records = records_of(store, None)
    tracker, book = MlflowTracker(None, store, "digits"), shown.book_of(records)
    first = tracker.show(book, 0, 1001.0).run.run_id
    tracker.mlflow.client.delete_run(first)
    book.apply(DecisionRecord(at=1100.0, trial=0, state=TrialState.PRUNED, reason="halved", score=5.0, best_index=1))
    with pytest.raises(mlflow.MlflowException):
        tracker.show(book, 0, 1001.0)
    assert tracker.show(book, 0, 1001.0).run.run_id != first
    assert runs_of(tracker)["0"].data.metrics["d_loss/max"] == 100.0


def test_a_suspended_trial_is_killed_and_runs_again_when_it_goes_on(store):
    records = records_of(store, TrialState.COMPLETED, None)
    book, tracker = shown.book_of(records), MlflowTracker(None, store, "digits")
    show_all(tracker, book, "suspended")
    runs = runs_of(tracker)
    assert [runs[key].info.status for key in ("study", "0", "1")] == ["KILLED", "FINISHED", "KILLED"]
    assert runs["1"].data.tags["gansearch.state"] == "suspended"
    assert runs["1"].info.end_time == 1_101_000, "when the last thing happened"
    later = MlflowTracker(None, store, "digits")
    show_all(later, book)
    runs = runs_of(later)
    assert [runs[key].info.status for key in ("study", "0", "1")] == ["RUNNING", "FINISHED", "RUNNING"]
    assert runs["1"].data.tags["gansearch.state"] == "running"


def test_a_larger_budget_reaches_the_configuration_file(store):
    records = records_of(store)
    tracker = MlflowTracker(None, store, "digits")
    show_all(tracker, shown.book_of(records))
    larger = BudgetRecord(at=1500.0, config=records[0].config | {"trials": 30})
    show_all(tracker, shown.book_of([*records, larger]))
    run = runs_of(tracker)["study"]
    path = tracker.mlflow.client.download_artifacts(run.info.run_id, "config.json")
    assert json.loads(Path(path).read_text())["trials"] == 30
    assert run.data.params["trials"] == "3", "MLflow's parameters are immutable"


def test_the_projector_brings_mlflow_up_to_date(store):
    records = records_of(store, *STATES)
    projector = Projector(records, MlflowTracker(None, store, "digits"))
    projector.start()
    assert projector.close(120, "finished") == 0, projector.failure
    held = runs_of(MlflowTracker(None, store, "digits"))
    assert {projector.outbox.get().run_id for _ in range(5)} == {run.info.run_id for run in held.values()}
    assert held["study"].info.status == "FINISHED"


def test_a_run_alone_gives_its_trial_back(store):
    book = shown.book_of(records_of(store, TrialState.COMPLETED, TrialState.DIVERGED))
    tracker = MlflowTracker(None, store, "digits")
    show_all(tracker, book)
    for number in (0, 1):
        bundle = read_run(tracker.tracking_uri, runs_of(tracker)[str(number)].info.run_id)
        assert bundle.spec == book.trials[number].spec
        assert bundle.history["d_loss"].to_pylist() == list(range(1, 101))
        assert bundle.extractor == b"extractor"
    with pytest.raises(UserError, match="must be the run of a trial"):
        read_run(tracker.tracking_uri, runs_of(tracker)["study"].info.run_id)
    with pytest.raises(UserError, match="run 0123 cannot be read from sqlite"):
        read_run(tracker.tracking_uri, "0123")
