"""Trainings that fail: each is told of what, and stops within the segment that shows it."""

import numpy as np
import pytest

from tests.fakes.trainings import DCGAN, WGAN_GP, bits, column, run, state_of, tiny
from trainers.errors import ConfigError
from trainers.loop import train

WIDE = {"network": {"name": "mlp", "width": 32, "depth": 2}, "batch_size": 16, "data": "digits"}
D_WINS = WIDE | {"optim": {"lr_d": 0.01, "lr_g": 1e-6}, "steps": 500, "segment_steps": 100}
D_WINS |= {"stability": {"d_loss_zero": {"window": 50}}}
EXPLODES = WIDE | {"objective": "wasserstein", "optim": {"lr_d": 0.1}, "steps": 500, "segment_steps": 100}
EXPLODES |= {"stability": {"exploding_gradient": {"action": "stop"}}}
NOT_A_NUMBER = {
    "network": {"name": "mlp", "width": 16, "depth": 12},
    "optim": {"lr_d": 10, "lr_g": 10},
    "steps": 40,
    "segment_steps": 20,
}
BATCH_NORM_AND_PENALTY = DCGAN | WGAN_GP
SMALL_WINDOW = {"d_loss_zero": {"threshold": 100.0, "window": 8}}


def first_run_by_hand(bad, length):
    """Return the first step that ends `length` bad ones in a row."""
    return next(step for step in range(length, len(bad) + 1) if all(bad[step - length : step]))


def stopping(segments):
    assert [segment.stopped for segment in segments] == [*[False] * (len(segments) - 1), True]
    assert not any(segment.events for segment in segments[:-1])
    event = segments[-1].events[0]
    assert segments[-1].start < event.step <= segments[-1].stop
    return event


def test_a_discriminator_that_wins_stops_the_training():
    segments = run(tiny(**D_WINS))
    event = stopping(segments)
    assert event.kind == "d_loss_zero"
    assert event.step == first_run_by_hand([loss < 1e-3 for loss in column(segments, "d_loss")], 50)
    assert segments[-1].stop < 500


def test_exploding_gradients_stop_the_training():
    segments = run(tiny(**EXPLODES))
    event = stopping(segments)
    assert event.kind == "exploding_gradient"
    norms = column(segments, event.evidence["signal"])
    assert event.step == first_run_by_hand([norm > 100 for norm in norms], 50)
    assert len(segments) == 1


def test_the_same_trainings_with_sound_settings_go_on():
    healthy = tiny(**WIDE | WGAN_GP, steps=100, segment_steps=100)
    assert [(segment.stopped, segment.events) for segment in run(healthy)] == [(False, ())]


def test_numbers_that_are_not_finite_stop_the_training():
    segments = run(tiny(**NOT_A_NUMBER))
    event = stopping(segments)
    assert event.kind == "non_finite"
    signal = column(segments, event.evidence["signal"])
    assert np.isfinite(np.array(signal[: event.step - 1])).all()
    assert not np.isfinite(signal[event.step - 1])
    assert len(segments) == 1
    assert segments[0].samples.shape == (8, 2)


def test_a_score_that_is_not_finite_is_an_event_and_no_score():
    segments = run(tiny(metrics=["tests.fakes.trainings:UNSCORABLE"]))
    event = stopping(segments)
    assert (event.kind, event.step, event.severity) == ("non_finite", 5, 1.0)
    assert event.evidence == {"unscorable": "nan"}
    assert "step 5" in event.message
    assert segments[0].scores == {}
    assert len(segments) == 1


def test_what_is_known_not_to_work_is_refused_before_the_first_step():
    with pytest.raises(ConfigError, match=r"set network\.norm_d to layer or none, or static_checks to warn"):
        next(train(tiny(**BATCH_NORM_AND_PENALTY)))


def test_a_warning_lets_it_train_and_is_told_once():
    segments = run(tiny(**BATCH_NORM_AND_PENALTY, static_checks="warn"))
    assert [segment.stop for segment in segments] == [5, 10, 12]
    assert [[event.kind for event in s.events] for s in segments] == [
        ["refused_batch_norm_in_penalised_critic"],
        [],
        [],
    ]
    assert (segments[0].events[0].step, segments[0].events[0].action) == (0, "warn")


def test_a_window_that_spans_two_segments_is_seen_also_after_resuming():
    config = tiny(stability=SMALL_WINDOW)
    straight = run(config)
    assert [[event.step for event in segment.events] for segment in straight] == [[], [8]]
    assert bits(run(config, state_of(straight[0]))) == bits(straight[1:])


@pytest.mark.parametrize("size", [1, 3, 12])
def test_the_event_does_not_depend_on_where_segments_end(size):
    event = stopping(run(tiny(stability=SMALL_WINDOW, segment_steps=size)))
    assert (event.kind, event.step) == ("d_loss_zero", 8)


def test_a_detector_may_warn_or_be_off():
    warned = run(tiny(stability={"d_loss_zero": SMALL_WINDOW["d_loss_zero"] | {"action": "warn"}}))
    assert [[(e.step, e.action) for e in s.events] for s in warned] == [[], [(8, "warn")], []]
    assert not any(segment.stopped for segment in warned)
    off = run(tiny(stability={"d_loss_zero": SMALL_WINDOW["d_loss_zero"] | {"action": "off"}}))
    assert [segment.events for segment in off] == [(), (), ()]


def test_stopped_trainings_still_give_their_weights():
    segment = run(tiny(**NOT_A_NUMBER))[-1]
    assert state_of(segment).step == segment.stop
    assert len(segment.generator()) > 0
