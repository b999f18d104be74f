"""The rules of a Dataset, and loading by name."""

import hashlib

import numpy as np
import pytest

from trainers.data import Dataset, Modes, load
from trainers.errors import DataError
from trainers.registry import Params


def parts(**changes):
    images = np.linspace(-1, 1, 4 * 64, dtype=np.float32).reshape(4, 1, 8, 8)
    labels = np.array([0, 1, 2, 1])
    given = {"train": images, "held_out": images[:2], "train_labels": labels, "held_out_labels": labels[:2]}
    return Dataset(**({"name": "own", "metric": "frechet", "licence": "none"} | given | changes))


def test_digest_is_the_sha256_of_the_parts_with_their_shapes_in_order():
    data = parts()
    images, labels = data.train.tobytes(), data.train_labels.tobytes()
    half = images[: len(images) // 2], labels[: len(labels) // 2]
    content = b"[4, 1, 8, 8]%b[2, 1, 8, 8]%b[4]%b[2]%b" % (images, half[0], labels, half[1])
    assert data.digest == hashlib.sha256(content).hexdigest()
    assert parts(train_labels=None).digest != parts(held_out_labels=None).digest
    wide = {part: getattr(data, part).reshape(-1, 1, 4, 16) for part in ("train", "held_out")}
    assert parts(**wide).digest != data.digest
    assert data.digest != parts(held_out_labels=np.array([1, 0])).digest
    strided = np.repeat(data.train, 2, axis=0)[::2]
    assert not strided.flags.c_contiguous
    assert parts(train=strided).digest == data.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": np.zeros((0, 1, 8, 8), np.float32), "train_labels": None}, "at least one sample"),
        ({"held_out": np.zeros((0, 1, 8, 8), np.float32), "held_out_labels": None}, "at least one sample"),
        ({"train": np.zeros((4, 1, 8, 8))}, "must be float32"),
        ({"train": np.full((4, 1, 8, 8), np.nan, np.float32)}, "must be finite"),
        ({"train": np.full((4, 1, 8, 8), 255, np.float32)}, r"scaled to \[-1, 1\]"),
        ({"train": np.zeros((4, 3, 8, 8), np.float32)}, "one shape"),
        ({"train_labels": np.array([0, 1])}, r"labels must be int64 \[4\]"),
        ({"train_labels": np.array([0, 1, -1, 0])}, "not negative"),
        ({"train_labels": np.array([0.0, 1, 1, 0])}, "labels must be int64"),
    ],
)
def test_a_part_that_breaks_a_rule_is_refused_by_name(changes, message):
    with pytest.raises(DataError, match=f"data set own: .*{message}"):
        parts(**changes)


@pytest.mark.parametrize(
    ("centres", "std", "axes"),
    [
        (np.zeros((0, 2)), 1, None),
        (np.zeros(3), 1, None),
        (np.zeros((3, 2)), 0, None),
        (np.full((1, 2), np.inf), 1, None),
        (np.zeros((3, 2)), 1, 3),
    ],
)
def test_a_mixture_that_is_none_is_refused(centres, std, axes):
    with pytest.raises(DataError, match="mixture"):
        Modes(centres=centres, std=std, axes=axes)


def test_a_data_set_is_loaded_once_a_process():
    assert load(Params(name="digits")) is load(Params(name="digits"))


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(DataError, match="unknown data 'digit'; did you mean 'digits'"):
        load(Params(name="digit"))
