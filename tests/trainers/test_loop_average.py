"""The averaged generator: the formula on parameters, a copy of buffers, what samples and scores come from."""

import copy

import numpy as np
import pytest
import torch

from tests.fakes.trainings import DCGAN, run, state_of, tiny
from trainers import data
from trainers.gan import build
from trainers.generate import load_generator
from trainers.registry import find


def states(config):
    """Return the tensors at step 0, 1, 2 ... of a training whose segments are single steps."""
    dataset = data.load(config.data)
    objective = find("objective", config.objective.name).load_make()(config.objective)
    network = build(objective, config, dataset.shape, len(dataset.train), torch.device("cpu")).networks["generator"]
    start = {
        f"{part}/{k}": v for part in ("generator", "average") for k, v in copy.deepcopy(network.state_dict()).items()
    }
    return network, [start, *(state_of(segment).tensors for segment in run(config))]


@pytest.mark.parametrize("ema", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("variant", [{}, DCGAN], ids=["mlp", "dcgan"])
def test_parameters_are_averaged_at_each_generator_update_and_buffers_copied(ema, variant):
    config = tiny(**variant, ema=ema, n_critic=2, steps=6, segment_steps=1, optim={"lr_g": 0.01})
    network, at = states(config)
    parameters = [name for name, _ in network.named_parameters()]
    for step in range(1, 7):
        before, after = at[step - 1], at[step]
        for name in parameters:
            old, new = before[f"average/{name}"], after[f"generator/{name}"]
            expected = ema * old + (1 - ema) * new if step % 2 == 0 else old
            torch.testing.assert_close(after[f"average/{name}"], expected, rtol=1e-6, atol=1e-7)
        if step % 2 == 0:
            for name, _ in network.named_buffers():
                assert torch.equal(after[f"average/{name}"], after[f"generator/{name}"])
    assert not torch.equal(at[0][f"average/{parameters[0]}"], at[6][f"average/{parameters[0]}"])


def test_without_an_average_it_is_the_generator_itself():
    tensors = state_of(run(tiny(ema=0, optim={"lr_g": 0.01}))[-1]).tensors
    for name in [name for name in tensors if name.startswith("generator/")]:
        assert torch.equal(tensors[name], tensors[name.replace("generator/", "average/")])


def test_samples_and_scores_come_from_the_average():
    config = tiny(ema=0.999, optim={"lr_g": 0.5}, evaluation={"samples": 64, "grid": 4})
    first, *_, last = run(config)
    weights = state_of(last).tensors
    far = weights["generator/0.weight"] - weights["average/0.weight"]
    assert far.abs().max() > 1
    assert np.abs(first.samples - last.samples).max() < 1, "the average has hardly moved, and the latents not at all"
    assert last.scores == {"spread": float(last.samples.std(dtype=np.float64))}


@pytest.mark.parametrize("variant", [{}, DCGAN], ids=["mlp", "dcgan"])
def test_the_generators_weights_are_the_average(variant):
    config = tiny(**variant)
    last = run(config)[-1]
    tensors = state_of(last).tensors
    loaded = load_generator(config, data.load(config.data).shape, last.generator()).state_dict()
    assert set(loaded) == {name.removeprefix("average/") for name in tensors if name.startswith("average/")}
    assert all(torch.equal(value, tensors[f"average/{name}"]) for name, value in loaded.items())
