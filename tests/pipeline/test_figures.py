"""The signals around an event, as a picture."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.advice import ADVICE, advice
from pipeline.figures import GAP, SIGNALS, THRESHOLDS, event_figure
from tests.fakes.provoked import provoked
from tests.fakes.trainings import run
from trainers.history import SIGNALS as RECORDED
from trainers.registry import known
from trainers.stability.events import Event
from trainers.watch import SHOWN


def event(kind="d_loss_zero", step=300, **evidence):
    return Event(kind=kind, step=step, severity=0.5, action="stop", evidence={"window": 50.0, **evidence}, message="so")


def history(steps=400, **columns):
    found = {"step": np.arange(1, steps + 1)}
    return pa.table(found | {name: pa.array(values, from_pandas=False) for name, values in columns.items()})


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


LOSS = {"d_loss": np.linspace(1, 0, 400)}


def test_equal_arguments_give_equal_bytes_and_another_event_another_picture():
    one, two = (event_figure(history(**LOSS), event()) for _ in range(2))
    assert one == two
    assert one.startswith(b"\x89PNG")
    assert event_figure(history(**LOSS), event(step=200)) != one


def test_each_signal_that_has_values_has_a_panel():
    few = pixels(event_figure(history(**LOSS), event()))
    more = pixels(event_figure(history(**LOSS, g_loss=np.ones(400), accuracy_d=[None] * 400), event()))
    assert more.shape[0] > few.shape[0], "g_loss is drawn below"
    assert more.shape[0] == few.shape[0] + 150, "and accuracy_d, which has no value, is not"


def test_the_step_of_the_event_is_drawn_in_red():
    def reds(data):
        shown = pixels(data)
        return np.flatnonzero(((shown[..., 0] > 180) & (shown[..., 1] < 80) & (shown[..., 2] < 80)).sum(axis=0) > 20)

    early, late = (reds(event_figure(history(**LOSS), event(step=step))).mean() for step in (320, 395))
    assert late > early


@pytest.mark.parametrize("kind", ["unheard_of", "tests.ours:MINE", "non_finite", *SIGNALS])
def test_every_kind_has_a_picture_whatever_the_history_holds(kind):
    wild = [float("nan"), float("inf"), -1.0, 1e30] * 100
    gaps = [1.0, None] * 200
    names = {name for some in SIGNALS.values() for name in some}
    full = history(**{name: wild if place % 2 else gaps for place, name in enumerate(sorted(names))})
    assert event_figure(full, event(kind, threshold=0.5, signal="d_loss")).startswith(b"\x89PNG")
    assert event_figure(history(3), event(kind, step=2)).startswith(b"\x89PNG")


def test_the_signals_are_ones_that_are_recorded_and_the_kinds_detectors():
    kinds = {variant.name for variant in known("detector")}
    assert set(SIGNALS) | set(THRESHOLDS) <= kinds
    assert {name for some in SIGNALS.values() for name in some} <= {*RECORDED, *SHOWN, GAP}
    assert all(set(names) <= set(SIGNALS[kind]) for kind, names in THRESHOLDS.items())


def test_every_detector_has_its_advice():
    assert {variant.name for variant in known("detector")} <= set(ADVICE)
    assert advice("tests.ours:MINE") is None


def test_a_real_training_has_a_picture():
    segments = run(provoked("an output that is fixed"))
    found = next(e for segment in segments for e in segment.events if e.kind == "mode_collapse")
    table = pa.Table.from_batches([segment.history for segment in segments])
    assert pixels(event_figure(table, found)).std() > 10
