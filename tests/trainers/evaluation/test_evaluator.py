"""Evaluators by configuration, on digits and on mixtures."""

import dataclasses
import hashlib
import math
import reprlib

import numpy as np
import pytest
import torch

from trainers.config import TrainConfig
from trainers.data import load
from trainers.errors import ConfigError, DataError
from trainers.evaluation import Evaluator, baseline, make_evaluator, train_extractor
from trainers.evaluation import extractor as extractors
from trainers.evaluation.discrepancy import energy_distance, kernel_distance
from trainers.evaluation.frechet import frechet_distance
from trainers.evaluation.images import image_scores

DIGITS, RING = TrainConfig(), TrainConfig(data="ring8")


@pytest.fixture(scope="module")
def digits():
    return load(DIGITS.data)


@pytest.fixture(scope="module")
def extractor(digits):
    return train_extractor(digits)


@pytest.fixture(scope="module")
def evaluator(digits, extractor):
    return make_evaluator(DIGITS, digits, extractor)


def test_the_name_holds_the_extractors_hash(evaluator, extractor, digits):
    assert evaluator.metric == f"frechet_{hashlib.sha256(extractor).hexdigest()[:8]}"
    assert list(evaluator.scores(digits.train)) == [evaluator.metric, "confidence", "class_min_share"]


def test_the_reference_is_the_held_out_part(evaluator, extractor, digits):
    network = extractors.load(extractor)
    expected = frechet_distance(network(digits.train)[0], network(digits.held_out)[0])
    assert evaluator.scores(digits.train)[evaluator.metric] == pytest.approx(expected, rel=1e-9)
    assert evaluator.scores(digits.held_out)[evaluator.metric] == pytest.approx(0, abs=1e-9)
    assert baseline(DIGITS, digits, extractor) == pytest.approx(expected, rel=1e-9)
    assert expected > 0.1


def test_worse_images_have_a_worse_score(evaluator, digits):
    """Real digits under more and more noise; noise alone; a single digit for all."""
    draw = np.random.default_rng(0)
    noise = draw.uniform(-1, 1, digits.train.shape)
    mixed = [((1 - share) * digits.train + share * noise).astype(np.float32) for share in (0, 0.2, 0.4, 1)]
    scores = [evaluator.scores(images)[evaluator.metric] for images in mixed]
    assert scores[:3] == sorted(scores[:3])  # beyond, they saturate
    assert scores[-1] > 20 * scores[0]
    one_class = evaluator.scores(digits.train[digits.train_labels == 3])
    assert one_class[evaluator.metric] > 20 * scores[0]
    assert one_class["class_min_share"] == 0
    assert evaluator.scores(digits.train)["class_min_share"] == pytest.approx(0.096, abs=0.01)
    assert evaluator.scores(digits.train)["confidence"] > 0.95


def test_the_extractor_is_trained_where_it_is_needed(evaluator, digits):
    assert make_evaluator(DIGITS, digits, None).metric == evaluator.metric


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_images_that_are_not_finite_score_nan(evaluator, digits, value):
    samples = digits.train[:100].copy()
    samples[3] = value
    scores = evaluator.scores(samples)
    assert next(iter(scores)) == evaluator.metric
    if math.isfinite(value):
        assert scores[evaluator.metric] > 1e6
    else:
        assert all(math.isnan(score) for score in scores.values())


def test_an_infinity_that_the_extractor_cannot_see_scores_nan(extractor, digits):
    """Negative weights turn an infinite pixel into -inf, and ReLU turns that into 0: the features are finite."""
    loaded = extractors.load(extractor)
    weights = {layer: -torch.ones_like(weight) for layer, weight in loaded.weights.items()}
    blind = dataclasses.replace(loaded, weights=weights)
    samples = digits.train[:100].copy()
    samples[3] = math.inf
    assert np.isfinite(blind(samples)[0]).all()
    assert math.isnan(image_scores(samples, blind, lambda _: 1.0, "score")["score"])


@pytest.mark.parametrize("config", [DIGITS, RING])
def test_scores_repeat_to_the_bit_and_leave_state_alone(config, extractor):
    data = load(config.data)
    scorer = make_evaluator(config, data, extractor)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.is_grad_enabled()
    samples = data.train[:500].copy()
    first = scorer.scores(samples)
    assert scorer.scores(samples) == first
    assert (samples == data.train[:500]).all()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.is_grad_enabled() is before[2]


