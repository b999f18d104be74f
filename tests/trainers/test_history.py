"""Signals of every step: null where there is none, NaN where it is NaN."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from trainers.draws import every as due
from trainers.game import Game, Player
from trainers.history import Signals
from trainers.history_file import from_bytes, to_bytes

NAMES = ("loss_a", "loss_b", "norm_a", "absent")


def player(name, every, signals):
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    return Player(
        name=name,
        weights=[weight],
        optimizer=optimizer,
        due=due(every),
        every=every,
        signals=signals,
        loss=lambda *_: None,
    )


A, B = player("a", 1, ("loss_a", "norm_a")), player("b", 3, ("loss_b",))


@pytest.fixture
def signals():
    return Signals(Game(networks={}, phases=((A,), (B,)), draws=(), sampler="a"), NAMES, torch.device("cpu"))


def record(signals, start, stop):
    signals.reset(stop - start)
    for step in range(start + 1, stop + 1):
        signals.put(step - start - 1, A, [torch.tensor(float(step)), torch.tensor(float("nan"))])
        if step % 3 == 0:
            signals.put(step - start - 1, B, [torch.tensor(-float(step))])
    return signals.rows()


def test_a_segment_is_a_row_a_step_with_nulls_where_nothing_was_reported(signals):
    batch = signals.batch(record(signals, 4, 9), 4)
    assert batch.schema.names == ["step", *NAMES]
    assert batch.schema.field("step").type == pa.int64()
    assert {batch.schema.field(name).type for name in NAMES} == {pa.float32()}
    assert batch.column("step").to_pylist() == [5, 6, 7, 8, 9]
    assert batch.column("loss_a").to_pylist() == [5, 6, 7, 8, 9]
    assert batch.column("loss_b").to_pylist() == [None, -6, None, None, -9]
    assert batch.column("absent").to_pylist() == [None] * 5


def test_a_nan_that_was_reported_is_a_nan_and_not_null(signals):
    norms = signals.batch(record(signals, 4, 9), 4).column("norm_a")
    assert norms.null_count == 0
    assert all(math.isnan(value) for value in norms.to_pylist())


def test_a_reset_forgets_the_segment_before(signals):
    record(signals, 0, 6)
    signals.reset(2)
    assert np.isnan(signals.rows()).all()


def test_the_window_holds_what_exists_with_its_steps(signals):
    rows = record(signals, 4, 9)
    window = signals.window(rows, 9, 4, 0.0)
    assert set(window.signals) == {"loss_a", "loss_b", "norm_a"}
    assert window.signals["loss_b"].steps.tolist() == [6, 9]
    assert window.signals["loss_b"].values.tolist() == [-6, -9]
    assert window.signals["loss_a"].steps.tolist() == [5, 6, 7, 8, 9]
    assert (window.after, window.d_floor) == (4, 0.0)
    assert window.every == {"loss_a": 1, "norm_a": 1, "loss_b": 3}


def test_a_signal_without_a_value_in_the_window_is_missing(signals):
    assert "loss_b" not in signals.window(record(signals, 0, 2), 2, 0, None).signals


def test_arrow_bytes_round_trip_with_nulls_and_nans(signals):
    batch = signals.batch(record(signals, 0, 6), 0)
    data = to_bytes(batch)
    table = from_bytes(data)
    assert table.schema == batch.schema
    for name in batch.schema.names:
        np.testing.assert_array_equal(table.column(name).to_pylist(), batch.column(name).to_pylist())
    assert to_bytes(signals.batch(record(signals, 0, 6), 0)) == data
