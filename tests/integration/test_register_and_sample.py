"""The best generator on its way into the registry, and to whoever wants to draw from it."""

from __future__ import annotations

import io
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.ledger import Ledger, read_records
from tests.command_line import Done, document, environment, refusal, together
from tests.finished_search import BEST, PRUNED, SECOND, Finished
from tests.mlflow_runs import Runs

pytestmark = [
    # What MLflow does inside itself is not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def held(runs: Runs) -> list[tuple[dict[str, str], list[tuple[str, str]]]]:
    """Everything that the registry holds: of each model its aliases, and its versions with their runs."""
    found = []
    for model in runs.client.search_registered_models():
        versions = runs.client.search_model_versions(f"name = '{model.name}'")
        found.append((model.aliases, sorted((v.version, v.run_id) for v in versions)))
    return found


@pytest.mark.slow
def test_a_dry_run_tells_what_the_gates_say_and_changes_nothing(finished, runs):
    before, records = held(runs), read_records(finished.store, "tiny")
    with Ledger.open(finished.store, "tiny"):  # a search may be running
        dry = document(finished.run("register", "--dry-run", "--name", "another", "--format", "json"))
    assert list(dry) == ["model", "version", "alias", "gates"]
    assert (dry["model"], dry["version"], dry["alias"]) == ("another", None, "champion")
    assert all(gate.keys() == {"gate", "passed", "detail"} and gate["passed"] for gate in dry["gates"])
    assert held(runs) == before
    assert read_records(finished.store, "tiny") == records


@pytest.fixture(scope="module")
def registered(finished: Finished) -> list[Any]:
    """What registering the second best trial and then the best one printed."""
    return [document(finished.run("register", *trial, "--format", "json")) for trial in ([str(SECOND)], [])]


def test_only_a_better_generator_becomes_the_champion(finished, runs, registered):
    assert [(told["model"], told["version"], told["alias"]) for told in registered] == [
        ("tiny", 1, "champion"),
        ("tiny", 2, "champion"),
    ]
    second_run, best_run = (runs.trials[number].info.run_id for number in (SECOND, BEST))
    now = held(runs)
    assert now == [({"champion": 2}, [(1, second_run), (2, best_run)])]

    worse = finished.run("register", str(SECOND), "--format", "json")
    refused = document(worse, code=3)
    assert refused["version"] is None
    assert [gate["gate"] for gate in refused["gates"] if not gate["passed"]] == ["better"]
    assert "better" in worse.stderr
    assert held(runs) == now
    assert [r.version for r in finished.book.registrations] == [1, 2]


OUTSIDE = """
import sys
sys.path.append(sys.argv[1])  # installed libraries, without the links to projects that `site` would follow
import importlib.util
assert not any(importlib.util.find_spec(name) for name in ("pipeline", "trainers", "search_spaces"))
import mlflow, numpy
mlflow.set_tracking_uri(sys.argv[2])
model = mlflow.pyfunc.load_model("models:/tiny@champion")
latents = numpy.random.default_rng(0).standard_normal((64, 8), dtype=numpy.float32)
whole = model.predict(latents)
for n in (1, 2, 7, 64):
    part = model.predict(latents[:n])
    assert part.shape == (n, 1, 8, 8) and part.dtype == numpy.float32, (part.shape, part.dtype)
    assert abs(part - whole[:n]).max() < 1e-5
assert abs(whole).max() <= 1 and whole.std() > 0.05
print("good")
"""


def outside(tracking_uri: str, folder: Path) -> Done:
    """Load the champion in a process that cannot import this project."""
    command = [sys.executable, "-I", "-S", "-c", OUTSIDE, sysconfig.get_path("purelib"), tracking_uri]
    env = environment(folder)
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=200, check=False)


def test_whoever_draws_from_the_champion_gets_the_same(finished, registered, tmp_path):
    pictures = [tmp_path / name for name in ("champion.png", "trial.png")]
    drawn = zip(("models:/tiny@champion", str(BEST)), pictures, strict=True)
    *samples, loaded = together(
        *(lambda d=d: finished.run("sample", d[0], "-n", "9", "--seed", "7", "--out", d[1]) for d in drawn),
        lambda: outside(finished.tracking_uri, tmp_path),
    )
    assert [(done.returncode, done.stdout) for done in samples] == [(0, f"{picture}\n") for picture in pictures]
    champion, trial = (picture.read_bytes() for picture in pictures)
    image = Image.open(io.BytesIO(champion))
    image.load()
    assert image.format == "PNG"
    assert champion == trial  # MLflow's graph and ours, the same weights and latents
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.splitlines()[-1] == "good"


@pytest.mark.slow
def test_a_seed_decides_what_is_drawn(finished, tmp_path):
    places = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for seed, place in zip("778", places, strict=True):
        assert finished.run("sample", str(BEST), "--seed", seed, "--out", place).returncode == 0
    first, again, other = (place.read_bytes() for place in places)
    assert first == again
    assert first != other


@pytest.mark.slow
def test_what_cannot_be_registered_says_why(finished, runs):
    before = held(runs)
    told = document(refused := finished.run("register", str(PRUNED), "--format", "json"), code=3)
    assert {"completed"} <= {gate["gate"] for gate in told["gates"] if not gate["passed"]}
    assert "pruned after 120 of 240 steps" in refused.stderr
    assert "--alias" in refusal(finished.run("register", "--alias", "v2"), 2)
    assert held(runs) == before
