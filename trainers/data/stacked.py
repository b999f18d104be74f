"""stacked_digits: three 8x8 digits as the channels of one image, which makes 1,000 modes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainers.data import Dataset, load
from trainers.params.data import StackedDigitsParams
from trainers.registry import Params

KEY = 0x57AC_CED0  # a constant: the stacks are a data set, not a draw of the training
CHANNELS, CLASSES = 3, 10


def make(params: StackedDigitsParams) -> Dataset:
    """Return stacks of `digits`, after stacked MNIST (Metz et al. 2017, section 3.3.1; Lin et al. 2018, section 4.2).

    Stacks to train on hold digits to train on, and held-out ones hold held-out digits. The label is the number that
    the three digits make.
    """
    digits = load(Params(name="digits"))
    train, train_labels = _stacks(digits.train, digits.train_labels, params.train, stream=0)
    held_out, held_out_labels = _stacks(digits.held_out, digits.held_out_labels, params.held_out, stream=1)
    return Dataset(
        name=params.name,
        train=train,
        held_out=held_out,
        train_labels=train_labels,
        held_out_labels=held_out_labels,
        metric="stacked_modes",
        licence=digits.licence,
    )


def _stacks(
    images: NDArray[np.float32], labels: NDArray[np.int64] | None, n: int, stream: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    assert labels is not None  # noqa: S101 - the digits have labels
    draw = np.random.Generator(np.random.Philox(key=KEY + stream))
    chosen = draw.integers(len(images), size=(n, CHANNELS))
    number: NDArray[np.int64] = labels[chosen] @ (CLASSES ** np.arange(CHANNELS - 1, -1, -1))
    return images[chosen, 0], number
