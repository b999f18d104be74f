"""docs/extending.md is done as it stands: its files are written, its search is run, its package is found."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from pipeline.config import first_params, load, train_config
from pipeline.drift import user_modules
from pipeline.ledger import read_book
from pipeline.store import open_store
from tests.command_line import ROOT, document, environment, gansearch
from tests.docs import test_readme as readme
from tests.fakes.packages import install
from trainers.loop import train

PAGE = "docs/extending.md"
MAX_LINES = 60
MODULES = ["restless", "sine", "spiral", "spiral_space", "tempered"]
NAMES = {"data": "spiral:SPIRAL", "objective": "tempered:TEMPERED", "network": "sine:SINE"}


def files() -> dict[str, str]:
    """Return the files that the page tells a reader to write, by name."""
    return dict(re.findall(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```$", (ROOT / PAGE).read_text(), flags=re.M | re.S))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def modules(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    monkeypatch.syspath_prepend(folder)
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        del sys.modules[name]


def test_the_page_has_its_files_and_each_module_is_short() -> None:
    written = files()
    assert sorted(written) == sorted([*(f"{name}.py" for name in MODULES), "spiral.yaml", "pyproject.toml"])
    lengths = {name: len(text.splitlines()) for name, text in written.items() if name.endswith(".py")}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}
    assert len(re.findall(r"^```python$", (ROOT / PAGE).read_text(), flags=re.M)) == len(lengths)


def test_its_files_are_as_tidy_as_ours(folder: Path) -> None:
    tidy = ["check", "--config", str(ROOT / "pyproject.toml"), "--ignore", "D,ANN,INP", "--no-cache"]
    for words in (tidy, ["format", "--check", "--config", str(ROOT / "pyproject.toml"), "--no-cache"]):
        command = [sys.executable, "-m", "ruff", *words, *(str(folder / f"{name}.py") for name in MODULES)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_objective_is_the_formula_of_its_first_line(modules: dict[str, ModuleType], temperature: float) -> None:
    params = modules["tempered"].TemperedParams(name="tempered", temperature=temperature)
    objective = modules["tempered"].make(params)
    real, fake = np.array([[-30.0], [0.5], [2.0]]), np.array([[-1.0], [0.0], [30.0]])

    def soft(logits: np.ndarray) -> float:
        return float(np.mean(temperature * np.log1p(np.exp(logits / temperature))))

    logits = {"real": torch.from_numpy(real), "fake": torch.from_numpy(fake)}
    assert objective.d_loss(**logits).item() == pytest.approx(soft(-real) + soft(fake))
    assert objective.g_loss(fake=logits["fake"]).item() == pytest.approx(soft(-fake))


def test_the_detector_tells_of_a_g_that_is_thrown_about(folder: Path, modules: dict[str, ModuleType]) -> None:
    sets = ["steps=300", "segment_steps=300", "evaluation.samples=50", "batch_size=16", "device=cpu"]
    for threshold, expected in ((1e-6, [200]), (10, [])):
        search = load(folder / "spiral.yaml", [*sets, f"stability.restless:RESTLESS.threshold={threshold}"])
        (segment,) = train(train_config(search, first_params(search)[0], 3))
        assert [event.step for event in segment.events if event.kind == "restless:RESTLESS"] == expected


def test_the_spiral_is_one(modules: dict[str, ModuleType]) -> None:
    make, params = modules["spiral"].make, modules["spiral"].SpiralParams
    points = make(params(name="spiral", turns=1.5, noise=0.0)).train.astype(np.float64)
    radius = np.hypot(*points.T)
    assert 0 <= radius.min() < 0.001
    assert 0.999 < radius.max() <= 1
    angle = 2 * np.pi * 1.5 * radius
    np.testing.assert_allclose(points, radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), atol=1e-5)


def test_what_the_search_file_names_is_what_trains(folder: Path, modules: dict[str, ModuleType]) -> None:
    sets = ["steps=20", "segment_steps=20", "evaluation.samples=50", "batch_size=16", "device=cpu"]
    search = load(folder / "spiral.yaml", sets)
    config = train_config(search, first_params(search)[0], 3)
    assert {kind: getattr(config, kind).name for kind in NAMES} == NAMES
    assert (config.optim.lr_d, config.optim.lr_g) == (1e-3, 1e-3)
    (segment,) = train(config)
    assert list(segment.scores) == ["sliced_wasserstein"]
    assert segment.history["d_loss"][0].as_py() == pytest.approx(2 * np.log(2), abs=1.0)
    hot = config.model_copy(update={"objective": config.objective.model_copy(update={"temperature": 5.0})})
    (other,) = train(hot)
    assert other.history["d_loss"] != segment.history["d_loss"]


def test_all_modules_are_known_to_the_workers(folder: Path, modules: dict[str, ModuleType]) -> None:
    assert user_modules(load(folder / "spiral.yaml")) == MODULES


def test_a_package_of_these_files_gives_them_plain_names(folder: Path) -> None:
    """It is installed as far as Python can tell: its modules are importable, and its entry points are written down."""
    project = tomllib.loads(files()["pyproject.toml"])["project"]
    install(folder, project["name"].replace("-", "_"), project["entry-points"], project["version"])
    plain = re.sub(r"\b(\w+):(?:SPIRAL|TEMPERED|SINE)\b", r"\1", files()["spiral.yaml"])
    (folder / "plain.yaml").write_text(plain.replace("spiral_space:SPACE", "tempered"))
    path = environment(folder)["PYTHONPATH"] + f":{folder}"
    listed = document(gansearch("list", "objectives", "--format", "json", cwd=folder, PYTHONPATH=path))["objectives"]
    assert listed[-1] == {"name": "tempered", "summary": "non-saturating GAN with a temperature"}
    shown = gansearch("config", "show", "plain.yaml", "--format", "json", cwd=folder, PYTHONPATH=path)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["objective"] == {"name": "tempered", "temperature": 1.0}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_of_the_page_work_in_order(folder: Path, modules: dict[str, ModuleType]) -> None:
    env = environment(folder) | {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    commands = readme._commands(PAGE)
    assert [command.split()[1] for command in commands] == ["config", "list", "search", "show"]
    for command in commands:
        small = f"{command} {readme.SMALL} --trials 2" if command.startswith("gansearch search") else command
        done = subprocess.run(["bash", "-c", small], cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    trials = read_book(open_store(folder / "gansearch-store", create=False), "spiral").trials
    assert [trial.state.value for trial in trials.values()] == ["completed", "completed"]
    for trial in trials.values():
        config = trial.spec.config
        assert {kind: getattr(config, kind).name for kind in NAMES} == NAMES
        assert config.optim.lr_g == config.optim.lr_d == trial.spec.params["optim.lr_d"]
        assert config.objective.temperature == trial.spec.params["objective.temperature"]
    assert len({trial.spec.params["objective.temperature"] for trial in trials.values()}) == 2


def test_links_paths_commands_and_options_exist() -> None:
    readme.test_what_is_named_in_code_type_exists(PAGE)
    readme.test_every_command_and_option_that_is_named_exists(PAGE)
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / PAGE).read_text())
    assert [t for t in targets if "://" not in t and not (ROOT / "docs" / t).exists()] == []
