"""Each detector speaks where all that it asks for is there, and is silent where one thing is missing."""

import numpy as np
import pytest

from trainers.config import TrainConfig
from trainers.registry import find, known
from trainers.stability import Constants, Series, Window

STEPS, NOISE = 2000, np.random.Generator(np.random.Philox(key=1)).standard_normal(2000)
CONSTANTS = {"d_floor": 0.0, "boundary": 0.0, "clip": 0.01, "target": 1.0, "untrained": 2.0, "perfect": 0.0}
T = np.arange(1, STEPS + 1)


def each(values, every=1):
    """A signal of the whole training, with a value each so many steps."""
    steps = np.arange(every, STEPS + 1, every)
    return steps, np.broadcast_to(np.asarray(values, dtype=np.float32), steps.shape)


def look(kind, signals, **constants):
    """Return what the detector of a kind, as it is by default, finds in a training that ends at step 2,000."""
    params = TrainConfig().stability[kind]
    series = {name: Series(steps=steps, values=values) for name, (steps, values) in signals.items()}
    every = {name: int(steps[1] - steps[0]) for name, (steps, _) in signals.items()}
    window = Window(signals=series, after=0, every=every, constants=Constants(**CONSTANTS | constants))
    return find("detector", kind).load_make()(params)(window) if params.applies(window.known) else None


CIRCLE = np.sin(2 * np.pi * T / 80)
FALLS = np.linspace(3, 1, 8)
SPIKES = np.where(T % 20 == 0, 9.0, 1 + 0.1 * NOISE)
JUMP = np.where(np.arange(50, STEPS + 1, 50) > 1000, 5.0, 1.0)

