"""States: a round trip to the bit, and no way in for anything else."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_safetensors

from tests.fakes.trainings import DCGAN, bits, run, state_of, tiny
from trainers.errors import IntegrityError
from trainers.loop import train
from trainers.state import MisfitError, TrainState, load, save

CONFIG = tiny(steps=2, segment_steps=2)


@pytest.fixture(scope="module")
def state():
    return state_of(run(CONFIG)[-1])


def test_a_round_trip_keeps_every_bit(state):
    again = load(save(state))
    assert again.step == state.step == 2
    assert sorted(again.tensors) == sorted(state.tensors)
    for name, tensor in state.tensors.items():
        assert again.tensors[name].dtype == tensor.dtype
        assert torch.equal(again.tensors[name], tensor)
    assert sorted(again.past) == sorted(state.past)
    assert {"d_loss", "g_loss", "score", "grad_norm_d.1"} <= set(state.past)
    for name, rows in state.past.items():
        assert again.past[name].dtype == rows.dtype
        np.testing.assert_array_equal(again.past[name], rows)


def test_a_state_holds_every_network_the_average_and_every_optimizer(state):
    parts = {"/".join(name.split("/")[: 2 if name.startswith("optimizer") else 1]) for name in state.tensors}
    assert parts == {"generator", "discriminator", "average", "optimizer/generator", "optimizer/discriminator"}


def test_numbers_that_are_not_finite_survive():
    tensors = {"generator/w": torch.tensor([float("nan"), float("inf"), -0.0])}
    again = load(save(TrainState(step=3, tensors=tensors, past={"d_loss": np.zeros((0, 2))})))
    assert again.tensors["generator/w"].numpy().tobytes() == tensors["generator/w"].numpy().tobytes()
    assert again.past["d_loss"].shape == (0, 2)


def test_equal_states_give_equal_bytes(state):
    backwards = dict(reversed(state.tensors.items()))
    copied = {name: tensor.clone() for name, tensor in backwards.items()}
    # 40 times: an order that is drawn anew in each call would show up.
    assert len({save(replace(state, tensors=tensors)) for _ in range(20) for tensors in (state.tensors, copied)}) == 1


def test_different_states_give_different_bytes(state):
    past = {name: rows + 1 for name, rows in state.past.items()}
    assert len({save(state), save(replace(state, step=3)), save(replace(state, past=past))}) == 3


def test_the_state_is_a_copy():
    segments = train(tiny(steps=4, segment_steps=2))
    first = next(segments)
    before = first.checkpoint(), first.generator()
    next(segments)
    assert (first.checkpoint(), first.generator()) == before


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.999])
def test_truncated_bytes_are_refused(state, share):
    data = save(state)
    with pytest.raises(IntegrityError, match="not a checkpoint"):
        load(data[: int(share * len(data))])


class Trap:
    """An object whose unpickling would be noticed."""

    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


def test_a_pickle_is_refused_and_not_run(tmp_path):
    torch.save({"step": Trap()}, tmp_path / "state.pt")
    for data in (pickle.dumps(Trap()), (tmp_path / "state.pt").read_bytes()):
        with pytest.raises(IntegrityError, match="not a checkpoint"):
            load(data)
    assert not Trap.sprung


ROWS = torch.zeros(0, 9)
HEADER = {"checkpoint": json.dumps({"format": 2, "step": 1})}


@pytest.mark.parametrize(
    ("tensors", "header"),
    [
        ({"past/rows": ROWS}, None),
        ({"past/rows": ROWS}, {"checkpoint": "{"}),
        ({"past/rows": ROWS}, {"checkpoint": "[1]"}),
        ({"past/rows": ROWS}, {"checkpoint": json.dumps({"format": 2})}),
        ({"past/rows": torch.zeros(3)}, HEADER),
        ({"past/rows": ROWS.to(torch.int64)}, HEADER),
        ({"past/rows": ROWS.to(torch.bfloat16)}, HEADER),
    ],
)
def test_foreign_safetensors_are_refused(tensors, header):
    with pytest.raises(IntegrityError, match="not a checkpoint"):
        load(to_safetensors(tensors, metadata=header))


def test_another_format_version_is_named():
    header = {"checkpoint": json.dumps({"format": 1, "step": 1})}
    with pytest.raises(IntegrityError, match="format 1, but this version reads format 2"):
        load(to_safetensors({"past/rows": ROWS}, metadata=header))


@pytest.mark.parametrize(
    "other",
    [
        {"network": {"name": "mlp", "width": 7, "depth": 1}},
        {"network": {"name": "mlp", "width": 6, "depth": 2}},
        {"latent": {"size": 4}},
        {"optim": {"name": "rmsprop"}},
        DCGAN,
    ],
)
def test_a_state_of_another_configuration_is_refused(state, other):
    with pytest.raises(MisfitError, match="checkpoint of step 2 does not fit this configuration"):
        next(train(tiny(**other), state))


@pytest.mark.parametrize("gone", ["generator/", "discriminator/", "average/", "optimizer/", "optimizer/generator/0/"])
def test_a_state_with_a_part_missing_is_refused(state, gone):
    kept = {name: tensor for name, tensor in state.tensors.items() if not name.startswith(gone)}
    with pytest.raises(MisfitError, match="does not fit"):
        next(train(tiny(), replace(state, tensors=kept)))


def test_a_state_from_before_gs_first_update_fits():
    config = tiny(n_critic=5, segment_steps=3)
    segments = run(config)
    assert not any(name.startswith("optimizer/generator") for name in state_of(segments[0]).tensors)
    assert bits(run(config, state_of(segments[0]))) == bits(segments[1:])
