"""celeba: aligned faces of celebrities, cut to squares."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from trainers.data import Dataset, cache
from trainers.data.folder import images_of
from trainers.data.vision import need
from trainers.errors import DataError
from trainers.params.data import CelebaParams

IMAGES, PARTITION = "img_align_celeba", "list_eval_partition.txt"
TRAIN, HELD_OUT = "0", "2"  # 1 is a part for validation, which nothing here needs
COLOURS = 3


def make(params: CelebaParams) -> Dataset:
    """Return CelebA's training part and, held out, its test part (Liu et al. 2015); attributes are not read.

    Raises:
        DataError: a file is missing or not in its format; the message says which belongs where.
    """
    folder = Path(params.root, "celeba")
    need(params, folder, (IMAGES, PARTITION), "unpacked")
    names, parts = _partition(params, folder / PARTITION)
    paths = [folder / IMAGES / name for name in names]
    held_out = np.array([part == HELD_OUT for part in parts])
    return cache.dataset(
        params,
        [folder / PARTITION, *paths],
        partial(images_of, params, paths, None, held_out, COLOURS),
        metric="sliced_wasserstein",
        licence="non-commercial research only: Z. Liu, P. Luo, X. Wang, X. Tang, CelebA, MMLab, CUHK",
    )


def _partition(params: CelebaParams, path: Path) -> tuple[list[str], list[str]]:
    """Read lines such as `000001.jpg 0`."""
    rows = [line.split() for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
    for number, row in enumerate(rows, start=1):
        if len(row) != 2 or row[1] not in "012" or Path(row[0]).name != row[0]:  # noqa: PLR2004 - a name and a part
            raise DataError(
                f"data set {params.name}: {path.resolve()}, line {number}, must be a file's name and 0, 1 or 2, "
                f"but is {' '.join(row)[:80]!r}"
            )
    chosen = [row for row in rows if row[1] in (TRAIN, HELD_OUT)]
    return [name for name, _ in chosen], [part for _, part in chosen]
