"""mnist, fashion_mnist: 28x28 images in MNIST's file format, read by torchvision from local files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.data import Dataset
from trainers.errors import DataError
from trainers.params.data import VisionParams

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
BLACK_TO_WHITE = 255.0
# What torchvision's readers raise on files that are cut short or not in the format, and its download on no network.
UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, KeyError, AssertionError)


def make_mnist(params: VisionParams) -> Dataset:
    """Return MNIST (LeCun et al. 1998): its test part is the held-out part."""
    from torchvision.datasets import MNIST

    return _read(params, MNIST, "CC BY-SA 3.0: Y. LeCun, C. Cortes, the MNIST database of handwritten digits")


def make_fashion_mnist(params: VisionParams) -> Dataset:
    """Return Fashion-MNIST (Xiao et al. 2017): its test part is the held-out part."""
    from torchvision.datasets import FashionMNIST

    return _read(params, FashionMNIST, "MIT: Zalando SE, Fashion-MNIST")


def _read(params: VisionParams, source: type[Any], licence: str) -> Dataset:
    folder = Path(params.root, source.__name__, "raw")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing and not params.download:
        raise DataError(
            f"data set {params.name}: put {', '.join(missing)} (unpacked, in MNIST's file format) into "
            f"{folder.resolve()}, or set data.root to the folder that holds {source.__name__}/raw, "
            "or data.download: true to fetch them"
        )
    (train, train_labels), (held_out, held_out_labels) = (_part(params, source, part) for part in (True, False))
    return Dataset(
        name=params.name,
        train=train,
        held_out=held_out,
        train_labels=train_labels,
        held_out_labels=held_out_labels,
        metric="frechet",
        licence=licence,
    )


def _part(params: VisionParams, source: type[Any], train: bool) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    try:
        read = source(params.root, train=train, download=params.download)
    except UNREADABLE as error:
        raise DataError(
            f"data set {params.name}: the files in {Path(params.root, source.__name__, 'raw').resolve()} cannot be "
            f"{'fetched or ' if params.download else ''}read ({error!r}); remove them and put whole ones there"
        ) from error
    images = read.data.numpy()[:, None].astype(np.float32)
    images /= BLACK_TO_WHITE / 2
    images -= 1
    return images, read.targets.numpy().astype(np.int64)
