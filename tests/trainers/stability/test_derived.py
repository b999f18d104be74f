"""Signals that follow from others."""

import numpy as np
import pytest

from tests.fakes.trainings import column, run, tiny
from trainers.stability.derived import derived, penalty_share, slope

NAN = float("nan")


def columns(**values):
    return {name: np.array(value, dtype=np.float32) for name, value in values.items()}


def test_the_slope_is_in_decades_a_layer():
    layers = columns(a=[1, 1, 1, 0, NAN], b=[10, 1, 0.1, 1, 1], c=[100, 1, 0.01, 1, 1])
    found = slope(layers)
    assert found[:3] == pytest.approx([1, 0, -1])
    assert found[3] > 10
    assert np.isnan(found[4])


def test_the_penaltys_share_is_of_both_terms_sizes():
    shares = penalty_share(columns(d_loss=[-3, 1, 0, NAN], penalty=[1, 0, 0, NAN]))
    assert shares[:3] == pytest.approx([0.25, 0, 0])
    assert np.isnan(shares[3])


def test_two_layers_have_no_slope_and_three_have():
    two = [f"grad_norm_d.{layer}" for layer in (1, 2)]
    assert "grad_slope_d" not in derived(two)
    assert derived([*two, "grad_norm_d.3"])["grad_slope_d"].of == (*two, "grad_norm_d.3")
    assert derived(["d_loss", "penalty"])["penalty_share"].like == "penalty"


def test_they_are_in_the_history_where_what_they_follow_from_is():
    segments = run(tiny(network={"name": "mlp", "width": 6, "depth": 2}, penalty={"name": "gradient", "every": 3}))
    penalties, shares = column(segments, "penalty"), column(segments, "penalty_share")
    assert [share is None for share in shares] == [penalty is None for penalty in penalties]
    norms = np.array([column(segments, f"grad_norm_d.{layer}") for layer in (1, 2, 3)], dtype=np.float64)
    by_hand = [np.polyfit([0, 1, 2], np.log10(norms[:, step]), 1)[0] for step in range(12)]
    assert column(segments, "grad_slope_d") == pytest.approx(by_hand, rel=1e-3, abs=1e-5)
    total = np.sqrt((norms**2).sum(axis=0))
    assert (total <= np.array(column(segments, "grad_norm_d")) * (1 + 1e-5)).all()  # biases have gradients, too


def test_numbers_that_are_not_finite_are_counted():
    wild = {"optim": {"name": "sgd", "lr_d": 10, "lr_g": 10}, "objective": "least_squares"}
    segments = run(tiny(**wild, stability={"non_finite": {"action": "warn"}}, steps=40, segment_steps=40))
    counted = column(segments, "non_finite")
    names = [name for name in segments[0].history.schema.names if name not in ("step", "non_finite")]
    by_hand = [
        sum(value is not None and not np.isfinite(value) for value in row)
        for row in zip(*(column(segments, name) for name in names), strict=True)
    ]
    assert max(by_hand) > 3
    assert counted[:-1] == by_hand[:-1]  # the last step has an evaluation, which is no signal of the step
