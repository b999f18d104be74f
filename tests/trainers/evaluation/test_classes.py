"""The classifier score: its bounds, and another implementation."""

import numpy as np
import pytest
import torch
from torchmetrics.image.inception import InceptionScore

from trainers.evaluation.classes import classifier_score


@pytest.mark.filterwarnings("ignore::UserWarning")  # that it keeps what it is given, and has one part
def test_it_agrees_with_torchmetrics():
    logits = torch.from_numpy(np.random.Generator(np.random.Philox(key=1)).standard_normal((300, 7)) * 2)
    theirs = InceptionScore(feature=torch.nn.Identity(), splits=1).set_dtype(torch.float64)
    theirs.update(logits)
    found = classifier_score(torch.softmax(logits, dim=1).numpy(), splits=1)
    assert found["classifier_score"] == pytest.approx(float(theirs.compute()[0]), rel=1e-6)


def test_parts_are_scored_alone_and_averaged():
    p = np.random.Generator(np.random.Philox(key=2)).dirichlet(np.ones(4), size=30)
    alone = [classifier_score(part, 1)["classifier_score"] for part in np.split(p, 3)]
    found = classifier_score(p, 3)
    assert found["classifier_score"] == pytest.approx(np.mean(alone))
    assert found["classifier_score_std"] == pytest.approx(np.std(alone))


def test_it_lies_between_one_and_the_number_of_classes():
    sure = np.tile(np.eye(5), (20, 1))
    assert classifier_score(sure, 1)["classifier_score"] == pytest.approx(5)
    assert classifier_score(sure[:1].repeat(100, axis=0), 1)["classifier_score"] == pytest.approx(1)
    assert classifier_score(np.full((100, 5), 0.2), 1)["classifier_score"] == pytest.approx(1)


@pytest.mark.parametrize("bad", [np.full((5, 4), 0.25), np.full((20, 4), 0.5), np.full((20, 4), np.nan)])
def test_what_are_no_probabilities_is_refused(bad):
    with pytest.raises(ValueError, match="must sum to 1 in each of at least 10 rows"):
        classifier_score(bad)
