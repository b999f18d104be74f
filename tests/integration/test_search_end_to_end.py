"""A search as MLflow's own client sees it."""

from __future__ import annotations

import io
import json
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import first_params, load
from pipeline.projection import flatten
from tests.command_line import document
from tests.finished_search import BEST, EXPLODING, PRUNED, SECOND, ZERO
from trainers import gan
from trainers.config import TrainConfig
from trainers.game import Game
from trainers.registry import find

pytestmark = [
    # What MLflow and torch do inside themselves is not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
SHAPE = (1, 8, 8)
STATUS = {"completed": "FINISHED", "pruned": "FINISHED", "diverged": "FAILED"}


def test_the_search_ends_as_the_store_and_mlflow_tell_it(finished, runs):
    told, book = finished.document, finished.book
    assert list(told) == ["study", "trials", "best", "steps", "seconds", "unsynced", "tracking_uri"]
    assert (told["study"], told["unsynced"]) == ("tiny", 0)
    assert told["tracking_uri"] == finished.tracking_uri
    assert told["trials"] == book.counts
    assert sum(told["trials"].values()) == 9
    assert told["steps"] == sum(len(runs.history(number)) for number in runs.trials)
    best = told["best"]
    assert best == {
        "trial": BEST,
        "run_id": runs.trials[BEST].info.run_id,
        "score": min(runs.metric(BEST, f"score/{best['metric']}").values()),
        "metric": best["metric"],
        "params": book.trials[BEST].spec.params,
    }
    scores = [score for number in (SECOND, PRUNED) for score in runs.metric(number, f"score/{best['metric']}").values()]
    assert best["score"] < min(scores)
    assert runs.study.info.status == "FINISHED"
    assert runs.study.data.tags["gansearch.best_trial"] == str(BEST)
    assert list(runs.trials) == list(range(9))


def test_every_run_shows_its_state_its_place_and_its_origin(finished, runs):
    for number, trial in finished.book.trials.items():
        run = runs.trials[number]
        assert run.data.tags["gansearch.state"] == trial.state.value
        assert run.info.status == STATUS[trial.state.value]
        assert run.data.tags["mlflow.parentRunId"] == runs.study.info.run_id
        assert ("gansearch.event" in run.data.tags) == (trial.state.value == "diverged")
        assert trial.run_id == run.info.run_id
    assert finished.book.trials[PRUNED].state.value == "pruned"


def test_losses_and_gradient_norms_of_both_players_are_there_by_step(runs):
    assert list(runs.metric(BEST, "d_loss/mean")) == [120, 240]
    history = runs.history(BEST)
    assert history["step"].to_pylist() == list(range(1, 241))
    for signal in ("d_loss", "g_loss", "grad_norm_d", "grad_norm_g", "penalty"):
        for stop in (120, 240):
            values = history[signal][stop - 120 : stop].drop_null().to_numpy().astype(np.float64)
            assert len(values) == 120
            assert runs.metric(BEST, f"{signal}/mean")[stop] == pytest.approx(values.mean())
            assert runs.metric(BEST, f"{signal}/max")[stop] == pytest.approx(values.max())
            assert runs.metric(BEST, f"{signal}/last")[stop] == pytest.approx(values[-1])
    assert min(runs.metric(BEST, "grad_norm_d/mean").values()) > 0


def test_pictures_of_every_segment_are_there(finished, runs):
    for number, trial in finished.book.trials.items():
        listed = runs.client.list_artifacts(trial.run_id, "images")
        steps = {file.path.split("+")[2] for file in listed if file.path.endswith(".png")}
        assert steps == {str(segment.result.stop) for segment in trial.segments}
        image = Image.open(io.BytesIO(runs.file(number, next(f.path for f in listed if f.path.endswith(".png")))))
        assert min(image.size) >= 4 * 8  # a grid of 16 digits of 8x8
        assert len(set(np.asarray(image.convert("L")).ravel().tolist())) > 10


# -- what was sampled is what trained ----------------------------------------------------------------------------------


def test_each_value_that_was_sampled_is_the_one_that_trains(finished, runs):
    asked = {number: trial.spec.params for number, trial in finished.book.trials.items()}
    assert list(asked.values())[:8] == first_params(load(finished.file))
    assert asked[8] not in list(asked.values())[:8]
    used = set()
    for number, params in asked.items():
        config = TrainConfig.model_validate_json(runs.file(number, "config.json"))
        shown = runs.trials[number].data.params
        assert shown == flatten(config.model_dump(mode="json")) | {"space": params["space"]}
        for key, value in params.items():
            if key != "space":
                assert trained_with(config, key) == pytest.approx(value, rel=1e-4), (number, key)
                assert json.loads(shown[key]) == value
                used.add(key)
    assert used == {"optim.lr_d", "optim.lr_g", "optim.beta1", "n_critic", "clip", "penalty.lambda"}


def trained_with(config: TrainConfig, key: str) -> float:
    """The value that a key has in the training that a configuration makes."""
    objective = find("objective", config.objective.name).load_make()(config.objective)
    game = gan.build(objective, config.model_copy(update={"batch_size": 1}), SHAPE, 10, torch.device("cpu"))
    d, g = game.players
    [of_d], [of_g] = d.optimizer.param_groups, g.optimizer.param_groups
    if key == "optim.beta1":
        assert of_d["betas"][0] == of_g["betas"][0]
        return float(of_d["betas"][0])
    if key == "penalty.lambda":
        return weight_of_penalty(game)
    if key == "clip":
        with torch.no_grad():
            for weight in d.weights:
                weight.fill_(1e6)
        d.after(1)
        return max(float(weight.detach().max()) for weight in d.weights)
    return {"optim.lr_d": of_d["lr"], "optim.lr_g": of_g["lr"], "n_critic": g.every}[key]


def weight_of_penalty(game: Game) -> float:
    """Of one sample the penalty is lambda (norm - 1)^2, and both are reported."""
    batch = {"real": torch.ones(1, *SHAPE), "latent_d": torch.ones(1, 8), "mix": torch.full((1,), 0.5)}
    _, signals = game.players[0].loss(batch, 1)
    return float(signals["penalty"] / (signals["interpolate_norm"] - 1).square())


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "kind"), [(ZERO, "d_loss_zero"), (EXPLODING, "exploding_gradient")])
def test_a_training_that_fails_says_how_in_tags_status_and_event_table(finished, runs, number, kind):
    run = runs.trials[number]
    assert run.info.status == "FAILED"
    assert (run.data.tags["gansearch.state"], run.data.tags["gansearch.event"]) == ("diverged", kind)
    row = next(row for row in runs.events(number) if row["action"] == "stop")
    assert (row["kind"], str(row["step"])) == (kind, run.data.tags["gansearch.event_step"])
    assert row["message"] in run.data.tags["mlflow.note.content"]
    assert seen_in(runs.history(number), kind, row)
    mlflow.set_tracking_uri(finished.tracking_uri)  # MLflow looks for tables there, whatever its client is told
    shown = runs.client.load_table(runs.experiment, "events.json", [run.info.run_id])
    assert kind in shown["kind"].tolist()
    assert runs.metric(number, "d_loss/last").keys() == {120}
    told = next(t for t in document(finished.run("trials", "--format", "json"))["trials"] if t["number"] == number)
    assert (told["state"], told["event"], told["run_id"]) == ("diverged", kind, run.info.run_id)


def seen_in(history: Any, kind: str, row: dict[str, Any]) -> bool:
    """Whether the recorded steps bear out the event, by its own words."""
    evidence = json.loads(row["evidence"])
    threshold, window = evidence["threshold"], int(evidence["window"])
    if kind == "d_loss_zero":
        values = history["d_loss"].to_numpy()
        return bool((values[row["step"] - window : row["step"]] < threshold).all())
    signal = history[evidence["signal"]][: row["step"]].drop_null().to_numpy()
    every = 5 if evidence["signal"] == "grad_norm_g" else 1
    return bool((signal[-window // every :] > threshold).all())
