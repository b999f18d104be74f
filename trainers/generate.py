"""Samples of a trained generator, and pictures of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from trainers import networks
from trainers.config import TrainConfig
from trainers.draws import Prior, numbers
from trainers.draws import generator as random_generator

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Floats = npt.NDArray[np.float32]
IMAGE_DIMS = 3
BATCH = 500
SHOWN_SIZE = 48  # pixels that a sample's side is enlarged to, at least


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
    """
    from safetensors.torch import load

    with torch.random.fork_rng(devices=[]):  # torch draws weights of its own, which are loaded over below
        network = networks.load(config.network).generator(config.latent.size, shape)
    network.load_state_dict(load(weights))
    return network.eval()


def run(generator: nn.Module, latent: Floats) -> Floats:
    """Return samples, float32 [n, *shape], of latents [n, latent size], wherever the generator lies."""
    device = next(generator.parameters()).device
    with torch.no_grad():
        parts = [generator(part.to(device)).cpu() for part in torch.split(torch.from_numpy(latent), BATCH)]
    samples: Floats = torch.cat(parts).numpy()
    return samples


def sample(generator: nn.Module, config: TrainConfig, n: int, seed: int) -> Floats:
    """Return n samples, float32 [n, *shape], a function of the generator and the seed."""
    return run(generator, latents(config, n, seed))


def to_uint8(images: Floats) -> npt.NDArray[np.uint8]:
    """Return images in [-1, 1] as bytes in [0, 255], of the same shape; values outside are clipped."""
    finite = np.nan_to_num(images, nan=-1.0, posinf=1.0, neginf=-1.0)
    scaled: npt.NDArray[np.uint8] = np.rint((np.clip(finite, -1, 1) + 1) * 127.5).astype(np.uint8)
    return scaled


def write_png(samples: npt.NDArray[np.generic], path: Path) -> None:
    """Write samples as one picture: a grid of images [n, channels, height, width], or a scatter of points [n, 2]."""
    picture(samples).save(path, format="PNG", optimize=False)


def picture(samples: npt.NDArray[np.generic]) -> Picture:
    """Return samples, uint8 or float in [-1, 1], as a PIL image."""
    from PIL import Image

    if samples.ndim != IMAGE_DIMS + 1:
        return Image.fromarray(_scatter(samples.astype(np.float32)))
    images = samples if samples.dtype == np.uint8 else to_uint8(samples.astype(np.float32))
    return Image.fromarray(_tiles(np.asarray(images, dtype=np.uint8)))


def _tiles(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    scale = max(1, SHOWN_SIZE // images.shape[-1])
    large = images.repeat(scale, axis=2).repeat(scale, axis=3)
    n, channels, height, width = large.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.zeros((rows * (height + 2), columns * (width + 2), channels), dtype=np.uint8)
    for index, image in enumerate(large):
        top, left = (index // columns) * (height + 2), (index % columns) * (width + 2)
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return sheet[:, :, 0] if channels == 1 else sheet


def _scatter(points: Floats, size: int = 512) -> npt.NDArray[np.uint8]:
    """Draw points into a square that holds all finite ones, at least [-1.5, 1.5] on both axes."""
    finite = points[np.isfinite(points).all(axis=1), :2].astype(np.float64)
    reach = max(1.5, 1.05 * float(np.abs(finite).max(initial=0)))
    at = np.clip(((finite + reach) / (2 * reach) * size).astype(int), 0, size - 2)
    sheet = np.full((size, size), 255, dtype=np.uint8)
    for down in (0, 1):
        for right in (0, 1):
            sheet[size - 2 - at[:, 1] + down, at[:, 0] + right] = 0
    return sheet
