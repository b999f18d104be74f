"""A training is a function of its configuration: segments, resuming and everything around it change no bit."""

import os
import random
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.trainings import DCGAN, DCGAN_WITHOUT_NORM, WGAN_GP, bits, column, digest, run, state_of, tiny
from trainers.errors import ConfigError, DataError
from trainers.history import SIGNALS
from trainers.loop import train
from trainers.state import load, save
from trainers.watch import EVALUATED

ROOT = Path(__file__).parents[2]
NETWORKS = {"mlp": {}, "dcgan": DCGAN, "dcgan-layer": DCGAN_WITHOUT_NORM}
OBJECTIVES = {"gan": {}, "wgan-clip": {"objective": "wasserstein", "clip": 0.05}, "wgan-gp": WGAN_GP}
SCHEDULES = {"1": {"n_critic": 1}, "5": {"n_critic": 5}, "simultaneous": {"updates": "simultaneous"}}
OPTIMIZERS = ("adam", "rmsprop")
KINDS = [
    kind for kind in product(NETWORKS, OBJECTIVES, SCHEDULES, OPTIMIZERS) if kind[:2] != ("dcgan", "wgan-gp")
]  # refused: batch normalisation in a penalised critic


def config_of(kind, **changes):
    network, objective, schedule, name = kind
    chosen = NETWORKS[network] | OBJECTIVES[objective] | SCHEDULES[schedule]
    return tiny(**chosen, optim={"name": name, "beta1": 0.5, "lr_d": 0.01, "lr_g": 0.01}, ema=0.9, **changes)


def trace(segments):
    """Return every signal of every step, and the last state without its evaluations: not where segments end."""
    rows = np.array([column(segments, name) for name in SIGNALS], dtype=np.float64)
    state = state_of(segments[-1])
    past = {name: rows for name, rows in state.past.items() if name not in EVALUATED}
    return rows.tobytes(), save(replace(state, past=past))


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_resumed_equals_never_stopped(kind):
    config = config_of(kind)
    straight = run(config)
    assert len({segment.checkpoint() for segment in straight}) == 3
    resumed = run(config, load(straight[0].checkpoint()))
    assert bits(resumed) == bits(straight[1:])


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(KINDS), st.integers(1, 11), st.integers(1, 13), st.integers(0, 2**63 - 1))
def test_resumed_at_any_step_in_any_segments_equals_never_stopped(kind, at, segment_steps, seed):
    config = config_of(kind, seed=seed)
    at = max(at, config.n_critic)  # before, G would not have moved, which is refused
    straight = run(config)
    stopped = run(config.model_copy(update={"steps": at, "segment_steps": segment_steps}))
    resumed = run(config.model_copy(update={"segment_steps": segment_steps}), state_of(stopped[-1]))
    assert resumed[0].start == at
    assert trace([*stopped, *resumed]) == trace(straight)


def test_a_finished_training_has_no_more_segments():
    config = tiny()
    assert run(config, state_of(run(config)[-1])) == []


def test_segments_end_at_multiples_and_the_last_may_be_shorter():
    segments = run(tiny(n_critic=5))
    assert [(s.index, s.start, s.stop) for s in segments] == [(1, 0, 5), (2, 5, 10), (3, 10, 12)]
    assert column(segments, "step") == list(range(1, 13))
    assert not any(segment.stopped or segment.events for segment in segments)


def test_a_budget_below_a_segment_is_one_short_segment():
    assert [(s.start, s.stop, s.history.num_rows) for s in run(tiny(steps=2))] == [(0, 2, 2)]


def test_where_segments_end_changes_no_step():
    assert len({trace(run(tiny(segment_steps=size))) for size in (1, 3, 5, 12, 100)}) == 1


@pytest.mark.parametrize("variant", [{}, DCGAN], ids=["mlp", "dcgan"])
def test_evaluation_changes_no_step(variant):
    changes = [{"evaluation": {"samples": n, "grid": 1}} for n in (2, 50)] + [{"checkpoint_every": 3}]
    assert len({trace(run(tiny(**variant, **change))) for change in changes}) == 1