# What shows it, and below that what takes one thing away: signals or constants in place of those.
BAD = {
    "non_finite": {"d_loss": each(np.where(T > 900, np.nan, 1.0))},
    "d_loss_zero": {"d_loss": each(5e-4), "g_loss": each(9.0)},
    "exploding_gradient": {"grad_norm_d": each(101.0), "grad_norm_g": each(1.0)},
    "vanishing_generator_gradient": {"grad_norm_g": each(9e-5), "accuracy_d": each(0.96)},
    "d_loss_spiking": {"d_loss": each(SPIKES)},
    "generator_fooling": {
        "segment_g_loss": each(FALLS, 250), "segment_accuracy_d": each(0.4, 250), "energy": each(0.5, 250)
    },
    "oscillation": {"logit_real": each(CIRCLE), "logit_fake": each(0.0)},
    "stagnation": {"score": each(2.0, 250)},
    "clip_saturation": {"clip_share": each(0.91, 50)},
    "layer_gradient_blowup": {
        "grad_slope_d": each(1.1), **{f"grad_norm_d.{layer}": each(1.0) for layer in range(1, 6)}
    },
    "lipschitz_violation": {"interpolate_norm": each(3.1)},
    "critic_overfit": {"gap_train": each(1 + 0.1 * NOISE[:40], 50), "gap_held_out": each(0.4 + 0.1 * NOISE[40:80], 50)},
    "critic_drift": {"logit_real": each(-1001.0), "logit_fake": each(0.0)},
    "mode_collapse": {"diversity": each(0.29, 50)},
    "mode_dropping": {"dropped": each(0.26, 250)},
    "spectral_collapse": {"sigma_g.1": each(1.0, 50), "sigma_g.2": each(JUMP, 50)},
    "memorisation": {"memorisation": each(0.29, 250)},
}  # fmt: skip
SILENT = [
    ("non_finite", {"d_loss": each(1e30)}),
    ("d_loss_zero", {"d_loss": each(1.1e-3)}),
    ("d_loss_zero", {"d_loss": each(np.where(T % 199 == 0, 1.0, 0.0))}),
    ("d_loss_zero", {"d_floor": -1.0}),
    ("d_loss_zero", {"d_floor": None}),
    ("exploding_gradient", {"grad_norm_d": each(99.0)}),
    ("exploding_gradient", {"grad_norm_d": each(np.where(T % 50 == 0, 1.0, 500.0))}),
    ("vanishing_generator_gradient", {"grad_norm_g": each(1.1e-4)}),
    ("vanishing_generator_gradient", {"accuracy_d": each(0.94)}),
    ("d_loss_spiking", {"d_loss": each(np.where(T % 51 == 0, 9.0, 1 + 0.1 * NOISE))}),  # just below 2 %
    ("d_loss_spiking", {"d_loss": each(np.where(T % 20 == 0, 1.9, 1 + 0.1 * NOISE))}),  # not as much as that again
    ("d_loss_spiking", {"d_loss": each(1 + 0.3 * NOISE)}),
    ("generator_fooling", {"segment_g_loss": each(np.r_[FALLS[:4], 9.0, FALLS[5:]], 250)}),
    ("generator_fooling", {"segment_accuracy_d": each(0.51, 250)}),
    ("generator_fooling", {"energy": each(np.linspace(0.6, 0.3, 8), 250)}),
    ("oscillation", {"logit_fake": each(CIRCLE)}),
    ("oscillation", {"logit_real": each(NOISE)}),
    ("oscillation", {"logit_real": each(CIRCLE * 0.995**T)}),
    ("oscillation", {"logit_real": each(T / 100)}),
    ("oscillation", {"logit_real": each(1e-4 * CIRCLE)}),
    ("stagnation", {"score": each(1.95, 250)}),
    ("stagnation", {"score": each(np.linspace(4, 2.1, 8), 250)}),
    ("stagnation", {"untrained": 2.1}),
    ("stagnation", {"perfect": None}),
    ("clip_saturation", {"clip_share": each(0.89, 50)}),
    ("layer_gradient_blowup", {"grad_slope_d": each(0.99)}),
    ("layer_gradient_blowup", {"grad_slope_d": each(np.where(T % 2, 2.0, 0.0))}),
    ("lipschitz_violation", {"interpolate_norm": each(2.9)}),
    ("lipschitz_violation", {"target": 3.0}),
    ("lipschitz_violation", {"target": None}),
    ("critic_overfit", {"gap_held_out": each(0.6 + 0.1 * NOISE[40:80], 50)}),
    ("critic_overfit", {"gap_train": each(np.where(np.arange(40) % 2, 7.0, -5.0), 50)}),  # within three standard errors
    ("critic_overfit", {"gap_train": each(-1.0, 50)}),
    ("critic_drift", {"logit_real": each(-999.0)}),
    ("mode_collapse", {"diversity": each(0.31, 50)}),
    ("mode_collapse", {"diversity": each(np.linspace(0.05, 0.29, 40), 50)}),  # not spread out yet, but on its way
    ("mode_dropping", {"dropped": each(0.24, 250)}),
    ("spectral_collapse", {"sigma_g.2": each(np.where(JUMP > 1, 2.9, 1.0), 50)}),
    ("spectral_collapse", {"sigma_g.2": each(np.geomspace(1, 20, 40), 50)}),  # as far, but slowly
    ("memorisation", {"memorisation": each(0.31, 250)}),
]  # fmt: skip


def test_every_detector_is_here():
    kinds = {variant.name for variant in known("detector")}
    assert set(BAD) == kinds
    assert {kind for kind, _ in SILENT} == kinds


@pytest.mark.parametrize("kind", BAD)
def test_it_speaks_where_all_is_there(kind):
    event = look(kind, BAD[kind])
    assert event is not None
    assert event.kind == kind


@pytest.mark.parametrize(("kind", "taken"), SILENT, ids=lambda value: value if isinstance(value, str) else "")
def test_it_is_silent_where_one_thing_is_missing(kind, taken):
    signals = BAD[kind] | {name: value for name, value in taken.items() if isinstance(value, tuple)}
    constants = {name: value for name, value in taken.items() if name in CONSTANTS}
    assert look(kind, signals, **constants) is None


@pytest.mark.parametrize("kind", sorted(set(BAD) - {"non_finite", "spectral_collapse"}))
def test_it_is_silent_before_its_window_is_full(kind):
    """Of a signal that is bad from the first step on; one that is not finite is bad at once."""
    window = TrainConfig().stability[kind].window
    short = {name: (steps[steps < window], values[steps < window]) for name, (steps, values) in BAD[kind].items()}
    if all(len(steps) > 1 for steps, _ in short.values()):
        assert look(kind, short) is None
