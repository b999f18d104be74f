"""The digits and their fixed split."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trainers.data import load
from trainers.data.digits import held_out_mask
from trainers.registry import Params

DIGEST = "0e91048ae56d52bc47acaf8ca1b98f3c84e0bb1ce8a05f35305beb8eb8d9057c"


@pytest.fixture(scope="module")
def digits():
    return load(Params(name="digits"))


def test_the_content_is_pinned(digits):
    assert digits.digest == DIGEST


def test_shapes_and_range(digits):
    assert digits.train.shape == (1437, 1, 8, 8)
    assert digits.held_out.shape == (360, 1, 8, 8)
    assert digits.shape == (1, 8, 8)
    assert digits.is_image
    assert (digits.train.min(), digits.train.max()) == (-1, 1)
    assert digits.metric == "frechet"
    assert digits.modes is None
    assert "CC BY 4.0" in digits.licence


def test_every_scan_is_in_exactly_one_part_with_its_label(digits):
    def rows(images, labels):
        return sorted(zip(np.rint((images.reshape(-1, 64) + 1) * 8).astype(int).tolist(), labels.tolist(), strict=True))

    source = load_digits()
    together = rows(digits.train, digits.train_labels) + rows(digits.held_out, digits.held_out_labels)
    assert sorted(together) == rows(source.images.reshape(-1, 64) / 8 - 1, source.target)


def test_a_fifth_of_every_class_is_held_out(digits):
    held_out = np.bincount(digits.held_out_labels, minlength=10)
    everything = held_out + np.bincount(digits.train_labels, minlength=10)
    assert np.abs(held_out - everything / 5).max() < 1


def test_the_split_is_no_function_of_global_generators():
    labels = np.arange(1000) % 7
    np.random.seed(1)
    first = held_out_mask(labels)
    np.random.seed(2)
    assert (held_out_mask(labels) == first).all()
    assert first.sum() == 200
    assert not (first[:995].reshape(-1, 5).sum(axis=1) == 1).all()  # drawn, not every fifth of the source's order
