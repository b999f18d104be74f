"""Detectors as pure functions: at the window's edge, across segments, on a recorded failure."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trainers.params.detectors import DLossZeroParams, ExplodingGradientParams, NonFiniteParams
from trainers.stability import Constants, Series, Window
from trainers.stability.detectors.d_loss_zero import make as make_d_loss_zero
from trainers.stability.detectors.exploding_gradient import make as make_exploding_gradient
from trainers.stability.detectors.non_finite import make as make_non_finite
from trainers.stability.windows import edge, full

NAN, INF = float("nan"), float("inf")


def window(after=0, every=None, d_floor=0.0, **signals):
    """Return a window in which each signal is given from its first update on."""
    periods = dict.fromkeys(signals, 1) | (every or {})
    series = {
        name: Series(
            steps=np.arange(1, len(values) + 1, dtype=np.int64) * periods[name],
            values=np.array(values, dtype=np.float32),
        )
        for name, values in signals.items()
    }
    return Window(signals=series, after=after, every=periods, constants=Constants(d_floor=d_floor))


d_loss_zero = make_d_loss_zero(DLossZeroParams(window=10))
exploding = make_exploding_gradient(ExplodingGradientParams(window=10))
non_finite = make_non_finite(NonFiniteParams())


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 8), st.integers(0, 60), st.integers(1, 4))
def test_the_first_run_is_what_a_search_by_hand_finds(bad, length, after, period):
    """A run that goes on is told once, where it becomes long enough."""
    steps = np.arange(1, len(bad) + 1, dtype=np.int64) * period
    long = [i >= length - 1 and all(bad[i - length + 1 : i + 1]) for i in range(len(bad))]
    expected = next((i for i, now in enumerate(long) if now and not (i and long[i - 1]) and steps[i] > after), None)
    series = Series(steps=steps, values=np.zeros(len(bad), dtype=np.float32))
    assert edge(full(np.array(bad, dtype=np.bool_), length), series, after) == expected


def test_d_loss_zero_needs_the_whole_window():
    assert d_loss_zero(window(d_loss=[1e-5] * 9)) is None
    event = d_loss_zero(window(d_loss=[1e-5] * 10))
    assert (event.kind, event.step, event.action) == ("d_loss_zero", 10, "stop")
    assert d_loss_zero(window(d_loss=[0.5, 0.5, *[1e-5] * 10, 1e-5])).step == 12


def test_one_larger_loss_starts_the_window_anew():
    assert d_loss_zero(window(d_loss=[*[1e-5] * 9, 1.0, *[1e-5] * 9])) is None


def test_the_threshold_itself_is_not_below():
    at = make_d_loss_zero(DLossZeroParams(threshold=0.25, window=3))
    assert at(window(d_loss=[0.25] * 3)) is None
    assert at(window(d_loss=[0.125] * 3)) is not None


def test_what_was_reported_and_lasts_is_not_reported_again_but_what_comes_back_is():
    losses = [*[1e-5] * 10, *[1.0] * 10]
    assert d_loss_zero(window(d_loss=losses, after=10)) is None
    assert d_loss_zero(window(d_loss=[1e-5] * 20, after=10)) is None
    assert d_loss_zero(window(d_loss=[*losses, *[1e-5] * 10], after=10)).step == 30


def test_a_run_that_spans_two_segments_is_found_with_the_tail():
    tail, segment = [1.0, *[1e-5] * 6], [*[1e-5] * 4, 1.0]
    assert d_loss_zero(window(d_loss=tail)) is None
    assert d_loss_zero(window(d_loss=segment)) is None
    assert d_loss_zero(window(d_loss=tail + segment, after=len(tail))).step == 11


def test_the_recorded_collapse_of_a_dcgan_is_seen_and_its_aftermath_is_not():
    """D's loss of a DCGAN on CIFAR-10 lay between 2e-7 and 6e-6 for an epoch; an epoch later it was anything but."""
    default = make_d_loss_zero(DLossZeroParams())
    epoch = np.geomspace(2e-7, 6e-6, 782)
    event = default(window(d_loss=epoch))
    assert event.step == DLossZeroParams().window
    assert event.evidence["d_loss_max"] < 1e-3
    assert default(window(d_loss=[0.32, 0.006, 0.17, 0.22] * 200)) is None


def test_a_d_that_wins_while_g_stands_still_is_no_failure():
    wins = [1e-5] * 40
    moving = {"every": {"g_loss": 3}, "d_loss": wins}
    assert d_loss_zero(window(**moving, g_loss=[1.0] * 13)).step == 10
    assert d_loss_zero(window(**moving, g_loss=[])) is None
    warm = {"steps": [2, 30, 33, 36], "values": [1.0] * 4}  # a critic's warm-up, and then as usual
    seen = window(**moving, g_loss=[])
    series = Series(steps=np.array(warm["steps"]), values=np.array(warm["values"], dtype=np.float32))
    assert d_loss_zero(replace(seen, signals={**seen.signals, "g_loss": series})).step == 33


def test_the_window_holds_two_updates_of_a_generator_that_moves_seldom():
    seldom = window(d_loss=[1e-5] * 100, g_loss=[1.0] * 2, every={"g_loss": 50})
    assert d_loss_zero(seldom).step == 100


def test_a_critics_loss_near_zero_means_nothing():
    assert d_loss_zero(window(d_loss=[0.0] * 50, d_floor=None)) is None
    assert d_loss_zero(window(d_loss=[-100.0] * 50, d_floor=None)) is None