def test_the_kernel_distance_is_that_of_features_under_a_name_of_its_own(evaluator, extractor, digits):
    kernel = make_evaluator(TrainConfig(metrics=("kernel",)), digits, extractor)
    assert kernel.metric == evaluator.metric.replace("frechet", "kernel")
    network = extractors.load(extractor)
    expected = kernel_distance(network(digits.train[:500])[0], network(digits.held_out)[0])
    found = kernel.scores(digits.train[:500])
    assert found[kernel.metric] == pytest.approx(expected, rel=1e-9)
    assert list(found)[1:] == ["confidence", "class_min_share"]
    assert kernel.scores(np.zeros_like(digits.train[:500]))[kernel.metric] > 100 * abs(expected)


@pytest.mark.parametrize("config", [DIGITS, RING], ids=["digits", "ring8"])
def test_the_energy_distance_is_that_of_samples_of_any_kind(config):
    data = load(config.data)
    scorer = make_evaluator(config.model_copy(update={"metrics": ("energy_distance",)}), data, None)
    every = -(-len(data.held_out) // 2000)
    found = scorer.scores(data.train[:500])
    assert found == {"energy_distance": pytest.approx(energy_distance(data.train[:500], data.held_out[::every]))}
    assert math.isnan(scorer.scores(np.full_like(data.train[:5], np.nan))["energy_distance"])
    assert scorer.scores(np.zeros_like(data.train[:500]))["energy_distance"] > 10 * abs(found["energy_distance"])


def test_mixtures_ignore_the_extractor():
    data = load(RING.data)
    scorer = make_evaluator(RING, data, b"no extractor")
    assert scorer.metric == "mixture_kl"
    told = ["mixture_kl", "modes", "high_quality", "reverse_kl", "mode_tv", "spread"]
    assert list(scorer.scores(data.held_out)) == told
    assert baseline(RING, data, None) < 1e-3


def test_samples_of_another_shape_are_a_mistake_of_the_caller(evaluator, digits):
    for bad in (digits.train[:1], digits.train[:, 0], np.zeros((10, 2), np.float32)):
        with pytest.raises(ValueError, match="samples must be"):
            evaluator.scores(bad)


def told(value):
    """What a metric of a user's own gives for two points, where it returns `value`."""
    return Evaluator(metric="mine", shape=(2,), score=lambda _: value).scores(np.zeros((2, 2), np.float32))


@pytest.mark.parametrize(
    "value",
    [None, 1.5, "1.5", [1.5], {}, {"other": 1.5}, {"other": 1.5, "mine": 1.5}, {"mine": None}, {"mine": "1.5"},
     {"mine": 10**400}, {"mine": 1 + 2j}, {"mine": 1.5, "beside it": "text"}],
    ids=reprlib.repr,
)  # fmt: skip
def test_what_a_metric_returns_must_be_numbers_by_name_its_own_first(value):
    rule = "metric mine must return numbers by name, 'mine' first, but returned"
    with pytest.raises(ValueError, match=rule) as error:
        told(value)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("number", [0, 1e308, math.inf, np.float32(1.5), np.float64(-2), torch.tensor(0.5), True])
def test_any_number_that_a_float64_holds_is_a_score(number):
    assert told({"mine": number, "beside it": 1}) == {"mine": float(number), "beside it": 1.0}
    assert type(told({"mine": number})["mine"]) is float


def test_a_metric_that_does_not_suit_the_data_names_the_one_that_does(digits):
    with pytest.raises(DataError, match=r"needs a Gaussian mixture; choose metrics: \[frechet\]"):
        make_evaluator(TrainConfig(metrics=("mixture_kl",)), digits, None)
    with pytest.raises(DataError, match=r"needs images; choose metrics: \[mixture_kl\]"):
        make_evaluator(TrainConfig(data="ring8", metrics=("frechet",)), load(RING.data), None)


def test_an_unknown_metric_suggests_the_nearest(digits):
    with pytest.raises(ConfigError, match="did you mean 'frechet'"):
        make_evaluator(TrainConfig(metrics=("frechett",)), digits, None)


def test_an_extractor_of_other_images_is_refused(extractor, digits):
    loaded = extractors.load(extractor)
    other = extractors._save(loaded.weights, (1, 28, 28), 10)
    with pytest.raises(DataError, match=r"shape \(1, 8, 8\) of data set digits, but was trained on \(1, 28, 28\)"):
        make_evaluator(DIGITS, digits, other)
