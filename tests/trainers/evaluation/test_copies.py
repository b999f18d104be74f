"""The memorisation ratio: what it is for the truth and for copies, shifted and flipped ones too."""

import numpy as np
import pytest

from trainers.config import TrainConfig
from trainers.data import load
from trainers.evaluation import extractor as extractors
from trainers.evaluation.copies import SHIFT, image_memorisation, memorisation_ratio, variants


def draw(seed, n, d=8):
    return np.random.Generator(np.random.Philox(key=seed)).standard_normal((n, d))


def test_the_truth_has_about_one_and_copies_nothing():
    train, held_out = draw(1, 2000), draw(2, 1000)
    assert memorisation_ratio(draw(3, 1000), train, held_out) == pytest.approx(1, abs=0.05)
    assert memorisation_ratio(train[:500], train, held_out) == 0
    assert memorisation_ratio(draw(4, 500) + 50, train, held_out) > 10


def test_a_low_quantile_sees_a_few_copies():
    train, held_out = draw(1, 2000), draw(2, 1000)
    some = np.concatenate((train[:100], draw(3, 400)))
    assert memorisation_ratio(some, train, held_out, 0.1) == 0
    assert memorisation_ratio(some, train, held_out) > 0.8


def test_variants_are_all_shifts_of_both_sides():
    image = np.arange(16.0).reshape(1, 1, 4, 4)
    found = list(variants(image, 1))
    assert len(found) == 18
    assert sum(np.array_equal(one, image) for one in found) == 1
    assert sum(np.array_equal(one, image[..., ::-1]) for one in found) == 1
    down = np.concatenate((image[:, :, :1], image[:, :, :-1]), axis=2)
    assert any(np.array_equal(one, down) for one in found)


@pytest.fixture(scope="module")
def digits():
    return load(TrainConfig().data)


@pytest.fixture(scope="module")
def features(digits):
    loaded = extractors.load(extractors.train(digits))
    return lambda images: loaded(images)[0]


def shifted(images, by, flip):
    padded = np.pad(images, ((0, 0), (0, 0), (by, by), (by, by)), mode="edge")
    moved = padded[:, :, : images.shape[2], : images.shape[3]]
    return np.ascontiguousarray(moved[..., ::-1] if flip else moved)


@pytest.mark.slow
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("by", [1, 2, SHIFT])
def test_it_sees_training_images_shifted_or_flipped_where_pixel_distance_does_not(digits, features, by, flip):
    train, held_out = digits.train[:300], digits.held_out[:100]
    copies = shifted(train[:100], by, flip)
    pixels = [rows.reshape(len(rows), -1) for rows in (copies, train, held_out)]
    assert memorisation_ratio(*pixels) > 0.6  # as far off as new images, or nearly
    assert image_memorisation(copies, train, held_out, features) < 0.01
    assert image_memorisation(held_out, train, digits.held_out[100:200], features) > 0.8


def test_copies_among_the_held_out_data_say_nothing():
    train = draw(1, 50)
    with pytest.raises(ValueError, match="held-out data that are new"):
        memorisation_ratio(draw(3, 10), train, train)
