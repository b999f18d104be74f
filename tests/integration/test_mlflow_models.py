"""A trial's generator as an MLflow model: logged once, loadable anywhere, registered when it is better."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch

from pipeline import registry
from pipeline.book import Book
from pipeline.mlflow_store import MlflowTracker
from pipeline.models import draw
from pipeline.records import TrialRecord, TrialState
from pipeline.store import DiskStore
from tests.fakes import shown
from tests.fakes.tracked import MARKS, mlflow_store, models_of, records_of, runs_of, show_all  # noqa: F401
from trainers.errors import StateConflict, UserError
from trainers.generate import load_generator, sample

pytestmark = MARKS


OUTSIDE = """
import json, sys
import mlflow, numpy as np
for name in ("trainers", "pipeline", "search_spaces"):
    assert name not in sys.modules
    sys.modules[name] = None  # importing it fails, also where the project is installed
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
for n in (1, 2, 7, 64):
    samples = model.predict(np.full((n, 8), 0.5, np.float32))
    assert samples.shape == (n, 1, 8, 8) and samples.dtype == np.float32 and np.isfinite(samples).all()
    assert np.allclose(samples, samples[0], atol=1e-6)
print(json.dumps(samples[0].tolist()))
"""


def outside(script: str, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("MLFLOW")}
    command = [sys.executable, "-c", script, *args]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=200)


def test_a_model_loads_where_this_project_is_not_installed(store, tmp_path):
    book = shown.book_of(records_of(store, TrialState.COMPLETED))
    tracker = MlflowTracker(None, store, "digits")
    show_all(tracker, book)
    uri = f"models:/{tracker.log_generator(book, book.trials[0])}"
    done = outside(OUTSIDE, tracker.tracking_uri, uri, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    weights = store.get(book.trials[0].best.result.generator)
    generator = load_generator(shown.CONFIG, shown.SHAPE, weights)
    with torch.no_grad():
        expected = generator(torch.full((1, 8), 0.5)).numpy()[0]
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), expected, atol=1e-6)


def test_the_best_three_of_a_finished_study_become_models_once(store):
    book = shown.book_of(records_of(store, *[TrialState.COMPLETED] * 4, TrialState.PRUNED))
    tracker = MlflowTracker(None, store, "digits")
    show_all(tracker, book, "suspended")
    assert models_of(tracker) == [], "a search that goes on later has no models yet"
    book.apply(shown.finish(0, 1, 2))
    for _ in range(2):
        assert tracker.finish(book, "finished") is None
    assert sorted(model.tags["gansearch.trial_key"] for model in models_of(tracker)) == ["u1/0", "u1/1", "u1/2"]
    assert all(model.name == "generator" for model in models_of(tracker))


def test_a_model_that_was_logged_in_part_is_logged_again(store):
    book = shown.book_of(records_of(store, TrialState.COMPLETED))
    tracker = MlflowTracker(None, store, "digits")
    show_all(tracker, book)
    tags = {"gansearch.generator": book.trials[0].best.result.generator, "gansearch.trial_key": "u1/0"}
    mlflow.set_tracking_uri(tracker.tracking_uri)
    torn = mlflow.initialize_logged_model("generator", tags=tags, experiment_id=tracker.mlflow.experiment)
    uri = f"models:/{tracker.log_generator(book, book.trials[0])}"
    assert torn.model_id not in uri
    assert [f"models:/{model.model_id}" for model in models_of(tracker)] == [uri]


def register(
    tracker: MlflowTracker, book: Book, store: DiskStore, number: int | None = None, **more: Any
) -> dict[str, Any]:
    trial = None if number is None else book.trials[number]
    options = {"name": "gan", "alias": "Champion", "dry_run": False} | more
    done = registry.register(tracker, book, store, trial, **options)
    if done["version"] is not None:  # as `gansearch register` does
        book.apply(shown.registration((trial or book.best).number, done["version"], alias=done["alias"]))
        tracker.set_alias(options["name"], done["alias"], done["version"])
        assert tracker.show_registrations(book) is None
    return done


def test_a_better_trial_becomes_a_version_and_takes_the_alias(store):
    book = shown.book_of(records_of(store, *[TrialState.COMPLETED] * 2))
    tracker = MlflowTracker(None, store, "digits")
    show_all(tracker, book)
    assert register(tracker, book, store, 1, dry_run=True)["version"] is None
    assert models_of(tracker) == [], "a dry run logs nothing"
    first = register(tracker, book, store, 1)
    assert (first["model"], first["version"], first["alias"]) == ("gan", 1, "champion")
    assert [gate["gate"] for gate in first["gates"]] == ["completed", "stable", "finite", "better", "draws", "serves"]
    assert register(tracker, book, store, 1)["version"] == 1, "it is the champion already"
    assert register(tracker, book, store)["version"] == 2, "the best trial is number 0"
    client = tracker.mlflow.client
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
    tracker = MlflowTracker(None, store, "digits")
    show_all(tracker, book)
    register(tracker, book, store)
    tracker.mlflow.client.delete_registered_model_alias("gan", "champion")
    assert register(tracker, book, store)["version"] == 1


def test_a_trial_that_mlflow_does_not_know_is_not_registered(store):
    book = shown.book_of(records_of(store, TrialState.COMPLETED))
    with pytest.raises(StateConflict, match="run `gansearch sync` first"):
        register(MlflowTracker(None, store, "digits"), book, store)


def test_a_registered_model_draws_what_its_trial_draws(store):
    book = shown.book_of(records_of(store, TrialState.COMPLETED))
    tracker = MlflowTracker(None, store, "digits")
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


def test_a_generator_that_draws_numbers_of_its_own_draws_the_same_ones_as_a_model(store):
    random = {"noise": "additive", "dropout": 0.5, "dropout_at_sampling": True}
    config = shown.CONFIG.model_copy(update={"network": shown.CONFIG.network.model_copy(update=random)})
    records = [
        record.model_copy(update={"spec": record.spec.model_copy(update={"config": config})})
        if isinstance(record, TrialRecord)
        else record
        for record in records_of(store, TrialState.COMPLETED)
    ]
    book, tracker = shown.book_of(records), MlflowTracker(None, store, "digits")
    show_all(tracker, book)
    uri = f"models:/{tracker.log_generator(book, book.trials[0])}"
    weights = store.get(book.trials[0].best.result.generator)
    generator = load_generator(config, shown.SHAPE, weights)
    for n in (1, 7, 501):
        expected = sample(generator, config, n, seed=3)
        np.testing.assert_allclose(draw(uri, tracker.tracking_uri, n, seed=3), expected, atol=1e-6)
    plain = sample(load_generator(shown.CONFIG, shown.SHAPE, weights), shown.CONFIG, 7, seed=3)
    assert not np.allclose(plain, expected[:7])