def test_the_loss_is_measured_from_the_objectives_floor():
    assert d_loss_zero(window(d_loss=[0.5] * 10, d_floor=0.5)) is not None
    assert d_loss_zero(window(d_loss=[0.0015] * 10, d_floor=0.0)) is None


def test_a_nan_loss_is_not_a_small_one():
    assert d_loss_zero(window(d_loss=[NAN] * 20)) is None


@pytest.mark.parametrize("name", ["grad_norm_d", "grad_norm_g"])
def test_exploding_needs_the_whole_window_above_the_threshold(name):
    assert exploding(window(**{name: [101.0] * 9})) is None
    assert exploding(window(**{name: [100.0] * 20})) is None
    assert exploding(window(**{name: [*[1e6] * 9, 99.0] * 5})) is None
    event = exploding(window(**{name: [101.0] * 10}))
    assert (event.kind, event.step, event.evidence["signal"]) == ("exploding_gradient", 10, name)


def test_of_two_exploding_players_the_first_is_told():
    both = window(grad_norm_d=[1.0, 1.0, *[200.0] * 10], grad_norm_g=[200.0] * 12)
    assert (exploding(both).step, exploding(both).evidence["signal"]) == (10, "grad_norm_g")


def test_infinite_norms_are_above_and_nan_ones_are_not():
    assert exploding(window(grad_norm_d=[INF] * 10)).severity == 1.0
    assert exploding(window(grad_norm_d=[NAN] * 20)) is None


def test_a_window_in_steps_holds_fewer_updates_of_a_generator_that_moves_seldom():
    detect = make_exploding_gradient(ExplodingGradientParams(window=50))
    assert detect(window(grad_norm_g=[200.0] * 9, every={"grad_norm_g": 5})) is None
    assert detect(window(grad_norm_g=[200.0] * 10, every={"grad_norm_g": 5})).step == 50
    narrow = make_exploding_gradient(ExplodingGradientParams(window=3))
    assert narrow(window(grad_norm_g=[1.0, 200.0], every={"grad_norm_g": 5})).step == 10


@pytest.mark.parametrize(("value", "text"), [(NAN, "nan"), (INF, "inf"), (-INF, "-inf")])
def test_one_number_that_is_not_finite_is_enough(value, text):
    event = non_finite(window(d_loss=[1.0, 1.0, value, 1.0], g_loss=[1.0] * 4))
    assert (event.kind, event.step, event.severity) == ("non_finite", 3, 1.0)
    assert event.evidence["signal"] == "d_loss"
    assert event.evidence["value"] == text


def test_finite_numbers_however_large_are_finite():
    assert non_finite(window(d_loss=[3e38, -3e38, 0.0])) is None


def test_the_earliest_signal_is_told_and_old_ones_are_not():
    signals = {"d_loss": [1.0, 1.0, NAN, 1.0], "g_loss": [1.0, NAN, 1.0, 1.0]}
    assert non_finite(window(**signals)).step == 2
    assert non_finite(window(**signals, after=2)).step == 3
    assert non_finite(window(**signals, after=3)) is None


def test_more_than_the_threshold_of_the_window_must_be_bad():
    two = make_non_finite(NonFiniteParams(threshold=2, window=5))
    assert two(window(d_loss=[NAN, 1.0, NAN, 1.0, 1.0, NAN])) is None
    assert two(window(d_loss=[NAN, 1.0, NAN, 1.0, NAN])).step == 5


@pytest.mark.parametrize("make", [make_d_loss_zero, make_exploding_gradient, make_non_finite])
def test_a_training_without_the_signals_has_no_event(make):
    params = {make_d_loss_zero: DLossZeroParams, make_exploding_gradient: ExplodingGradientParams}
    assert make(params.get(make, NonFiniteParams)())(window()) is None


@pytest.mark.parametrize("detect", [d_loss_zero, exploding])
def test_fewer_steps_than_the_window_are_no_error(detect):
    assert detect(window(d_loss=[0.0], grad_norm_d=[1e9])) is None


@pytest.mark.parametrize("action", ["stop", "warn"])
def test_an_event_does_what_was_asked(action):
    detect = make_d_loss_zero(DLossZeroParams(window=2, action=action))
    assert detect(window(d_loss=[0.0, 0.0])).action == action


value = st.floats(width=32) | st.floats(128, 2.0**100, width=32) | st.floats(-(2.0**-10), 2.0**-10, width=32)


@example([-INF], 1, 1)
@example([-3e38, -3e38], 2, 1)
@example([INF, INF], 2, 1)
@given(st.lists(value, min_size=1, max_size=30), st.integers(1, 4), st.integers(1, 3))
def test_every_event_has_a_severity_a_reason_and_evidence_that_json_can_hold(values, length, period):
    seen = window(d_loss=values, grad_norm_d=values, grad_norm_g=values, every={"grad_norm_g": period})
    detectors = [
        make_d_loss_zero(DLossZeroParams(window=length)),
        make_exploding_gradient(ExplodingGradientParams(window=length)),
        make_non_finite(NonFiniteParams(window=length)),
    ]
    for event in [event for detect in detectors if (event := detect(seen)) is not None]:
        assert 0 < event.severity <= 1
        assert str(event.step) in event.message
        assert {"threshold", "window"} <= set(event.evidence)
        text = event.model_dump_json()
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert type(event).model_validate_json(text) == event


def test_a_stronger_explosion_is_more_severe():
    severities = [exploding(window(grad_norm_d=[norm] * 10)).severity for norm in (101.0, 1e4, 1e6, 1e9)]
    assert severities == sorted(set(severities))
    assert math.isclose(severities[0], 0.5, abs_tol=0.01)
