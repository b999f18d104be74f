"""What `make watching` compares trains the same, watched or not."""

from __future__ import annotations

import pytest
import torch

from benchmarks.watching import SEGMENT, With, Without, cost
from tests.fakes.trainings import tiny


@pytest.mark.parametrize("changes", [{}, {"objective": "wasserstein", "clip": 0.1, "n_critic": 3}])
def test_both_take_the_same_steps(changes):
    config = tiny(steps=10**6, segment_steps=SEGMENT, **changes)
    watched, plain = With(config), Without(config)
    watched.block()
    plain.block()
    for name, network in watched._training._game.networks.items():
        for one, two in zip(network.parameters(), plain._training._game.networks[name].parameters(), strict=True):
            assert torch.equal(one, two)


def test_the_cost_lies_in_its_interval():
    share, low, high, each = cost(tiny(steps=10**6, segment_steps=SEGMENT), 3)
    assert low <= share <= high
    assert each > 0
