"""The stored trace: equal bits in its environment, rtol 1e-4 elsewhere."""

import json

import numpy as np
import pytest

from tests.golden.trace import CONFIG, FILE, record
from trainers.config import TrainConfig


@pytest.fixture(scope="module")
def stored():
    return json.loads(FILE.read_text())


def test_the_stored_configuration_still_means_the_same(stored):
    assert TrainConfig.model_validate(stored["config"]) == CONFIG


def test_training_today_gives_the_stored_trace(stored):
    fresh = record()
    if fresh["environment"] == stored["environment"]:
        assert fresh["signals"] == stored["signals"]
    for name, values in stored["signals"].items():
        ours = fresh["signals"][name]
        assert [value is None for value in ours] == [value is None for value in values]
        told = [(mine, theirs) for mine, theirs in zip(ours, values, strict=True) if theirs is not None]
        if told:
            # atol: a loss that crosses 0 has no relative accuracy there
            np.testing.assert_allclose(*zip(*told, strict=True), rtol=1e-4, atol=1e-6, err_msg=name)


def test_the_trace_tells_something(stored):
    assert len(stored["signals"]["d_loss"]) == 50
    assert sum(value is not None for value in stored["signals"]["g_loss"]) == 10
    assert len(set(stored["signals"]["penalty"])) == 50
