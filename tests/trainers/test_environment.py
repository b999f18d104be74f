"""The device, and the switches that decide a training's bits."""

import os
import platform

import numpy as np
import pytest
import torch

from tests.fakes.trainings import tiny
from trainers.config import Environment
from trainers.environment import configure, describe, pick_device, placed
from trainers.errors import ConfigError

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU, and here is one")


@pytest.fixture(autouse=True)
def _restored():
    """Leave this process as the other tests expect it."""
    yield
    configure(tiny())


def test_the_cpu_is_taken_when_it_is_asked_for():
    assert pick_device(tiny(device="cpu")) == torch.device("cpu")


@NO_GPU
def test_auto_is_the_cpu_where_there_is_no_gpu():
    assert pick_device(tiny(device="auto")) == torch.device("cpu")


@NO_GPU
def test_a_gpu_that_is_not_there_is_a_config_error_with_its_mend():
    with pytest.raises(ConfigError, match="device=cuda needs a GPU, but torch sees none here; use device=auto"):
        pick_device(tiny(device="cuda"))


@pytest.mark.parametrize("deterministic", [True, False])
def test_every_switch_follows_the_configuration(deterministic):
    torch.backends.cudnn.benchmark = True
    assert configure(tiny(deterministic=deterministic, threads=2)) == torch.device("cpu")
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert torch.backends.cudnn.deterministic == deterministic
    assert torch.backends.cudnn.allow_tf32 != deterministic
    assert torch.backends.cuda.matmul.allow_tf32 != deterministic
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]


def test_the_environment_names_what_decides_the_bits():
    config = tiny(threads=1, deterministic=False)
    described = describe(config, configure(config))
    assert described == Environment(
        device="cpu",
        cpu=f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=np.__version__,
        threads=1,
        deterministic=False,
    )
    assert described != describe(tiny(), configure(tiny()))


def test_data_that_a_device_has_no_room_for_stay_where_they_are():
    device, samples = torch.device("meta"), torch.zeros(10, 4)
    assert placed(samples, device, room=160).device == device
    assert placed(samples, device, room=159) is samples
    assert placed(samples, torch.device("cpu")) is samples
