"""A study in a real MLflow: what it holds, and that nothing it holds depends on how often it was shown."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from pipeline import registry
from pipeline.book import Book
from pipeline.mlflow_process import ui_command
from pipeline.mlflow_store import Tracker, read_run
from pipeline.models import draw
from pipeline.projector import Projector
from pipeline.records import DecisionRecord, Record, TrialState
from pipeline.store import DiskStore, open_store
from tests.fakes import shown
from tests.fakes.memory_store import MemoryStore
from trainers.errors import ConfigError, GansearchError, StateConflict, Unreachable, UserError
from trainers.generate import load_generator, sample

pytestmark = [
    # What MLflow and torch.export do inside themselves is not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
STATES = (TrialState.COMPLETED, TrialState.PRUNED, TrialState.DIVERGED, TrialState.FAILED)
_uids = itertools.count()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without a study; making one takes seconds, so the tests copy it."""
    store = open_store(tmp_path_factory.mktemp("empty"))
    Tracker(None, store, "digits").check()
    return store.path / "mlflow.db"


@pytest.fixture
def store(empty: Path, tmp_path: Path) -> DiskStore:
    opened = open_store(tmp_path / "a store")
    shutil.copy(empty, opened.path)
    return opened


def records_of(store: DiskStore, *states: TrialState | None, **more: Any) -> list[Record]:
    trials = [shown.trial(store, number, state, score=5.0 + number) for number, state in enumerate(states)]
    return [shown.study(store, **more), *itertools.chain.from_iterable(trials)]


def show_all(tracker: Tracker, book: Book, outcome: str | None = None) -> None:
    tracker.show(book, None, 1000.0)
    for number in book.trials:
        tracker.show(book, number, 1001.0 + number)
    if outcome is not None:
        tracker.finish(book, outcome, 2000.0)


def runs_of(tracker: Tracker) -> dict[str, Any]:
    """MLflow's active runs by their trial's number, and the study's as "study"."""
    found = tracker.client.search_runs([tracker.experiment], max_results=1000)
    keyed = {run.data.tags.get("gansearch.number", "study"): run for run in found}
    assert len(keyed) == len(found), "two runs of one trial"
    return keyed


