"""The feature extractor: accuracy, equal bytes, untouched global state."""

import dataclasses
import hashlib
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save

from trainers.data import Dataset, load
from trainers.errors import DataError, IntegrityError
from trainers.evaluation import extractor as extractors
from trainers.evaluation import train_extractor
from trainers.registry import Params

ROOT = Path(__file__).parents[3]
PRINT_DIGEST = """
import hashlib
from trainers.data import load
from trainers.evaluation import train_extractor
from trainers.registry import Params
print(hashlib.sha256(train_extractor(load(Params(name="digits")))).hexdigest())
"""


def images(shape, n=96, classes=3):
    draw = np.random.default_rng(0)
    labels = draw.integers(classes, size=n)
    samples = draw.uniform(-1, 1, (n, *shape)).astype(np.float32)
    return Dataset(
        name="own",
        train=samples,
        held_out=samples[:8],
        train_labels=labels,
        held_out_labels=labels[:8],
        metric="frechet",
        licence="none",
    )


@pytest.fixture(scope="module")
def digits():
    return load(Params(name="digits"))


@pytest.fixture(scope="module")
def trained(digits):
    return train_extractor(digits)


def test_it_tells_held_out_digits_apart(digits, trained):
    _, probabilities = extractors.load(trained)(digits.held_out)
    assert (probabilities.argmax(axis=1) == digits.held_out_labels).mean() >= 0.97


def test_features_and_probabilities(digits, trained):
    extractor = extractors.load(trained)
    features, probabilities = extractor(digits.train[:600])
    assert (features.shape, probabilities.shape) == ((600, 64), (600, 10))
    assert features.min() == 0
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    again = extractor(digits.train[300:400])[0]
    assert np.allclose(again, features[300:400], rtol=1e-4, atol=1e-4)  # a chunk's bounds change nothing but rounding


def test_bytes_are_equal_in_one_process_whatever_threads_and_global_state(digits, trained):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        torch.manual_seed(5)
        np.random.seed(5)
        torch.use_deterministic_algorithms(True)
        with torch.no_grad():
            assert train_extractor(digits) == trained
        assert torch.get_num_threads() == 2
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)


def test_bytes_are_equal_in_another_process(trained):
    ran = subprocess.run([sys.executable, "-c", PRINT_DIGEST], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == hashlib.sha256(trained).hexdigest()


def test_global_generators_are_left_alone():
    small = images((1, 8, 8))
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    extractors.load(extractors.train(small, steps=3))(small.held_out)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 20), (1, 28, 28), (3, 64, 64)])
def test_image_shapes(shape):
    data = images(shape)
    extractor = extractors.load(extractors.train(data, steps=2))
    features, probabilities = extractor(data.held_out)
    assert (extractor.shape, extractor.classes) == (shape, 3)
    assert (features.shape, probabilities.shape) == ((8, 64), (8, 3))


def test_another_data_set_has_another_extractor(digits):
    other = dataclasses.replace(digits, train_labels=digits.train_labels[::-1].copy())
    assert extractors.train(other, steps=3) != extractors.train(digits, steps=3)


def test_data_without_images_or_labels_need_none():
    assert train_extractor(load(Params(name="ring8"))) is None
    unlabelled = dataclasses.replace(images((1, 8, 8)), train_labels=None)
    assert train_extractor(unlabelled) is None
    with pytest.raises(DataError, match="needs images with labels"):
        extractors.train(unlabelled)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: save(load_tensors(data)),  # no metadata
        lambda data: save(load_tensors(data), metadata={"extractor": '{"version": 0, "shape": [1, 8, 8]}'}),
    ],
)
def test_damaged_bytes_are_refused(trained, damage):
    with pytest.raises(IntegrityError, match="feature extractor"):
        extractors.load(damage(trained))
