"""The check of a GPU, tried on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu_check
from trainers import data
from trainers.loop import train
from trainers.registry import Params

ROOT = Path(__file__).parents[1]
QUICK = ["--device", "cpu", "--steps", "4", "--segments", "2"]


def _alone(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_it_needs_neither_the_pipeline_nor_scikit_learn() -> None:
    code = f"""
import sys
sys.modules["sklearn"] = None
from benchmarks.gpu_check import main
code = main({QUICK!r} + ["--case", "gan, mlp", "--case", "wgan, mlp", "--case", "wgan-gp, mlp"])
print([name for name in sys.modules if name.partition(".")[0] in ("pipeline", "ray", "mlflow", "optuna")])
sys.exit(code)
"""
    done = _alone(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("  equal\n") == 3
    assert done.stdout.endswith("[]\n")


@pytest.mark.slow
def test_convolutions_on_generated_images_are_checked_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main([*QUICK, "--case", "wgan-gp, dcgan"]) == 0
    assert "  equal\n" in capsys.readouterr().out


def test_without_a_gpu_it_says_so() -> None:
    done = _alone("from benchmarks.gpu_check import main; raise SystemExit(main([]))", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 4
    assert done.stdout == ""
    assert "torch sees none here" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("case", gpu_check.CASES)
def test_every_case_is_a_training_that_reaches_its_end(case: str) -> None:
    config = gpu_check.config_of(case, "cpu", 500, 4)
    assert config.steps == 2000
    assert {detector.action for detector in config.stability.values()} == {"warn"}


def test_another_seed_is_seen_as_a_difference() -> None:
    config = gpu_check.config_of("gan, mlp", "cpu", 3, 2)
    straight, other = (list(train(config.model_copy(update={"seed": seed}))) for seed in (0, 1))
    told = gpu_check.difference("resumed", straight, other)
    assert told == "resumed: history differs in steps 1 to 3"
    assert gpu_check.difference("resumed", straight, straight[:1]) == "resumed: 1 segments instead of 2"


def test_the_discs_are_images_of_four_classes() -> None:
    discs = data.load(Params(name=gpu_check.DISCS.name))
    assert discs.shape == (1, 16, 16)
    assert np.bincount(discs.train_labels).min() > 300
    for label, corner in enumerate(np.ndindex(2, 2)):
        mean = discs.train[discs.train_labels == label, 0].mean(axis=0)
        brightest = np.unravel_index(mean.argmax(), mean.shape)
        assert tuple(int(place) // 8 for place in brightest) == corner


@pytest.mark.parametrize("arguments", [["--segments", "1"], ["--steps", "0"], ["--case", "gam"]])
def test_a_wrong_option_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        gpu_check.main(arguments)
    assert refused.value.code == 2