def poison(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def globals_now():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("variant", [WGAN_GP, DCGAN, DCGAN_WITHOUT_NORM | WGAN_GP], ids=["mlp", "dcgan", "dcgan-gp"])
def test_global_generators_change_nothing_and_are_left_alone(variant):
    def poisoned(seed):
        poison(seed)
        before, segments = globals_now(), []
        for segment in train(tiny(**variant)):
            assert globals_now() == before
            segments.append(segment)
            seed += 1
            poison(seed)
            before = globals_now()
        return bits(segments)

    assert poisoned(1) == poisoned(100)


def test_seeds_decide_and_all_of_their_bits_count():
    seeds = [0, 1, 2**32, 2**62]
    assert len({trace(run(tiny(seed=seed))) for seed in seeds}) == len(seeds)


def test_a_second_trial_in_a_process_equals_one_in_a_fresh_process():
    config = tiny(**DCGAN, seed=9)
    run(tiny(**WGAN_GP, seed=3))
    run(tiny(deterministic=False, seed=4))
    code = "import sys; from tests.fakes.trainings import digest, tiny, TrainConfig as C;"
    code += "print(digest(C.model_validate_json(sys.argv[1])))"
    fresh = subprocess.run(
        [sys.executable, "-c", code, config.model_dump_json()],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert fresh.stdout.strip() == digest(config)


def test_what_was_not_measured_is_null():
    segments = run(tiny(n_critic=5, clip=0.1, slow_every=4))
    for name in ("g_loss", "grad_norm_g"):
        values = column(segments, name)
        assert [step for step, value in enumerate(values, 1) if value is not None] == [5, 10]
    for name in ("d_loss", "logit_real", "logit_fake", "grad_norm_d"):
        assert None not in column(segments, name)
    for name in ("clip_share", "gap_held_out", "diversity", "sigma_g.1", "update_ratio_d"):
        assert [step for step, value in enumerate(column(segments, name), 1) if value is not None] == [4, 8, 12]
    assert column(segments, "update_ratio_g") == [None] * 12  # G does not move at a step at which it is looked at
    for name in ("dropped", "memorisation", "energy"):
        assert [step for step, value in enumerate(column(segments, name), 1) if value is not None] == [5, 10, 12]
    for name in ("penalty", "interpolate_norm"):
        assert column(segments, name) == [None] * 12


def test_a_critics_loss_is_the_difference_of_its_logits():
    segments = run(tiny(**WGAN_GP))
    loss, real, fake = (np.array(column(segments, name)) for name in ("d_loss", "logit_real", "logit_fake"))
    np.testing.assert_allclose(loss, fake - real, atol=1e-6)


def test_a_segment_tells_its_environment_and_its_seconds():
    segment = run(tiny())[0]
    assert (segment.environment.device, segment.environment.threads) == ("cpu", 1)
    assert segment.environment.torch == torch.__version__
    assert segment.seconds > 0


def test_samples_to_look_at_are_points_or_a_grid_of_images():
    points = run(tiny(steps=1))[0].samples
    images = run(tiny(**DCGAN, steps=1))[0].samples
    assert (points.shape, points.dtype) == ((8, 2), np.float32)
    assert (images.shape, images.dtype) == ((4, 1, 16, 16), np.uint8)


def test_a_training_in_which_g_would_never_move_is_refused():
    for late in (
        {"n_critic": 13},
        {"warmup": {"updates": 1, "n_critic": 13}},
        {"objective": {"name": "ebgan", "pretrain": 12}},
    ):
        with pytest.raises(ConfigError, match="steps must be at least 13, where G first moves, but got steps=12"):
            run(tiny(**late))
        assert run(tiny(**late, steps=13))[-1].stop == 13


def test_what_an_objective_or_data_set_must_be_is_told():
    with pytest.raises(ConfigError, match="NO_OBJECTIVE must make an Objective or OwnGame, but made None"):
        run(tiny(objective="tests.fakes.odd_variants:NO_OBJECTIVE"))
    with pytest.raises(DataError, match="NO_DATA must make a Dataset, but made None"):
        run(tiny(data="tests.fakes.odd_variants:NO_DATA"))


def test_a_network_that_draws_from_torchs_global_generator_is_refused():
    with pytest.raises(ConfigError, match="draws from torch's global generator, so that no training could be repeated"):
        run(tiny(network="tests.fakes.odd_variants:DROPOUT"))
