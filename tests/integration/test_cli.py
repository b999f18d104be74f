"""Every command as a user types it: what it prints, how it ends, and what it says of a mistake."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import yaml

from pipeline.ledger import study_names
from pipeline.store import open_store
from tests.command_line import Done, document, environment, free_port, gansearch, refusal, together
from tests.finished_search import BEST, ZERO, Finished
from trainers.history_file import from_bytes

TRIAL_KEYS = ["number", "state", "score", "steps", "device_seconds", "event", "run_id", "params"]


# -- stdout is data ----------------------------------------------------------------------------------------------------


def test_trials_and_show_tell_the_study(finished):
    told = document(finished.run("trials", "--format", "json"))
    assert list(told) == ["study", "tracking_uri", "trials"]
    assert (told["study"], told["tracking_uri"]) == ("tiny", finished.tracking_uri)
    assert [list(row) for row in told["trials"]] == [TRIAL_KEYS] * 9
    assert told["trials"][BEST]["score"] == finished.document["best"]["score"]
    assert {row["state"] for row in told["trials"]} == {"completed", "pruned", "diverged"}

    by_number, by_run = together(
        lambda: finished.run("show", str(ZERO), "--format", "json"),
        lambda: finished.run("show", told["trials"][ZERO]["run_id"], "--format", "json"),
    )
    story = document(by_number)
    assert story == document(by_run)
    assert list(story)[: 1 + len(TRIAL_KEYS)] == ["study", *TRIAL_KEYS]
    assert [event["kind"] for event in story["events"]] == ["d_loss_zero"]
    assert story["scores"][0]["step"] == 120
    assert story["config"]["optim"]["lr_d"] == 1e-2
    for digest in story["artifacts"]["histories"]:
        assert from_bytes(finished.store.get(digest)).num_rows == 120


def test_tables_and_yaml_tell_the_same(finished):
    table, shown = together(lambda: finished.run("trials"), lambda: finished.run("show", str(BEST)))
    assert (table.returncode, shown.returncode) == (0, 0)
    assert "diverged" in table.stdout
    assert "d_loss_zero" in table.stdout
    assert "wgan_gp" in table.stdout
    story, _, everything = shown.stdout.partition("\n\n")
    assert story.startswith("trial ")
    assert ": completed after " in story
    assert yaml.safe_load(everything)["score"] == finished.document["best"]["score"]


def test_a_trials_own_search_file_is_valid_and_trains_the_same(finished, tmp_path):
    text = finished.run("show", str(BEST), "--config").stdout
    (tmp_path / "alone.yaml").write_text(text)
    told = document(gansearch("config", "show", "alone.yaml", "--format", "json", cwd=tmp_path))
    config = finished.book.trials[BEST].spec.config.model_dump(mode="json", exclude={"seed"})
    assert {key: told[key] for key in config} == config
    assert all(dims == {} for dims in told["searched"].values())


KINDS = {
    "spaces": {"classic", "gan", "wgan", "wgan_gp"},
    "data": {"digits", "ring8"},
    "objectives": {"non_saturating", "wasserstein"},
    "penalties": {"none", "gradient"},
    "networks": {"mlp", "dcgan"},
    "detectors": {"d_loss_zero", "exploding_gradient", "non_finite"},
    "metrics": {"frechet", "mixture_kl"},
}


def test_list_names_what_there_is_of_every_kind(tmp_path):
    listed = together(*(lambda k=kind: gansearch("list", k, "--format", "json", cwd=tmp_path) for kind in KINDS))
    for (kind, names), done in zip(KINDS.items(), listed, strict=True):
        told = document(done)
        assert list(told) == [kind]
        assert all(list(row) == ["name", "summary"] and row["summary"] for row in told[kind])
        assert names <= {row["name"] for row in told[kind]}


def test_the_config_commands_agree(finished, tmp_path):
    schema, valid, shown = together(
        lambda: gansearch("config", "schema", cwd=tmp_path),
        lambda: gansearch("config", "validate", finished.file, "--format", "json", cwd=tmp_path),
        lambda: gansearch("config", "show", finished.file, "--set", "steps=7", "--format", "json", cwd=tmp_path),
    )
    assert {"study", "optim", "n_critic", "enqueue"} <= json.loads(schema.stdout)["properties"].keys()
    assert document(valid) == {"valid": True, "study": "tiny"}
    told = document(shown)
    assert (told["steps"], told["trials"], told["network"]["width"]) == (7, 9, 64)
    assert told["searched"]["wgan"]["clip"] == {"low": 1e-3, "high": 1.0, "log": True}


@pytest.mark.slow
def test_doctor_finds_everything_from_a_worker_too(tmp_path):
    told = document(gansearch("doctor", "--store", "new", "--format", "json", cwd=tmp_path))
    assert list(told) == ["checks"]
    assert all(list(check) == ["name", "ok", "detail", "mend"] and check["ok"] for check in told["checks"])
    names = {check["name"] for check in told["checks"]}
    assert {"store", "mlflow", "data digits", "ray workers", "worker: torch"} <= names


def test_help_imports_nothing_heavy(tmp_path):
    code = (
        "import sys; from pipeline.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'ray', 'mlflow', 'optuna', 'pandas', 'sklearn', 'pyarrow'} & sys.modules.keys()\n"
        "print('heavy:', sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "heavy: []"
    assert "register" in done.stdout


# -- mistakes ----------------------------------------------------------------------------------------------------------

FILES = {
    "unknown.yaml": "study: a\noptim:\n  lr_dd: 1e-4\n",
    "space.yaml": "space: clasic\n",
    "data.yaml": "data: digit\n",
    "critic.yaml": "space: gan\nn_critic: 0\n",
    "rate.yaml": "space: gan\noptim: {lr_d: -1e-4}\n",
    "list.yaml": "- study: a\n",
    "twice.yaml": "study: a\nsteps: 10\nsteps: 20\n",
}


MISTAKES: dict[str, tuple[int, list[str]]] = {
    "config validate unknown.yaml": (2, ["'optim.lr_dd'", "did you mean 'optim.lr_d'", "unknown.yaml:3"]),
    "search space.yaml": (2, ["unknown space 'clasic'", "did you mean 'classic'", "space.yaml:1"]),
    "search data.yaml": (2, ["'digit'", "did you mean 'digits'", "data.yaml:1"]),
    "search critic.yaml": (2, ["n_critic must be at least 1", "n_critic=0", "critic.yaml:2"]),
    "search rate.yaml": (2, ["optim.lr_d must be greater than 0", "optim.lr_d=-0.0001", "rate.yaml:2"]),
    "search list.yaml": (2, ["must be a mapping", "list.yaml"]),
    "search twice.yaml": (2, ["'steps' is already set in line 2", "twice.yaml:3"]),
    "search missing.yaml": (2, ["missing.yaml", "No such file"]),
    "search --set trials": (2, ["--set must be KEY=VALUE", "--set trials"]),
    "search --store twice.yaml": (4, ["twice.yaml", "must be a directory", "--store"]),
    "search --store /proc/gansearch": (4, ["/proc/gansearch", "cannot be written", "--store"]),
    "trials --store nothing": (4, ["there is no store", "nothing", "gansearch search"]),
    "list space": (2, ["'space' is not one of", "spaces"]),
    "serach": (2, ["No such command 'serach'", "search"]),
    "sample 4 --out a.png -n 0": (2, ["'-n'", "greater than or equal to 1"]),
    "show 99 --store STORE": (2, ["'tiny' has no trial '99'", "0 to 8", "gansearch trials"]),
    "trials --study tinny --store STORE": (2, ["no study 'tinny'", "did you mean 'tiny'"]),
    "sample 4 --out picture.jpg --store STORE": (2, ["--out must end in .png", "picture.jpg"]),
    "sample 4 --out no/such/a.png --store STORE": (2, ["--out", "no/such"]),
}


@pytest.fixture(scope="module")
def mistaken(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """What became of every mistaken command."""
    folder = tmp_path_factory.mktemp("mistakes")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    lines = [text.replace("STORE", str(finished.folder / "store")).split() for text in MISTAKES]
    return dict(
        zip(MISTAKES, together(*(lambda words=words: gansearch(*words, cwd=folder) for words in lines)), strict=True)
    )


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_named_with_its_place_and_its_mend(mistaken: dict[str, Done], command: str):
    code, words = MISTAKES[command]
    message = " ".join(refusal(mistaken[command], code).replace("│", " ").split())
    assert [word for word in words if word not in message] == [], message


@pytest.mark.slow
def test_a_mistake_that_mlflow_or_torch_must_find_is_named_too(finished):
    model, variation = together(
        lambda: finished.run("sample", "models:/nobody@champion", "--out", finished.folder / "a.png"),
        lambda: finished.run("rerun", str(BEST), "--set", "n_critic=0"),
    )
    assert "models:/nobody@champion" in refusal(model, 2)
    assert "n_critic must be at least 1, but got n_critic=0 (--set n_critic=0)" in refusal(variation, 2)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_missed_before_anything_trains(tmp_path):
    message = refusal(gansearch("search", "--set", "device=cuda", "--store", "store", cwd=tmp_path), 2)
    assert "device=cuda needs a GPU" in message
    assert "device=auto" in message


def test_exponents_without_a_point_are_numbers(tmp_path):
    (tmp_path / "a.yaml").write_text("space: gan\noptim: {lr_d: 1e-4, lr_g: 2E-4}\n")
    told = document(gansearch("config", "show", "a.yaml", "--format", "json", cwd=tmp_path))
    assert (told["optim"]["lr_d"], told["optim"]["lr_g"]) == (1e-4, 2e-4)


@pytest.mark.slow
def test_an_mlflow_that_does_not_answer_is_out_of_reach_before_anything_trains(finished, tmp_path):
    args = ("search", finished.file, "--tracking-uri", f"http://127.0.0.1:{free_port()}", "--store", "store")
    message = refusal(gansearch(*args, cwd=tmp_path), 4)
    assert "http://127.0.0.1" in message
    assert "--tracking-uri" in message
    assert "starting" not in message  # workers
    assert study_names(open_store(tmp_path / "store")) == []
