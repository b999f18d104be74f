"""What MLflow shows is a function of the ledger's records and the kept blobs, however often and however far it got."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.projection import outcome_of
from pipeline.projector import Projector
from pipeline.records import AttemptRecord, BudgetRecord, DecisionRecord, Record, RunRecord, SegmentRecord, TrialState
from pipeline.store import Store
from tests.fakes import shown
from tests.fakes.memory_mlflow import MemoryMlflow, MemoryMlflowTracker
from tests.fakes.memory_store import MemoryStore

STATES = (TrialState.COMPLETED, TrialState.PRUNED, TrialState.DIVERGED, TrialState.FAILED, TrialState.COMPLETED)
PICTURED = ((0, 1), (2, 0))  # trials and segments whose pictures are drawn, which takes time
VERSIONS = [(4, 1, "champion"), (0, 2, "champion"), (4, 1, "old"), (4, 1, "champion"), (0, 2, "champion")]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def whole_study(store: Store) -> list[Record]:
    trials = [shown.trial(store, number, state, score=5.0 + number) for number, state in enumerate(STATES)]
    registered = [shown.registration(number, version, alias=alias) for number, version, alias in VERSIONS]
    records = [shown.study(store), *itertools.chain.from_iterable(trials), shown.finish(0, 4), *registered]
    return [plain(record) for record in records]


def plain(record: Record) -> Record:
    if not isinstance(record, SegmentRecord) or (record.trial, record.index) in PICTURED:
        return record
    return record.model_copy(update={"result": record.result.model_copy(update={"samples": None})})


def sync(records: list[Record], mlflow: MemoryMlflow, store: Store) -> Projector:
    projector = Projector(records, MemoryMlflowTracker(mlflow, store))
    projector.show_now(outcome_of(shown.book_of(records)))
    return projector


def shown_whole(records: list[Record], store: Store) -> Any:
    """What a place that was empty shows after one synchronisation."""
    mlflow = MemoryMlflow()
    assert sync(records, mlflow, store).unsynced == 0
    return mlflow.snapshot()


def test_a_study_is_shown_with_its_models_versions_and_aliases(store):
    runs, models, names = shown_whole(whole_study(store), store)
    assert {key: run["status"] for key, run in runs.items()} == {
        "study": "FINISHED",
        "u1/0": "FINISHED",
        "u1/1": "FINISHED",
        "u1/2": "FAILED",
        "u1/3": "FAILED",
        "u1/4": "FINISHED",
    }
    assert runs["study"]["ended"] == 1_900_000, "a registration comes after the study's end"
    assert [key for key, run in runs.items() if "generator.safetensors" in run["files"]] == ["u1/0", "u1/4"]
    assert [(model["run"], model["whole"]) for model in models] == [("u1/0", True), ("u1/4", True)]
    aliases, versions = names["gan"]
    assert aliases == {"champion": 2, "old": 1}
    assert [model["run"] for _, _, model in versions] == ["u1/4", "u1/0"], "in the order of their registrations"


def test_synchronising_again_writes_nothing(store):
    records, mlflow = whole_study(store), MemoryMlflow()
    runs = sync(records, mlflow, store).drain()
    before, writes = mlflow.snapshot(), mlflow.writes
    for journal in (records, [*records, *runs]):
        assert sync(journal, mlflow, store).drain() == ([] if journal is not records else runs)
        assert (mlflow.snapshot(), mlflow.writes) == (before, writes)


@pytest.mark.parametrize(
    ("after", "same_process"),
    [
        (True, False),
        *(pytest.param(*chosen, marks=pytest.mark.slow) for chosen in ((False, False), (False, True), (True, True))),
    ],
)
def test_a_death_at_any_write_leaves_what_no_death_leaves(store, after, same_process):
    records = whole_study(store)
    wanted = shown_whole(records, store)
    for number in itertools.count(1):
        mlflow = MemoryMlflow(dies_at=number, after=after)
        tracker = MemoryMlflowTracker(mlflow, store)
        book = shown.book_of(records)
        try:
            for trial in (None, *book.trials):
                tracker.show(book, trial, 1000.0 if trial is None else 1001.0 + trial)
            tracker.finish(book, "finished")
            died = False
        except ConnectionResetError:
            died = True
        again = tracker if same_process else MemoryMlflowTracker(mlflow, store)
        projector = Projector(records, again)
        assert projector.show_now("finished") == 0
        assert mlflow.snapshot() == wanted, f"died {'after' if after else 'before'} write {number}"
        if not died:
            break
    assert number > 60


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_it_does_not_matter_when_or_how_often_it_is_shown(data):
    """Drivers come and go, MLflow is down for a while, everything is deleted: the end is the same."""
    store = MemoryStore()
    records = whole_study(store)
    suspended = DecisionRecord(at=1003.5, trial=1, state=TrialState.SUSPENDED, reason="stopped")
    resumed = AttemptRecord(at=1003.7, trial=1, attempt=1, worker="worker-1", step=50)
    at = next(i for i, r in enumerate(records) if isinstance(r, DecisionRecord) and r.trial == 1)
    records[at:at] = [suspended, resumed, BudgetRecord(at=1003.8, config=records[0].config | {"trials": 5})]
    mlflow = MemoryMlflow()
    for upto in sorted(data.draw(st.lists(st.integers(1, len(records)), max_size=5))):
        sync(records[:upto], mlflow, store)
    sync(records, mlflow, store)
    assert mlflow.snapshot() == shown_whole(records, store)


def test_a_run_record_changes_no_time(store):
    records = whole_study(store)
    late = RunRecord(at=9999.0, trial=0, run_id="r", tracking_uri="memory://")
    assert shown_whole([*records, late], store) == shown_whole(records, store)


def test_a_driver_that_was_killed_leaves_a_study_that_is_suspended(store):
    records = [shown.study(store), *shown.trial(store, 0), *shown.trial(store, 1, None)]
    runs, _, _ = shown_whole(records, store)
    assert [runs[key]["status"] for key in ("study", "u1/0", "u1/1")] == ["KILLED", "FINISHED", "KILLED"]
    assert runs["u1/1"]["ended"] == runs["study"]["ended"] == 1_101_000


def test_a_study_that_stopped_again_while_mlflow_was_away_stopped_the_second_time(store):
    records = [shown.study(store), *shown.trial(store, 0), *shown.trial(store, 1, None)]
    first = DecisionRecord(at=1200.0, trial=1, state=TrialState.SUSPENDED, reason="stopped")
    resumed = AttemptRecord(at=1300.0, trial=1, attempt=1, worker="worker-1", step=100)
    mlflow = MemoryMlflow()
    sync([*records, first], mlflow, store)
    records += [first, resumed, first.model_copy(update={"at": 1400.0})]
    sync(records, mlflow, store)
    assert mlflow.snapshot() == shown_whole(records, store)
    assert mlflow.snapshot()[0]["study"]["ended"] == 1_400_000


@pytest.mark.parametrize("kind", ["history", "samples", "generator", "extractor"])
@pytest.mark.parametrize("how", ["missing", "corrupt"])
def test_a_blob_that_is_not_there_keeps_nothing_else_from_being_shown(store, kind, how):
    records = whole_study(store)
    book = shown.book_of(records)
    digest = book.study.extractor if kind == "extractor" else getattr(book.trials[0].segments[1].result, kind)
    wanted, kept = shown_whole(records, store), store.blobs.pop(digest)
    if how == "corrupt":
        store.blobs[digest] = kept[:-1]
    mlflow = MemoryMlflow()
    projector = sync(records, mlflow, store)
    assert digest in str(projector.integrity)
    assert digest in projector.failure
    runs, models, names = mlflow.snapshot()
    assert [run["status"] for run in runs.values()] == [run["status"] for run in wanted[0].values()]
    assert runs["u1/0"]["metrics"].keys() & {(f"score/{shown.METRIC}", 100, 1_002_123)}
    if kind not in ("extractor", "history"):  # which the other trials have too
        assert {**runs, "u1/0": 0} == {**wanted[0], "u1/0": 0}
    if kind == "generator":
        assert [model["run"] for model in models] == ["u1/4"]
        assert names["gan"][0] == {"champion": 1, "old": 1}
    else:
        assert projector.unsynced > 0
        assert (models, names) == wanted[1:]
    writes = mlflow.writes
    projector.show_now("finished")
    assert mlflow.writes - writes < 5, "it is not tried again and again"
    store.blobs[digest] = kept
    assert sync(records, mlflow, store).integrity is None
    if kind != "generator":  # whose versions came in another order
        assert mlflow.snapshot() == wanted


def test_an_alias_of_another_studys_version_is_left_alone(store):
    records, mlflow = whole_study(store), MemoryMlflow()
    mlflow.models["theirs"] = {"run": "x", "tags": {}, "whole": True}
    mlflow.registered["gan"] = {
        "versions": [({"gansearch.trial_key": "other/1"}, "", "theirs")],
        "aliases": {"champion": 1},
    }
    sync(records, mlflow, store)
    assert mlflow.aliases("gan") == {"champion": 1, "old": 2}


def test_a_version_that_comes_back_under_another_number_is_told_once(store, caplog):
    records = whole_study(store)  # whose versions are 1 and 2
    tracker, book = MemoryMlflowTracker(MemoryMlflow(), store), shown.book_of(records)
    sync(records, MemoryMlflow(), store)
    assert not caplog.records
    records.append(shown.registration(4, 7))  # another version of the name was made between, and is gone
    book.apply(records[-1])
    for number in (None, *book.trials):
        tracker.show(book, number, 2.0)
    for _ in range(2):
        assert tracker.finish(book, "finished") is None
    assert [r.getMessage() for r in caplog.records] == [
        "trial 4 is version 1 of gan in MLflow now; it was version 7 when it was registered"
    ]
