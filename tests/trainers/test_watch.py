"""What is seen of a training depends on nothing but the training: not on segments, nor on who else looks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.provoked import provoked
from tests.fakes.trainings import game_of, run, state_of, tiny
from tests.trainers.stability.test_dirac import CIRCLE
from tests.trainers.stability.test_dirac import config as dirac
from trainers.config import TrainConfig
from trainers.errors import ConfigError
from trainers.loop import train
from trainers.params.detectors import Action, DetectorParams
from trainers.registry import Variant
from trainers.stability import Constants
from trainers.stability.events import Event
from trainers.stability.windows import event
from trainers.state import MisfitError
from trainers.watch import MOST, Watch

OURS = __name__


def told(config: TrainConfig, *kinds: str) -> list[tuple[str, int]]:
    events = [event for segment in run(config) for event in segment.events]
    return [(event.kind, event.step) for event in events if event.kind in kinds]


def changed(config: TrainConfig, **changes) -> TrainConfig:
    return TrainConfig.model_validate(config.model_dump(mode="json") | changes)


def alone(config: TrainConfig, kind: str) -> dict[str, dict]:
    looks = {True: "warn", False: "off"}
    return {name: dict(params) | {"action": looks[name == kind]} for name, params in config.stability.items()}


SEEN = {
    "oscillation": dirac(*CIRCLE[1]),
    "d_loss_spiking": provoked("fakes that are training images now and then"),
    "exploding_gradient": provoked("learning rate x 1000, critic"),
    "layer_gradient_blowup": provoked("clip 1e-4 on 12 layers, gradients"),
    "clip_saturation": provoked("clip 1e-4 on 12 layers, weights"),
    "d_loss_zero": provoked("a D that has won before G moves"),
}


SLOW = {"layer_gradient_blowup", "clip_saturation", "d_loss_spiking"}


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow) if k in SLOW else k for k in SEEN])
def test_events_do_not_depend_on_where_segments_end_nor_on_which_other_detectors_look(kind):
    config = SEEN[kind]
    expected = told(changed(config, segment_steps=config.steps), kind)
    assert expected
    for size in (127, 250):
        assert told(changed(config, segment_steps=size), kind) == expected
    assert told(changed(config, segment_steps=127, stability=alone(config, kind)), kind) == expected


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 9), st.sampled_from([1, 2, 3]), st.booleans())
def test_events_of_a_sparse_penalty_do_not_depend_on_where_segments_end(size, n_critic, warm):
    """A window of two steps, and values further apart than that."""
    changes = {
        "objective": "wasserstein",
        "n_critic": n_critic,
        "penalty": {"name": "gradient", "lambda": 0.0, "every": 4},
        "stability": {
            "lipschitz_violation": {"threshold": 0.01, "window": 2, "action": "warn"},
            "exploding_gradient": {"threshold": 1e-3, "window": 3, "action": "warn"},
        },
        "warmup": {"updates": 1, "n_critic": 5} if warm else {},
        "steps": 30,
    }
    kinds = "lipschitz_violation", "exploding_gradient"
    expected = told(tiny(**changes, segment_steps=30), *kinds)
    assert {kind for kind, _ in expected} == set(kinds)
    assert told(tiny(**changes, segment_steps=max(size, n_critic, 6 if warm else 1)), *kinds) == expected


def test_both_players_explosions_are_told_in_one_segment():
    """D's is told at the first update, and G's, which is seen at each third step alone, later."""
    config = tiny(n_critic=3, segment_steps=12, stability={"exploding_gradient": {"threshold": 1e-9, "window": 1}})
    events = [event for segment in run(config) for event in segment.events if event.kind == "exploding_gradient"]
    assert {event.evidence["signal"] for event in events} == {"grad_norm_d", "grad_norm_g"}


def test_a_warm_up_does_not_make_the_past_long():
    config = tiny(warmup={"updates": 1, "n_critic": 200}, steps=400, segment_steps=400)
    past = state_of(run(config)[-1]).past
    assert max(map(len, past.values())) < 1000


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "past",
    [
        {"no_such_signal": np.ones((1, 2))},
        {"d_loss": np.ones((1, 3))},
        {"d_loss": np.ones(2)},
        {"d_loss": np.array([[2.0, 1.0], [1.0, 1.0]])},
        {"d_loss": np.array([[4.0, 1.0]])},
        {"d_loss": np.stack((np.linspace(0.001, 3, 20_000), np.ones(20_000)), axis=1)},
    ],
    ids=["name", "width", "shape", "order", "step", "length"],
)
def test_a_past_that_does_not_fit_is_refused_before_anything_is_trained(past):
    config = tiny()
    watch = Watch(config, game_of(config), Constants(), game_of(config).players[0].weights[0].device)
    with pytest.raises(MisfitError, match="checkpoint of step 3 does not fit"):
        watch.go_on(past, 3)


class OddParams(DetectorParams):
    """Parameters that loosen those of every detector."""

    window: int = 1
    action: str = "warn"


def _odd(name, returned):
    def make(params):
        return lambda window: returned(params, window)

    return Variant(kind="detector", name=f"{OURS}:{name}", summary="odd", params=OddParams, make=make)


def _event(**changes):
    def returned(params, window):
        base = {"kind": params.name, "step": window.after + 1, "severity": 0.5, "action": params.action}
        return Event(**base | {key: value(window) if callable(value) else value for key, value in changes.items()})

    return returned


TEXT = _odd("TEXT", lambda *_: "yes")
LATE = _odd("LATE", _event(step=lambda window: window.after + 10_000))
PAST = _odd("PAST", _event(step=lambda window: window.after))
FOREIGN = _odd("FOREIGN", _event(kind="d_loss_zero"))
STOPS = _odd("STOPS", _event(action="stop"))
SEVERE = _odd("SEVERE", _event(severity=2.0))
KIND = _odd("KIND", _event(kind="a/b c\n<b>"))
NOTHING = Variant(kind="detector", name=f"{OURS}:NOTHING", summary="odd", params=OddParams, make=lambda _: 42)
ALWAYS = _odd("ALWAYS", lambda params, window: event(params, window.after + 1, "again") if window.after < 12 else None)


@pytest.mark.parametrize("name", ["TEXT", "LATE", "PAST", "FOREIGN", "STOPS", "SEVERE", "KIND", "NOTHING"])
def test_what_a_detector_of_a_users_own_must_not_do_is_an_error_that_names_it(name):
    with pytest.raises(ConfigError, match=f"^detector {OURS}:{name} (must|made)"):
        list(train(tiny(stability={f"{OURS}:{name}": {}})))


def test_what_happens_all_the_time_is_told_some_times_a_segment():
    (first, *_) = run(tiny(segment_steps=12, stability={f"{OURS}:ALWAYS": {}}))
    assert [event.step for event in first.events if event.kind.endswith("ALWAYS")] == list(range(1, MOST + 1))


@pytest.mark.parametrize(("key", "value"), [("action", "STOP"), ("action", "of"), ("window", 0), ("window", 10_001)])
def test_a_detector_of_a_users_own_cannot_loosen_what_holds_for_all(key, value):
    with pytest.raises(ValueError, match=f"{key} must be"):
        tiny(stability={f"{OURS}:ALWAYS": {key: value}})


def test_a_detectors_name_is_its_key():
    with pytest.raises(ValueError, match=r"stability\.oscillation\.name must be oscillation, but got mode_collapse"):
        tiny(stability={"oscillation": {"name": "mode_collapse"}})


def test_samples_that_are_not_finite_end_a_training_whoever_looks():
    """mixture_kl of them is finite: as bad as that of any generator which has found no mode."""
    changes = {"optim": {"name": "sgd", "beta1": 0, "lr_d": 10, "lr_g": 10}, "objective": "least_squares"}
    off = {name: {"action": "off"} for name in TrainConfig().stability}
    (segment,) = run(tiny(**changes, metrics=["mixture_kl"], stability=off, steps=60, segment_steps=60))
    (event,) = segment.events
    assert (event.kind, event.action, event.message) == ("non_finite", "stop", "the samples of step 60 are not finite")
    assert segment.scores == {}
    assert not any(math.isfinite(value) for value in segment.samples.ravel())


def test_action_is_one_of_three():
    assert Action.__args__ == ("stop", "warn", "off")