def files_of(tracker: Tracker, run_id: str) -> dict[str, str]:
    root = Path(tracker.client.download_artifacts(run_id, ""))
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def dump(tracker: Tracker) -> dict[str, Any]:
    """Everything that MLflow holds of a study, but for ids of its own making."""
    result: dict[str, Any] = {}
    for key, run in runs_of(tracker).items():
        rows = {
            name: [(m.step, m.timestamp, m.value) for m in tracker.client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        tags = {tag: value for tag, value in run.data.tags.items() if tag != "mlflow.parentRunId"}
        inputs = [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs]
        info = (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time)
        result[key] = (info, run.data.params, tags, rows, inputs, files_of(tracker, run.info.run_id))
    return result


def test_a_study_is_shown_whole(store):
    book = shown.book_of(records_of(store, *STATES))
    tracker = Tracker(None, store, "digits")
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
    tracker = Tracker(None, store, "digits")
    show_all(tracker, book)
    runs = runs_of(tracker)
    run = runs["0"]
    assert run.info.run_name == "000 wgan_gp lr_d=2e-4 lambda=9.1"
    assert (run.info.start_time, run.info.end_time) == (1_001_000, 1_101_000)
    assert run.data.params["network.width"] == "16"
    assert run.data.params["space"] == "wgan_gp"
    assert run.data.tags["gansearch.state"] == "completed"
    assert [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs] == [("digits", "d" * 36)]
    history = tracker.client.get_metric_history(run.info.run_id, f"score/{shown.METRIC}")
    assert [(m.step, m.timestamp, m.value) for m in history] == [(50, 1_001_123, 6.0), (100, 1_002_123, 5.0)]
    assert run.data.metrics["non_finite/grad_norm_d"] == 5.0
    assert all(abs(value) < 1e300 for value in run.data.metrics.values())
    files = files_of(tracker, run.info.run_id)
    names = ["config", "data", "environment", "events", "generator", "scores", "spec"]
    whole = {f"{name}.json" for name in names} | {"history.parquet", "extractor.safetensors", "generator.safetensors"}
    assert {path for path in files if not path.startswith("images/")} == whole
    assert len([path for path in files if path.endswith(".png")]) == 2
    assert len([path for path in files if path.endswith("+compressed.webp")]) == 2
    assert run.data.tags["mlflow.loggedImages"] == "true"
    assert files["generator.safetensors"] == book.trials[0].segments[1].result.generator
    assert runs["1"].data.tags["gansearch.event"] == "exploding_gradient"
    table = tracker.client.load_table(tracker.experiment, "events.json", [runs["1"].info.run_id])
    assert table["step"].tolist() == [73]
    assert "traceback.txt" in files_of(tracker, runs["2"].info.run_id)


def test_showing_again_changes_nothing(store):
    book = shown.book_of(records_of(store, *STATES))
    tracker = Tracker(None, store, "digits")
    show_all(tracker, book, "finished")
    before = dump(tracker)
    assert before["study"][0][1:] == ("FINISHED", 1_000_000, 2_000_000)
    show_all(tracker, book, "finished")
    assert dump(tracker) == before
    again = Tracker(None, store, "digits")
    show_all(again, book, "finished")
    assert dump(again) == before
    assert len(models_of(again)) == 1


def test_showing_record_by_record_or_at_once_ends_the_same(store):
    records = records_of(store, *STATES)
    slow, fast = Tracker(None, store, "digits"), Tracker(None, store, "other")
    book = Book()
    for record in records:
        book.apply(record)
        number = getattr(record, "trial", record.spec.number if record.kind == "trial" else None)
        slow.show(book, number, 1000.0 if number is None else 1001.0 + number)
    show_all(fast, book)
    assert dump(slow) == dump(fast)


class Dies:
    """MLflow's client, whose n-th writing call never happens, or happens and loses its answer."""

    def __init__(self, client: Any, calls: int, *, after: bool) -> None:
        self._client, self._left, self._after = client, calls, after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        writes = name.startswith(("log_", "set_", "update_", "create_", "delete_"))
        return self._guarded(real) if writes else real

    def _guarded(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise ConnectionResetError("before")
            result = real(*args, **kwargs)
            if self._left == 0:
                raise ConnectionResetError("after")
            return result

        return call


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

    whole = Tracker(None, store, "whole")
    show_all(whole, records("u1"))
    whole.finish(records("u1"), "suspended", 2000.0)
    wanted = without_identity(dump(whole))
    for calls in itertools.count(1):
        uid = f"death-{calls}"
        book, tracker = records(uid), Tracker(None, store, f"death-{calls}")
        client = tracker.client
        tracker.client = Dies(client, calls, after=after)
        try:
            show_all(tracker, book, "suspended")
            died = False
        except ConnectionResetError:
            died = True
        if not died:
            break
        if not same_process:
            tracker = Tracker(None, store, f"death-{calls}")
        tracker.client = client
        show_all(tracker, book, "suspended")
        assert without_identity(dump(tracker)) == wanted, f"died {'after' if after else 'before'} call {calls}"
    assert calls > 20


def test_of_two_runs_of_one_trial_the_older_stays(store):
    book = shown.book_of(records_of(store, TrialState.COMPLETED))
    tracker = Tracker(None, store, "digits")
    older = tracker.show(book, 0, 1001.0).run_id
    tags = {"gansearch.study_uid": "u1", "gansearch.trial_key": "u1/0", "gansearch.number": "0"}
    tracker.client.create_run(tracker.experiment, 1_002_000, tags)
    assert Tracker(None, store, "digits").show(book, 0, 1001.0).run_id == older
    assert runs_of(tracker)["0"].info.run_id == older


def test_a_deleted_run_and_a_deleted_experiment_are_made_anew(store):
    book = shown.book_of(records_of(store, TrialState.COMPLETED))
    tracker = Tracker(None, store, "digits")
    show_all(tracker, book)
    before = dump(tracker)
    tracker.client.delete_run(runs_of(tracker)["0"].info.run_id)
    again = Tracker(None, store, "digits")
    show_all(again, book)
    assert dump(again) == before
    tracker.client.delete_experiment(tracker.experiment)
    show_all(Tracker(None, store, "digits"), book)
    assert dump(Tracker(None, store, "digits")) == before


def test_a_run_deleted_under_way_is_made_anew_at_the_second_try(store):
    records = records_of(store, None)
    tracker, book = Tracker(None, store, "digits"), shown.book_of(records)
    first = tracker.show(book, 0, 1001.0).run_id
    tracker.client.delete_run(first)
    book.apply(DecisionRecord(at=1100.0, trial=0, state=TrialState.PRUNED, reason="halved", score=5.0, best_index=1))
    with pytest.raises(mlflow.MlflowException):
        tracker.show(book, 0, 1001.0)
    assert tracker.show(book, 0, 1001.0).run_id != first
    assert runs_of(tracker)["0"].data.metrics["d_loss/max"] == 100.0


def test_a_suspended_trial_is_killed_and_runs_again_when_it_goes_on(store):
    records = records_of(store, TrialState.COMPLETED, None)
    book, tracker = shown.book_of(records), Tracker(None, store, "digits")
    show_all(tracker, book, "suspended")
    runs = runs_of(tracker)
    assert [runs[key].info.status for key in ("study", "0", "1")] == ["KILLED", "FINISHED", "KILLED"]
    assert runs["1"].data.tags["gansearch.state"] == "suspended"
    assert runs["1"].info.end_time == 2_000_000
    later = Tracker(None, store, "digits")
    show_all(later, book)
    runs = runs_of(later)
    assert [runs[key].info.status for key in ("study", "0", "1")] == ["RUNNING", "FINISHED", "RUNNING"]
    assert runs["1"].data.tags["gansearch.state"] == "running"


def test_a_larger_budget_reaches_the_configuration_file(store):
    from pipeline.records import BudgetRecord

    records = records_of(store)
    tracker = Tracker(None, store, "digits")
    show_all(tracker, shown.book_of(records))
    larger = BudgetRecord(at=1500.0, config=records[0].config | {"trials": 30})
    show_all(tracker, shown.book_of([*records, larger]))
    run = runs_of(tracker)["study"]
    path = tracker.client.download_artifacts(run.info.run_id, "config.json")
    assert json.loads(Path(path).read_text())["trials"] == 30
    assert run.data.params["trials"] == "3", "MLflow's parameters are immutable"


def test_the_projector_brings_mlflow_up_to_date(store):
    records = records_of(store, *STATES)
    projector = Projector(records, Tracker(None, store, "digits"))
    projector.start()
    assert projector.close(120, "finished") == 0, projector.failure
    held = runs_of(Tracker(None, store, "digits"))
    assert {projector.outbox.get().run_id for _ in range(5)} == {run.info.run_id for run in held.values()}
    assert held["study"].info.status == "FINISHED"


def test_a_run_alone_gives_its_trial_back(store):
    book = shown.book_of(records_of(store, TrialState.COMPLETED, TrialState.DIVERGED))
    tracker = Tracker(None, store, "digits")
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


# -- models and the registry -------------------------------------------------------------------------------------------

OUTSIDE = """
import json, sys
import mlflow, numpy as np
try:
    import trainers
    raise SystemExit("this process must not see the project")
except ImportError:
    pass
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
for n in (1, 2, 7, 64):
    samples = model.predict(np.full((n, 8), 0.5, np.float32))
    assert samples.shape == (n, 1, 8, 8) and samples.dtype == np.float32 and np.isfinite(samples).all()
    assert np.allclose(samples, samples[0], atol=1e-6)
print(json.dumps(samples[0].tolist()))
"""


def models_of(tracker: Tracker) -> list[Any]:
    return list(tracker.client.search_logged_models([tracker.experiment]))


def outside(script: str, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("MLFLOW")}
    command = [sys.executable, "-c", script, *args]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=200)


def test_a_model_loads_where_this_project_is_not_installed(store, tmp_path):
    book = shown.book_of(records_of(store, TrialState.COMPLETED))
    tracker = Tracker(None, store, "digits")
    show_all(tracker, book)
    uri = tracker.log_generator(book, book.trials[0])
    done = outside(OUTSIDE, tracker.tracking_uri, uri, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    import torch

    weights = store.get(book.trials[0].best.result.generator)
    generator = load_generator(shown.CONFIG, shown.SHAPE, weights)
    with torch.no_grad():
        expected = generator(torch.full((1, 8), 0.5)).numpy()[0]
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), expected, atol=1e-6)


def test_the_best_three_completed_trials_become_models_once(store):
    book = shown.book_of(records_of(store, *[TrialState.COMPLETED] * 4, TrialState.PRUNED))
    tracker = Tracker(None, store, "digits")
    show_all(tracker, book, "suspended")
    assert models_of(tracker) == [], "a search that goes on later has no models yet"
    for _ in range(2):
        tracker.finish(book, "finished", 2000.0)
    assert sorted(model.tags["gansearch.trial_key"] for model in models_of(tracker)) == ["u1/0", "u1/1", "u1/2"]
    assert all(model.name == "generator" for model in models_of(tracker))


def test_a_model_that_was_logged_in_part_is_logged_again(store):
    book = shown.book_of(records_of(store, TrialState.COMPLETED))
    tracker = Tracker(None, store, "digits")
    show_all(tracker, book)
    tags = {"gansearch.generator": book.trials[0].best.result.generator, "gansearch.trial_key": "u1/0"}
    mlflow.set_tracking_uri(tracker.tracking_uri)
    torn = mlflow.initialize_logged_model("generator", tags=tags, experiment_id=tracker.experiment)
    uri = tracker.log_generator(book, book.trials[0])
    assert torn.model_id not in uri
    assert [f"models:/{model.model_id}" for model in models_of(tracker)] == [uri]


def register(tracker: Tracker, book: Book, store: DiskStore, number: int | None = None, **more: Any) -> dict[str, Any]:
    trial = None if number is None else book.trials[number]
    options = {"name": "gan", "alias": "Champion", "dry_run": False} | more
    return registry.register(tracker, book, store, trial, **options)


def test_a_better_trial_becomes_a_version_and_takes_the_alias(store):
    book = shown.book_of(records_of(store, *[TrialState.COMPLETED] * 2))
    tracker = Tracker(None, store, "digits")
    show_all(tracker, book)
    assert register(tracker, book, store, 1, dry_run=True)["version"] is None
    assert models_of(tracker) == [], "a dry run logs nothing"
    first = register(tracker, book, store, 1)
    assert (first["model"], first["version"], first["alias"]) == ("gan", 1, "champion")
    assert [gate["gate"] for gate in first["gates"]] == ["completed", "stable", "finite", "better", "draws", "serves"]
    assert register(tracker, book, store, 1)["version"] == 1, "it is the champion already"
    assert register(tracker, book, store)["version"] == 2, "the best trial is number 0"
    client = tracker.client
    assert [int(v.version) for v in client.search_model_versions("name = 'gan'")] == [2, 1]
    champion = client.get_model_version_by_alias("gan", "champion")
    assert int(champion.version) == 2
    assert champion.tags["gansearch.trial_key"] == "u1/0"
    assert champion.tags["gansearch.score"] == "5.0"
    assert champion.run_id == runs_of(tracker)["0"].info.run_id
    assert "trial 000 wgan_gp" in champion.description
    with pytest.raises(registry.GateRefused, match="not better"):
        register(tracker, book, store, 1)
    assert len(client.search_model_versions("name = 'gan'")) == 2


def test_a_registration_that_died_before_its_alias_makes_no_second_version(store):
    book = shown.book_of(records_of(store, TrialState.COMPLETED))
    tracker = Tracker(None, store, "digits")
    show_all(tracker, book)
    register(tracker, book, store)
    tracker.client.delete_registered_model_alias("gan", "champion")
    assert register(tracker, book, store)["version"] == 1


def test_a_trial_that_mlflow_does_not_know_is_not_registered(store):
    book = shown.book_of(records_of(store, TrialState.COMPLETED))
    with pytest.raises(StateConflict, match="gansearch sync"):
        register(Tracker(None, store, "digits"), book, store)


def test_a_registered_model_draws_what_its_trial_draws(store):
    book = shown.book_of(records_of(store, TrialState.COMPLETED))
    tracker = Tracker(None, store, "digits")
    show_all(tracker, book)
    register(tracker, book, store)
    generator = load_generator(shown.CONFIG, shown.SHAPE, store.get(book.trials[0].best.result.generator))
    for uri, n in [("models:/gan@champion", 7), ("models:/gan/1", 501)]:
        drawn = draw(uri, tracker.tracking_uri, n, seed=3)
        assert drawn.dtype == np.float32
        np.testing.assert_allclose(drawn, sample(generator, shown.CONFIG, n, seed=3), atol=1e-6)
    assert not np.allclose(draw("models:/gan/1", tracker.tracking_uri, 7, seed=4), drawn[:7])
    with pytest.raises(UserError, match="models:/nobody@champion cannot be loaded"):
        draw("models:/nobody@champion", tracker.tracking_uri, 1, seed=0)


# -- reaching MLflow ---------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def refusing() -> Iterator[Callable[[int, str], str]]:
    """A server that gives every question the same answer."""
    servers = []

    def start(status: int, body: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def log_message(self, *args: Any) -> None:
                """Keep quiet."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "mend"),
    [
        (401, "You are not authenticated.", r"refuses the credentials \(401\); set MLFLOW_TRACKING_USERNAME"),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "no"}', r"credentials \(403\); set MLFLOW_TRACKING"),
        (403, "Invalid Host header - possible DNS rebinding attack detected", "--allowed-hosts '127.0.0.1,127.0.0.1:"),
        (500, "oh", "start the server, or leave out --tracking-uri"),
        (200, "<html>another site</html>", "start the server, or leave out --tracking-uri"),
    ],
)
def test_a_server_that_refuses_is_seen_before_training(refusing, status, body, mend):
    uri = refusing(status, body)
    began = time.monotonic()
    with pytest.raises(Unreachable, match=mend) as error:
        Tracker(uri, MemoryStore(), "digits").check()
    assert uri in str(error.value)
    assert error.value.exit_code == 4
    assert time.monotonic() - began < 30


def test_a_server_that_is_not_there_is_seen_soon_and_its_password_is_not_shown():
    uri = f"http://me:secret@127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(Unreachable, match="start the server") as error:
        Tracker(uri, MemoryStore(), "digits").check()
    assert time.monotonic() - began < 30
    assert "secret" not in str(error.value)


def test_a_store_without_a_directory_needs_a_uri():
    with pytest.raises(ConfigError, match="tracking_uri must be given"):
        Tracker(None, MemoryStore(), "digits")


QUIET = """
import sys
from pipeline.mlflow_store import Tracker
from pipeline.store import open_store
from tests.fakes import shown
store = open_store(sys.argv[1])
book = shown.book_of([shown.study(store), *shown.trial(store, 0)])
tracker = Tracker(None, store, "digits")
tracker.check()
tracker.show(book, None, 1000.0)
tracker.show(book, 0, 1001.0)
tracker.finish(book, "finished", 2000.0)
"""


def test_a_first_use_says_nothing_on_stdout_nor_leaves_anything_behind(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    env = {key: value for key, value in env.items() if not key.startswith("MLFLOW")}
    command = [sys.executable, "-c", QUIET, str(tmp_path / "store")]
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout == ""
    assert "INFO" not in done.stderr
    assert list(here.iterdir()) == []


@pytest.fixture
def server(store: DiskStore, tmp_path: Path) -> Iterator[str]:
    """MLflow's own server, as `gansearch ui` starts it, on a database without studies."""
    port = free_port()
    command = ui_command(f"sqlite:///{store.path}/mlflow.db", tmp_path / "uploads", port)
    log = (tmp_path / "server.log").open("w")
    process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    try:
        wait_until_answering(uri, process)
        yield uri
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)
        log.close()


def wait_until_answering(uri: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        assert process.poll() is None, "the server ended"
        try:
            Tracker(uri, MemoryStore(), "digits").check()
        except Unreachable:
            assert time.monotonic() < deadline, "the server never answered"
            time.sleep(0.2)
        else:
            return


@pytest.mark.slow
def test_a_server_holds_what_the_embedded_database_holds(server, tmp_path, store):
    far = MemoryStore()  # a store that the server cannot see
    records = [shown.study(far), *shown.trial(far, 0), *shown.trial(far, 1, TrialState.DIVERGED)]
    book, tracker = shown.book_of(records), Tracker(server, far, "digits")
    show_all(tracker, book, "finished")
    before = dump(tracker)
    show_all(Tracker(server, far, "digits"), book, "finished")
    assert dump(tracker) == before
    assert before["0"][-1]["generator.safetensors"] == book.trials[0].best.result.generator
    assert read_run(server, runs_of(tracker)["0"].info.run_id).spec == book.trials[0].spec
    result = registry.register(tracker, book, far, None, name="gan", alias="champion", dry_run=False)
    assert result["version"] == 1
    assert list((tmp_path / "uploads").rglob("history.parquet"))


def test_a_server_has_pages_of_its_own():
    with pytest.raises(GansearchError, match=r"http://\*\*\*@host is a server"):
        ui_command("http://me:secret@host", Path("/a"), 5000)
