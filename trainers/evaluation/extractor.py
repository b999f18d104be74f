"""A small convolutional classifier of the data set, whose features the Frechet distance compares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainers.data import Dataset
from trainers.errors import DataError, IntegrityError

VERSION = 1
KEY = 0xFEA7_0000  # a constant: the extractor is a function of the data set alone
STEPS, BATCH, LEARNING_RATE = 300, 64, 1e-3  # 13 epochs of the digits
CHANNELS, POOLED, FEATURES = (16, 32), 4, 64
LARGE = 32  # sides above it are halved by the first convolution already
CHUNK = 256  # images a forward pass when features are computed


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A trained extractor.

    Attributes:
        digest: SHA-256 of its serialised bytes, in hex.
        shape: of one image (channels, height, width).
        classes: how many it tells apart.
        weights: by layer.
    """

    digest: str
    shape: tuple[int, ...]
    classes: int
    weights: dict[str, Tensor]

    def __call__(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return features [n, 64] and class probabilities [n, classes] of images [n, *shape]."""
        with torch.no_grad():
            chunks = [_forward(self.weights, torch.tensor(images[i : i + CHUNK])) for i in range(0, len(images), CHUNK)]
            features = torch.cat([chunk[0] for chunk in chunks])
            logits = torch.cat([chunk[1] for chunk in chunks])
            return features.numpy(), torch.softmax(logits, dim=1).numpy()


def train(dataset: Dataset, *, steps: int = STEPS) -> bytes:
    """Return an extractor trained on the training part, as safetensors with its shape, classes and version.

    It trains on one thread, as the order of sums depends on their number, and draws from its own generator: the bytes
    are equal in each call on one machine.

    Args:
        dataset: its images have sides of 8 to 64 pixels (others work, but nothing is known of how well).
        steps: updates of 64 images; another number than the default makes another extractor.

    Raises:
        DataError: the data are no images, or have no labels.
    """
    if not dataset.is_image or dataset.train_labels is None:
        raise DataError(f"data set {dataset.name}: the frechet metric needs images with labels; choose another metric")
    classes = int(dataset.train_labels.max()) + 1
    draw = np.random.Generator(np.random.Philox(key=KEY))
    weights = _initial(draw, dataset.shape, classes)
    epochs = -(-steps * BATCH // len(dataset.train))
    order = np.concatenate([draw.permutation(len(dataset.train)) for _ in range(epochs)])
    with _one_thread(), torch.enable_grad():
        optimizer = torch.optim.Adam(weights.values(), lr=LEARNING_RATE)
        for batch in order[: steps * BATCH].reshape(steps, BATCH):
            _, logits = _forward(weights, torch.tensor(dataset.train[batch]))
            loss = functional.cross_entropy(logits, torch.tensor(dataset.train_labels[batch]))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return _save(weights, dataset.shape, classes)


def load(data: bytes) -> Extractor:
    """Return the extractor that `train` serialised.

    Raises:
        IntegrityError: the bytes are damaged, or of a version that this software does not read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors

    try:
        weights = load_tensors(data)
        about = _about(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise IntegrityError(f"the feature extractor's bytes are damaged: {error}") from error
    if about["version"] != VERSION:
        raise IntegrityError(f"the feature extractor must be of version {VERSION}, but is of {about['version']}")
    shape, classes = tuple(about["shape"]), int(about["classes"])
    return Extractor(digest=hashlib.sha256(data).hexdigest(), shape=shape, classes=classes, weights=weights)


def _forward(weights: dict[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    stride = 2 if max(images.shape[-2:]) > LARGE else 1
    x = functional.conv2d(images, weights["conv1.weight"], weights["conv1.bias"], stride=stride, padding=1).relu()
    x = functional.conv2d(x, weights["conv2.weight"], weights["conv2.bias"], stride=2, padding=1).relu()
    x = functional.adaptive_avg_pool2d(x, POOLED).flatten(1)  # changes nothing at 8x8
    features = functional.linear(x, weights["hidden.weight"], weights["hidden.bias"]).relu()
    return features, functional.linear(features, weights["classes.weight"], weights["classes.bias"])


def _initial(draw: np.random.Generator, shape: tuple[int, ...], classes: int) -> dict[str, Tensor]:
    """Draw He et al. 2015's weights with our own generator: torch's layers would draw from the global one."""
    shapes = {
        "conv1": (CHANNELS[0], shape[0], 3, 3),
        "conv2": (CHANNELS[1], CHANNELS[0], 3, 3),
        "hidden": (FEATURES, CHANNELS[1] * POOLED**2),
        "classes": (classes, FEATURES),
    }
    weights: dict[str, Tensor] = {}
    for layer, size in shapes.items():
        std = np.sqrt(2 / np.prod(size[1:]))
        weights[f"{layer}.weight"] = torch.tensor(draw.standard_normal(size) * std, dtype=torch.float32)
        weights[f"{layer}.bias"] = torch.zeros(size[0], dtype=torch.float32)
    return {name: tensor.requires_grad_() for name, tensor in weights.items()}


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _save(weights: dict[str, Tensor], shape: tuple[int, ...], classes: int) -> bytes:
    from safetensors.torch import save

    # One entry of metadata: safetensors writes several in an order that changes from process to process.
    about = json.dumps({"version": VERSION, "shape": shape, "classes": classes})
    data: bytes = save({name: tensor.detach() for name, tensor in weights.items()}, metadata={"extractor": about})
    return data


def _about(data: bytes) -> dict[str, Any]:
    """Read the metadata of safetensors bytes: 8 bytes of length, then a JSON header (the library reads files only)."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    about: dict[str, Any] = json.loads(header["__metadata__"]["extractor"])
    return about
