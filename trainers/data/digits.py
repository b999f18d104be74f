"""digits: 1,797 scanned 8x8 digits that scikit-learn ships."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainers.data import Dataset
from trainers.registry import Params

KEY = 0xD161_7500  # of the split: a constant, so that no seed can move a digit from one part to the other
FOLDS = 5  # every fifth digit is held out
WHITE = 16.0  # the grey values are counts of black pixels in 4x4 blocks


def held_out_mask(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which samples are held out: a fifth of each class, to within one sample.

    Args:
        labels: int64 [n].
    """
    # Raw words of Philox and a stable sort: unlike Generator.permutation, no version of NumPy may change them.
    shuffled = np.argsort(np.random.Philox(key=KEY).random_raw(len(labels)), kind="stable")
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    mask = np.zeros(len(labels), dtype=np.bool_)
    mask[by_class[::FOLDS]] = True
    return mask


def make(params: Params) -> Dataset:
    """Return the digits: 1,437 for training and 360 held out, stratified by class (Alpaydin and Kaynak 1998)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[:, None] / (WHITE / 2) - 1).astype(np.float32)
    labels = digits.target.astype(np.int64)
    held_out = held_out_mask(labels)
    return Dataset(
        name=params.name,
        train=images[~held_out],
        held_out=images[held_out],
        train_labels=labels[~held_out],
        held_out_labels=labels[held_out],
        metric="frechet",
        licence="CC BY 4.0: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 10.24432/C50P49",
    )
