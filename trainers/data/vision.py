"""mnist, fashion_mnist, kmnist, cifar10, svhn: published images, read from their own files."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainers.data import Dataset, mat_file
from trainers.data.cache import LEAST, scaled
from trainers.data.fetching import CIFAR10_URL, need
from trainers.errors import DataError
from trainers.params.data import VisionParams

IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR10_HELD_OUT = ("test_batch.bin",)
SVHN_FILES = ("train_32x32.mat", "test_32x32.mat")
COLOUR = (3, 32, 32)
CLASSES = 10

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def make_mnist(params: VisionParams) -> Dataset:
    """Return MNIST (LeCun et al. 1998): its test part is the held-out part."""
    return _idx(params, "MNIST", "CC BY-SA 3.0: Y. LeCun, C. Cortes, the MNIST database of handwritten digits")


def make_fashion_mnist(params: VisionParams) -> Dataset:
    """Return Fashion-MNIST (Xiao et al. 2017): its test part is the held-out part."""
    return _idx(params, "FashionMNIST", "MIT: Zalando SE, Fashion-MNIST")


def make_kmnist(params: VisionParams) -> Dataset:
    """Return Kuzushiji-MNIST (Clanuwat et al. 2018): its test part is the held-out part."""
    return _idx(params, "KMNIST", "CC BY-SA 4.0: ROIS-DS Center for Open Data in the Humanities, KMNIST dataset")


def make_cifar10(params: VisionParams) -> Dataset:
    """Return CIFAR-10 (Krizhevsky 2009) from its binary version: reading the Python version would run what is in it."""
    folder = Path(params.root, CIFAR10_FOLDER)
    need(params, folder, (*CIFAR10_TRAIN, *CIFAR10_HELD_OUT), f"of the binary version, {CIFAR10_URL}")
    train, held_out = (_cifar_part(params, folder, names) for names in (CIFAR10_TRAIN, CIFAR10_HELD_OUT))
    return _dataset(params, train, held_out, "none stated: A. Krizhevsky, V. Nair, G. Hinton, CIFAR-10")


def make_svhn(params: VisionParams) -> Dataset:
    """Return the cropped Street View House Numbers (Netzer et al. 2011), without its extra images."""
    folder = Path(params.root)
    need(params, folder, SVHN_FILES, "of http://ufldl.stanford.edu/housenumbers, format 2")
    train, held_out = (_mat_part(params, folder / name) for name in SVHN_FILES)
    return _dataset(params, train, held_out, "non-commercial use only: Y. Netzer et al., Stanford, Google, SVHN")


def _dataset(params: VisionParams, train: Part, held_out: Part, licence: str) -> Dataset:
    sizes = len(train[0]), len(held_out[0])
    if min(sizes) < LEAST:
        what = f"both parts must hold {LEAST} images, but hold {sizes[0]} and {sizes[1]}; put the whole files there"
        raise DataError(f"data set {params.name}: {Path(params.root).resolve()}: {what}")
    return Dataset(
        name=params.name,
        train=scaled(train[0]),
        held_out=scaled(held_out[0]),
        train_labels=train[1],
        held_out_labels=held_out[1],
        metric="frechet",
        licence=licence,
    )


# -- formats -----------------------------------------------------------------------------------------------------------


def _broken(params: VisionParams, path: Path, why: str) -> DataError:
    return DataError(f"data set {params.name}: {path.resolve()} cannot be read: {why}; put the whole file there")


def _content(params: VisionParams, path: Path) -> bytes:
    _refuse_no_file(params, path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise _broken(params, path, str(error)) from error


def _refuse_no_file(params: VisionParams, path: Path) -> None:
    if not path.is_file():  # but a folder, as archives that were unpacked one by one, or a pipe, which has no end
        raise _broken(params, path, "it is a directory" if path.is_dir() else "it is no file")


def _labelled(params: VisionParams, path: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Part:
    if len(labels) != len(images) or len(labels) == 0:
        raise _broken(params, path, f"it must hold a label for each of {len(images)} images, but holds {len(labels)}")
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise _broken(params, path, f"labels must be in [0, {CLASSES}), but reach {labels.min()} and {labels.max()}")
    return images, labels


def _idx(params: VisionParams, folder_name: str, licence: str) -> Dataset:
    folder = Path(params.root, folder_name, "raw")
    need(params, folder, IDX, "unpacked, in MNIST's file format")
    parts = []
    for images_name, labels_name in (IDX[:2], IDX[2:]):
        images = _idx_array(params, folder / images_name, ("n", 28, 28))
        labels = _idx_array(params, folder / labels_name, ("n",)).astype(np.int64)
        parts.append(_labelled(params, folder / labels_name, images[:, None], labels))
    return _dataset(params, parts[0], parts[1], licence)


def _idx_array(params: VisionParams, path: Path, shape: tuple[str | int, ...]) -> NDArray[np.uint8]:
    """Read unsigned bytes in the IDX format: 0, 0, 8, the rank, big-endian sizes of 4 bytes, then the numbers."""
    content = _content(params, path)
    start = 4 * (1 + len(shape))
    if content[:4] != bytes((0, 0, 8, len(shape))) or len(content) < start:
        raise _broken(params, path, f"it must begin as an IDX file of bytes with {len(shape)} dimensions")
    sizes = struct.unpack(f">{len(shape)}I", content[4:start])
    if sizes[1:] != shape[1:] or len(content) - start != int(np.prod(sizes, dtype=np.uint64)):
        raise _broken(
            params, path, f"its {len(content) - start} bytes must be {list(shape)}, but it announces {list(sizes)}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(sizes)


def _cifar_part(params: VisionParams, folder: Path, names: Sequence[str]) -> Part:
    """Read records of a label and an image, all red bytes before all green ones before all blue ones."""
    record, parts = 1 + int(np.prod(COLOUR)), []
    for name in names:
        content = _content(params, folder / name)
        if len(content) % record:
            raise _broken(params, folder / name, f"its {len(content)} bytes must be a multiple of {record}")
        rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
        images = rows[:, 1:].reshape(-1, *COLOUR)
        parts.append(_labelled(params, folder / name, images, rows[:, 0].astype(np.int64)))
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _mat_part(params: VisionParams, path: Path) -> Part:
    """Read MATLAB's X [32, 32, 3, n] and y [n, 1], where 10 stands for the digit 0."""
    _refuse_no_file(params, path)
    try:
        images, labels = mat_file.read(path, ("X", "y"))
    except (OSError, ValueError) as error:
        raise _broken(params, path, str(error)) from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (32, 32, 3):  # noqa: PLR2004 - rank
        raise _broken(params, path, f"X must be uint8 [32, 32, 3, n], but is {images.dtype} {list(images.shape)}")
    if labels.dtype.kind not in "iu":
        raise _broken(params, path, f"y must be integers, but is {labels.dtype}")
    digits = labels.astype(np.int64).ravel()
    return _labelled(params, path, images.transpose(3, 2, 0, 1), np.where(digits == CLASSES, 0, digits))
