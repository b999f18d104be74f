"""Samples of a trained generator."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from trainers import networks
from trainers.config import TrainConfig
from trainers.draws import Prior, numbers
from trainers.draws import generator as random_generator
from trainers.errors import IntegrityError
from trainers.networks.stochastic import reseed

Floats = npt.NDArray[np.float32]
BATCH = 500


def latents(config: TrainConfig, n: int, seed: int) -> Floats:
    """Return n latents of the configuration's prior, float32 [n, latent.size], a function of the seed alone."""
    return draw_latents(config.latent.prior, config.latent.size, n, seed)


def draw_latents(prior: str, size: int, n: int, seed: int) -> Floats:
    """Return n latents, float32 [n, size]; `prior` is "normal" or "uniform"."""
    kind: Prior = "uniform" if prior == "uniform" else "normal"
    return numbers(random_generator(seed, "sample"), kind, (n, size)).astype(np.float32, copy=False)


def load_generator(config: TrainConfig, shape: tuple[int, ...], weights: bytes) -> nn.Module:
    """Return a generator on the CPU in evaluation mode, with weights that a segment's `generator()` gave.

    Args:
        config: of the training.
        shape: of one sample.
        weights: safetensors of parameters and buffers.

    Raises:
        IntegrityError: the bytes are none.
        RuntimeError: they do not fit the network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    with torch.random.fork_rng(devices=[]):  # torch draws weights of its own, which are loaded over below
        network = networks.load(config.network).generator(config.latent.size, shape)
    try:
        network.load_state_dict(load(weights))
    except SafetensorError as error:
        raise IntegrityError(f"not a generator's weights: {error}") from error
    reseed(network, torch.zeros((), dtype=torch.int64))
    return network.eval()


def run(generator: nn.Module, latent: Floats) -> Floats:
    """Return samples, float32 [n, *shape], of latents [n, latent size], wherever the generator lies.

    Dropout and noise that act in sampling are those of key 0 in every batch, as in a generator that was loaded: samples
    are a function of the generator, the latents and their places alone.
    """
    device = next(generator.parameters()).device
    reseed(generator, torch.zeros((), dtype=torch.int64, device=device))
    with torch.no_grad():
        parts = [generator(part.to(device)).cpu() for part in torch.split(torch.from_numpy(latent), BATCH)]
    samples: Floats = torch.cat(parts).numpy()
    return samples


def sample(generator: nn.Module, config: TrainConfig, n: int, seed: int) -> Floats:
    """Return n samples, float32 [n, *shape], a function of the generator and the seed."""
    return run(generator, latents(config, n, seed))
