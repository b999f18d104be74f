"""Mixtures, digits, published sets, image folders and Parquet; each with a fixed train and a fixed held-out part."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trainers.errors import ConfigError, DataError
from trainers.registry import Params, find

IMAGE_DIMENSIONS = 3  # channels, height, width
CHECKED = 2**22  # numbers that are looked at a time


@dataclass(frozen=True, kw_only=True)
class Modes:
    """A Gaussian mixture with equal weights, isotropic in its first axes and of no extent along the others.

    Attributes:
        centres: float64 [k, d], the components' means.
        std: standard deviation of every component along each of the first axes.
        axes: how many these are; None: all d.
    """

    centres: NDArray[np.float64]
    std: float
    axes: int | None = None

    def __post_init__(self) -> None:
        if self.centres.ndim != 2 or self.centres.size == 0:  # noqa: PLR2004 - a row for each
            raise DataError(f"a mixture's centres must have the shape [k, d], but got {list(self.centres.shape)}")
        if not 1 <= (self.axes or 1) <= self.centres.shape[1]:
            raise DataError(f"a mixture in {self.centres.shape[1]} dimensions cannot have axes={self.axes}")
        if not np.isfinite(self.centres).all() or not 0 < self.std < np.inf:
            raise DataError(f"a mixture's centres must be finite and its std positive, but got std={self.std}")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set in memory or in mapped files; all trainings of a process share it, and none may write to it.

    Attributes:
        name: the name that it has in the registry.
        train: float32 [n, *shape]; images have the shape (channels, height, width) and lie in [-1, 1].
        held_out: float32 [m, *shape], never trained on.
        train_labels: int64 [n], classes or modes from 0 on; None where there are none.
        held_out_labels: int64 [m], or None.
        modes: the mixture that the samples were drawn from, where there is one.
        metric: the registry's name of the metric that scores generated samples of it.
        licence: under which licence the data are used, and whose they are.
        known: the digest, of data that were looked at when their files were written: they are not read again for it.

    Raises:
        DataError: a part is empty, or breaks one of these rules.
    """

    name: str
    train: NDArray[np.float32]
    held_out: NDArray[np.float32]
    train_labels: NDArray[np.int64] | None = None
    held_out_labels: NDArray[np.int64] | None = None
    modes: Modes | None = None
    metric: str
    licence: str
    known: str | None = None

    def __post_init__(self) -> None:
        self._check("train", self.train, self.train_labels)
        self._check("held_out", self.held_out, self.held_out_labels)
        if self.train.shape[1:] != self.held_out.shape[1:]:
            raise DataError(
                f"data set {self.name}: train and held_out must have samples of one shape, "
                f"but got {self.train.shape[1:]} and {self.held_out.shape[1:]}"
            )

    def _check(self, part: str, samples: NDArray[np.float32], labels: NDArray[np.int64] | None) -> None:
        where = f"data set {self.name}: {part}"
        if samples.dtype != np.float32 or samples.ndim < 2:  # noqa: PLR2004 - a row for each sample
            raise DataError(f"{where} must be float32 [n, *shape], but is {samples.dtype} {list(samples.shape)}")
        if samples.size == 0:
            raise DataError(f"{where} must hold at least one sample, but its shape is {list(samples.shape)}")
        low, high = _bounds(samples) if self.known is None else (0.0, 0.0)
        if not np.isfinite([low, high]).all():
            raise DataError(f"{where} must be finite, but holds a NaN or an infinity")
        if self.is_image and not -1 <= low <= high <= 1:
            raise DataError(f"{where}: images must be scaled to [-1, 1], but lie in [{low:g}, {high:g}]")
        if labels is not None and (labels.dtype != np.int64 or labels.shape != (len(samples),) or labels.min() < 0):
            raise DataError(
                f"{where}: labels must be int64 [{len(samples)}] and not negative, "
                f"but are {labels.dtype} {list(labels.shape)}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one sample."""
        return self.train.shape[1:]

    @property
    def is_image(self) -> bool:
        """Return whether a sample is an image (channels, height, width)."""
        return len(self.shape) == IMAGE_DIMENSIONS

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256, in hex, of train, held_out and their labels: of each its shape as JSON, and its bytes."""
        if self.known is not None:
            return self.known
        parts = (self.train, self.held_out, self.train_labels, self.held_out_labels)
        digest = hashlib.sha256()
        for part in parts:
            digest.update(json.dumps(None if part is None else part.shape).encode())
            if part is not None:
                digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()


def _bounds(samples: NDArray[np.float32]) -> tuple[float, float]:
    """Return the least and the greatest number, NaN if one is; a mapped file is read once."""
    rows = max(1, CHECKED // samples[0].size)
    parts = [samples[at : at + rows] for at in range(0, len(samples), rows)]
    return float(np.min([part.min() for part in parts])), float(np.max([part.max() for part in parts]))


_loaded: dict[str, Dataset] = {}


def load(params: Params) -> Dataset:
    """Return the data set that the parameters name; the second call in a process returns the first one's.

    Args:
        params: `config.data`.

    Raises:
        DataError: nothing has that name, or its files are missing, unreadable or break a rule of Dataset.
    """
    key = params.model_dump_json()
    if key not in _loaded:
        try:
            make = find("data", params.name).load_make()
        except ConfigError as error:
            raise DataError(str(error)) from error
        made = make(params)
        if not isinstance(made, Dataset):
            raise DataError(f"data set {params.name} must make a Dataset, but made {made!r}")
        _loaded[key] = made
    return _loaded[key]
