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
from trainers.stability.measures import Probe, Said

NAMES = ("loss_a", "loss_b", "norm_a", "norm_b", "absent")


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


RATIOS = ("update_ratio_norm_a", "update_ratio_norm_b")
A, B = player("a", 1, ("loss_a", "norm_a")), player("b", 3, ("loss_b", "norm_b"))


@pytest.fixture
def signals():
    return Signals(Game(networks={}, phases=((A,), (B,)), draws=(), sampler="a"), NAMES, 4, torch.device("cpu"))


def record(signals, start, stop):
    signals.reset(stop - start)
    for step in range(start + 1, stop + 1):
        signals.put(step - start - 1, A, [torch.tensor(float(step)), torch.tensor(float("nan"))])
        if step % 3 == 0:
            signals.put(step - start - 1, B, [torch.tensor(-float(step)), torch.tensor(2.0)])
    return signals.rows(start)


def test_a_segment_is_a_row_a_step_with_nulls_where_nothing_was_reported(signals):
    batch = signals.batch(record(signals, 4, 9), 4)
    assert batch.schema.names == ["step", *NAMES, *RATIOS]
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
    assert np.isnan(signals.rows(6)).all()


def test_a_series_holds_what_exists_with_its_steps(signals):
    series = signals.series(record(signals, 4, 9), 4)
    assert set(series) == {"loss_a", "loss_b", "norm_a", "norm_b", "update_ratio_norm_a"}
    assert series["loss_b"].steps.tolist() == [6, 9]
    assert series["loss_b"].values.tolist() == [-6, -9]
    assert series["loss_a"].steps.tolist() == [5, 6, 7, 8, 9]
    assert {name: signals.every[name] for name in series} == {
        "loss_a": 1,
        "norm_a": 1,
        "loss_b": 3,
        "norm_b": 3,
        RATIOS[0]: 4,
    }


def test_a_signal_without_a_value_in_the_window_is_missing(signals):
    assert "loss_b" not in signals.series(record(signals, 0, 2), 0)


def test_a_gradient_norm_is_that_of_all_weights_together():
    weights = [torch.zeros(2, 2, requires_grad=True), torch.zeros(2, requires_grad=True)]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    two = Player(
        name="d", weights=weights, optimizer=optimizer, signals=("d_loss", "grad_norm_d"), loss=lambda *_: None
    )
    signals = Signals(Game(networks={}, phases=((two,),), draws=(), sampler="d"), (), 4, torch.device("cpu"))
    signals.reset(1)
    signals.put(0, two, [torch.tensor(value) for value in (7.0, 3.0, 4.0)])
    row = dict(zip(signals.names, signals.rows(0)[0].tolist(), strict=True))
    assert (row["d_loss"], row["grad_norm_d"], row["grad_norm_d.1"]) == (7, 5, 3)


@pytest.mark.parametrize("most", [1, 24, 10_000])
def test_what_d_says_is_reduced_to_the_same_signals_in_blocks_of_any_length(most):
    said = Said(boundary=0.0)
    weight = torch.zeros(1, requires_grad=True)
    d = Player(
        name="d",
        weights=[weight],
        optimizer=torch.optim.SGD([weight], lr=1.0),
        due=due(2),
        signals=("d_loss", *said.signals, "grad_norm_d"),
        said=said,
        loss=lambda *_: None,
    )
    signals = Signals(Game(networks={}, phases=((d,),), draws=(), sampler="d"), (), 100, torch.device("cpu"), most)
    spoken = torch.randn(11, 2, 4, generator=torch.Generator().manual_seed(0))
    for start in (0, 11):
        signals.reset(11)
        for row in range(11):
            if (start + row + 1) % 2 == 0:
                signals.put(row, d, [torch.tensor(0.0)] * 2, spoken[row].reshape(-1, 1))
        batch = signals.batch(signals.rows(start), start)
        for row in range(11):
            told = [batch.column(name)[row].as_py() for name in said.signals]
            if (start + row + 1) % 2:
                assert told == [None] * 5
                continue
            real, fake = spoken[row].double().numpy()
            right = ((real > 0).sum() + (fake <= 0).sum()) / 8
            assert told == pytest.approx([real.mean(), fake.mean(), real.var(), fake.var(), right], rel=1e-5)


class Probed:
    """A game of A with a probe that says the step, every 4 steps from step 8 on, and its signals."""

    def __init__(self):
        probe = Probe(signals=("said",), measure=lambda _b, _h, step: {"said": torch.tensor(float(step))}, late=4)
        self.game = Game(networks={}, phases=((A,),), draws=(), sampler="a", probe=probe)
        self.signals = Signals(self.game, ("loss_a", "norm_a"), 4, torch.device("cpu"))

    def record(self, start, stop):
        signals = self.signals
        signals.reset(stop - start)
        for step in range(start + 1, stop + 1):
            before = signals.before(step)
            assert bool(before) == (step % 4 == 0)
            with torch.no_grad():
                A.weights[0].fill_(2.0 * step)
            signals.put(step - start - 1, A, [torch.tensor(float(step))] * 2)
            if before:
                signals.after(step - start - 1, step, before, {}, torch.zeros(0))
        return signals.rows(start)


def test_what_is_expensive_is_measured_at_the_multiples_of_slow_every():
    probed = Probed()
    series = probed.signals.series(probed.record(0, 13), 0)
    assert set(series) == {"loss_a", "norm_a", "update_ratio_norm_a", "said"}
    assert series["said"].steps.tolist() == series["said"].values.tolist() == [8, 12]
    assert series["update_ratio_norm_a"].steps.tolist() == [4, 8, 12]
    assert series["update_ratio_norm_a"].values.tolist()[1:] == pytest.approx([2 / 14, 2 / 22])
    assert probed.signals.every["said"] == 4


def test_arrow_bytes_round_trip_with_nulls_and_nans(signals):
    batch = signals.batch(record(signals, 0, 6), 0)
    data = to_bytes(batch)
    table = from_bytes(data)
    assert table.schema == batch.schema
    for name in batch.schema.names:
        np.testing.assert_array_equal(_numbers(table.column(name)), _numbers(batch.column(name)))
    assert to_bytes(signals.batch(record(signals, 0, 6), 0)) == data


def _numbers(column):
    return [("absent" if value is None else repr(value)) for value in column.to_pylist()]
