"""The classifier score: its bounds, and another implementation."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from trainers.evaluation.classes import classifier_score


def test_it_agrees_with_torch_fidelity():
    logits = torch.from_numpy(np.random.Generator(np.random.Philox(key=1)).standard_normal((300, 7)) * 2)
    expected = isc_features_to_metric(logits, splits=3, shuffle=False)
    found = classifier_score(torch.softmax(logits, dim=1).numpy(), splits=3)
    assert found["classifier_score"] == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert found["classifier_score_std"] == pytest.approx(expected["inception_score_std"], rel=1e-9)


def test_it_lies_between_one_and_the_number_of_classes():
    sure = np.tile(np.eye(5), (20, 1))
    assert classifier_score(sure, 1)["classifier_score"] == pytest.approx(5)
    assert classifier_score(sure[:1].repeat(100, axis=0), 1)["classifier_score"] == pytest.approx(1)
    assert classifier_score(np.full((100, 5), 0.2), 1)["classifier_score"] == pytest.approx(1)


@pytest.mark.parametrize("bad", [np.full((5, 4), 0.25), np.full((20, 4), 0.5), np.full((20, 4), np.nan)])
def test_what_are_no_probabilities_is_refused(bad):
    with pytest.raises(ValueError, match="must sum to 1 in each of at least 10 rows"):
        classifier_score(bad)
