"""Soft and noisy labels of D's loss, by hand."""

import math

import numpy as np
import pytest
import torch

from tests.fakes.trainings import tiny
from trainers.config import LabelsConfig
from trainers.draws import Staged
from trainers.errors import ConfigError
from trainers.labels import Labels
from trainers.objectives import Objective
from trainers.registry import find

REAL, FAKE = [2.0, -1.0, 0.5, 30.0], [-0.3, 1.5, 0.0, -4.0]
SEEN = torch.zeros(4, 2)


def objective(name="non_saturating") -> Objective:
    params = tiny(objective=name).objective
    return find("objective", name).load_make()(params)


def entropy(label, logit):
    """Return the cross-entropy of a label with sigmoid(logit): -y log D - (1 - y) log(1 - D)."""
    log_d, log_not_d = -math.log1p(math.exp(-logit)), -math.log1p(math.exp(-logit)) - logit
    return -label * log_d - (1 - label) * log_not_d


def loss(batch=None, which="non_saturating", **labels):
    column = [torch.tensor(values, dtype=torch.float64)[:, None] for values in (REAL, FAKE)]
    made = Labels(LabelsConfig(**labels), objective(which), 4)
    given = {name: torch.tensor(values)[:, None] for name, values in (batch or {}).items()}
    return made.d_loss(*column, SEEN, SEEN, given).item()


def expected(real_labels, fake_labels):
    on_real = np.mean([entropy(y, x) for y, x in zip(real_labels, REAL, strict=True)])
    return on_real + np.mean([entropy(y, x) for y, x in zip(fake_labels, FAKE, strict=True)])


@pytest.mark.parametrize("soft", [(0.0, 0.0), (0.1, 0.0), (0.0, 0.2), (0.1, 0.2), (0.5, 0.5)])
def test_soft_labels_are_those_of_the_cross_entropy(soft):
    one, other = soft
    assert loss(soft_real=one, soft_fake=other) == pytest.approx(expected([1 - one] * 4, [other] * 4), rel=1e-9)


def test_a_label_is_exchanged_where_its_number_is_below_the_probability():
    draws = {"flip_real": [0.0, 0.2, 0.3, 0.9], "flip_fake": [0.45, 0.39, 0.99, 0.0]}
    found = loss(draws, soft_real=0.1, flip_real=0.3, soft_fake=0.2, flip_fake=0.4)
    assert found == pytest.approx(expected([0.1, 0.1, 0.9, 0.9], [0.2, 0.8, 0.2, 0.8]), rel=1e-9)


def test_each_side_is_exchanged_alone():
    draws = {"flip_real": [0.0, 0.0, 0.0, 0.9], "flip_fake": [0.0, 0.9, 0.9, 0.9]}
    assert loss(draws, flip_real=0.5) == pytest.approx(expected([0, 0, 0, 1], [0] * 4), rel=1e-9)
    assert loss(draws, flip_fake=0.5) == pytest.approx(expected([1] * 4, [1, 0, 0, 0]), rel=1e-9)


def test_the_loss_of_any_objective_of_single_samples_is_mixed():
    """With the Wasserstein loss a label y weighs -f by y, and f by 1 - y."""
    found = loss(which="wasserstein", soft_real=0.1, soft_fake=0.3)
    assert found == pytest.approx(-0.8 * np.mean(REAL) + 0.4 * np.mean(FAKE), rel=1e-9)


def test_a_soft_label_is_best_met_by_its_own_probability():
    logit = torch.tensor([[math.log(0.9 / 0.1)]], dtype=torch.float64, requires_grad=True)
    away = torch.full((1, 1), -50.0, dtype=torch.float64)
    value = Labels(LabelsConfig(soft_real=0.1), objective(), 1).d_loss(logit, away, SEEN, SEEN, {})
    (slope,) = torch.autograd.grad(value, logit)
    assert slope.item() == pytest.approx(0, abs=1e-12)


def test_only_noisy_labels_need_numbers_of_which_the_stated_share_is_exchanged():
    assert Labels(LabelsConfig(soft_real=0.1, soft_fake=0.1), objective(), 4).draws() == ()
    (draw,) = Labels(LabelsConfig(flip_fake=0.2), objective(), 4).draws()
    assert (draw.name, draw.prior, draw.shape, draw.due(1), draw.due(2)) == ("flip_fake", "unit", (4, 1), True, True)
    both = Labels(LabelsConfig(flip_fake=0.25, flip_real=0.1), objective(), 50_000).draws()
    batch = Staged(both, 0, 0, 1, torch.device("cpu")).at(1)
    # Six standard deviations: a false failure in 5e8 seeds, and the seed is fixed.
    for name, p in (("flip_real", 0.1), ("flip_fake", 0.25)):
        share = (batch[name] < p).double().mean().item()
        assert share == pytest.approx(p, abs=6 * math.sqrt(p * (1 - p) / 50_000))


@pytest.mark.parametrize("which", ["relativistic", "loss_sensitive"])
def test_they_are_refused_where_the_loss_couples_samples(which):
    assert objective(which).terms is None
    with pytest.raises(ConfigError, match=r"couples samples, but got labels\.soft_fake=0\.1, labels\.flip_real=0\.2"):
        Labels(LabelsConfig(soft_fake=0.1, flip_real=0.2), objective(which), 4)
    Labels(LabelsConfig(), objective(which), 4)


def test_without_them_the_loss_is_the_objectives_own_and_gets_its_margin():
    assert loss() == pytest.approx(expected([1] * 4, [0] * 4), rel=1e-9)
    real, fake = torch.zeros(4, 2), torch.tensor([[1.0, 3.0]] * 4)  # 2 apart in the mean
    made = Labels(LabelsConfig(), objective("loss_sensitive"), 4)
    on_real, on_fake = torch.full((4, 1), 0.25), torch.full((4, 1), 1.0)
    assert made.d_loss(on_real, on_fake, real, fake, {}).item() == pytest.approx(2 + 0.25 - 1)
