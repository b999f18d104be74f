"""What besides the configuration decides a training's bits, and how it is pinned."""

from __future__ import annotations

import math
import os
import platform

import numpy as np
import torch

from trainers.config import Environment, TrainConfig
from trainers.errors import ConfigError

DATA_SHARE = 0.25  # of a GPU's free memory: the networks and other trials need the rest


def pick_device(config: TrainConfig) -> torch.device:
    """Return the device to train on; "auto" is the first GPU that this process may see, else the CPU.

    Raises:
        ConfigError: device=cuda was asked for where no GPU can be seen.
    """
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise ConfigError("device=cuda needs a GPU, but torch sees none here; use device=auto or device=cpu")
    return torch.device("cuda" if available and config.device != "cpu" else "cpu")


def configure(config: TrainConfig) -> torch.device:
    """Set every switch of this process that can change a training's bits, and return the device."""
    # cuBLAS reads it when its first handle is made; two workspaces of 4 MiB are what makes its results repeatable.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    device = pick_device(config)
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.deterministic = config.deterministic
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = not config.deterministic
    torch.backends.cuda.matmul.allow_tf32 = not config.deterministic
    return device


def global_state(device: torch.device) -> bytes:
    """Return the state of torch's global generators, of the CPU and of the device; nothing of ours draws from them."""
    states = [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
    return b"".join(state.numpy().tobytes() for state in states)


def placed(samples: torch.Tensor, device: torch.device, room: float | None = None) -> torch.Tensor:
    """Return samples on the device; or where they are, to be copied batch by batch, if they take more than `room`.

    Args:
        samples: of a whole data set.
        device: of the training.
        room: bytes that they may take there; by default a quarter of what a GPU has free, and all that a CPU maps.
    """
    if room is None:
        room = _room(device)
    return samples.to(device) if samples.nbytes <= room else samples


def _room(device: torch.device) -> float:
    if device.type != "cuda":
        return math.inf
    free, _ = torch.cuda.mem_get_info(device)
    return DATA_SHARE * free


def describe(config: TrainConfig, device: torch.device) -> Environment:
    """Return the environment that a training of this process has."""
    return Environment(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        cpu=f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=np.__version__,
        threads=config.threads,
        deterministic=config.deterministic,
    )
