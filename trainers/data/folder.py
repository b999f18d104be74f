"""image_folder: a folder of images, or of one folder of images a class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainers.data import Dataset, cache
from trainers.data.pictures import decode
from trainers.errors import DataError
from trainers.params.data import CachedParams, FolderParams

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


def make(params: FolderParams) -> Dataset:
    """Return the images below `root`; the folders in it, if there are any, are the classes in the order of their names.

    Which images are held out follows from their names alone: adding others moves none to the other part.

    Raises:
        DataError: there are no images, some lie in class folders and some do not, or one cannot be read.
    """
    root = Path(params.root)
    paths = _found(params, root)
    places = [path.relative_to(root) for path in paths]
    classes = sorted({place.parts[0] for place in places if len(place.parts) > 1})
    loose = [place.name for place in places if len(place.parts) == 1]
    if classes and loose:
        raise DataError(
            f"data set {params.name}: all images must lie in class folders or none, but {root.resolve()} holds "
            f"{loose[0]} beside the folder {classes[0]}"
        )
    labels = np.array([classes.index(place.parts[0]) for place in places], dtype=np.int64) if classes else None
    held_out = np.array([is_held_out(place.as_posix(), params.held_out) for place in places])
    return cache.dataset(
        params,
        paths,
        partial(images_of, params, paths, labels, held_out, params.channels),
        metric="sliced_wasserstein" if labels is None else "frechet",
        licence="not known: the user's own images",
    )


def _found(params: FolderParams, root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"data set {params.name}: {root.resolve()} is no folder; set data.root to one with images")
    paths = sorted(_files(root, frozenset()))
    if not paths:
        raise DataError(
            f"data set {params.name}: {root.resolve()} holds no image; put some into it ({', '.join(sorted(SUFFIXES))})"
            ", or into a folder for each class in it"
        )
    return paths


def _files(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Yield images below a folder, also behind links, but for a link to a folder that holds it."""
    here = folder.resolve()
    if here in above:
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _files(path, above | {here})
        elif path.suffix.lower() in SUFFIXES:
            yield path


def is_held_out(name: str, share: float) -> bool:
    """Return whether an image is held out: a share of all names are, whatever other images there are."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") < share * 2**64


def images_of(
    params: CachedParams,
    paths: Sequence[Path],
    labels: NDArray[np.int64] | None,
    held_out: NDArray[np.bool_],
    channels: int,
) -> cache.Images:
    """Return what `cache.dataset` decodes, from files of one image each."""
    size = params.size

    def blocks() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64] | None]]:
        for start in range(0, len(paths), cache.BLOCK):
            some = slice(start, start + cache.BLOCK)
            named = [(path, f"data set {params.name}: {path.absolute()}") for path in paths[some]]
            pixels = [decode(path, where, size, channels) for path, where in named]
            yield np.stack(pixels), None if labels is None else labels[some]

    return cache.Images(shape=(channels, size, size), held_out=held_out, blocks=blocks())
