"""What is measured on the device, against values that are known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.fakes.trainings import DCGAN, WGAN_GP, bits, game_of, run, tiny
from trainers.stability.measures import (
    Said,
    beyond,
    clip_share,
    mean_distance,
    singular_values,
    top_singular_value,
    update_ratio,
)


def test_mean_and_variance_of_what_d_says_and_how_much_is_right():
    real, fake = torch.tensor([[1.0], [3.0], [-1.0]]), torch.tensor([[0.0], [-2.0], [5.0]])
    both = torch.cat((real, fake)).view(1, 2, 3)

    def told(boundary: float | None) -> dict[str, float]:
        said = Said(boundary=boundary)
        return dict(zip(said.signals, said.reduce(both)[0].tolist(), strict=True))

    assert told(0.0) == pytest.approx(
        {"logit_real": 1.0, "logit_real_var": 8 / 3, "logit_fake": 1.0, "logit_fake_var": 26 / 3, "accuracy_d": 4 / 6}
    )
    assert told(2.0)["accuracy_d"] == pytest.approx(3 / 6)
    assert "accuracy_d" not in told(None)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (64, 64), (128, 16), (1, 4)])
def test_the_power_method_finds_the_largest_singular_value_nearly(shape):
    drawn = np.random.Generator(np.random.Philox(key=3)).standard_normal((20, *shape))
    for matrix in torch.from_numpy(drawn):
        exact = torch.linalg.svdvals(matrix)[0].item()
        assert 0.8 * exact <= top_singular_value(matrix).item() <= exact * (1 + 1e-9)


def test_the_largest_singular_value_is_exact_where_it_stands_out():
    orthogonal, _ = torch.linalg.qr(torch.from_numpy(np.random.Generator(np.random.Philox(key=4)).normal(size=(9, 9))))
    stretched = orthogonal @ torch.diag(torch.tensor([7.0, *[1.0] * 8], dtype=torch.float64)) @ orthogonal.T
    assert top_singular_value(stretched).item() == pytest.approx(7.0, rel=1e-6)
    assert top_singular_value(torch.zeros(3, 4)).item() == 0


def test_each_layer_of_a_network_has_one_seen_as_outputs_by_the_rest():
    network = nn.Sequential(nn.Linear(3, 5), nn.ConvTranspose2d(4, 2, 3), nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6))
    found = [value.item() for value in singular_values(network)]
    weights = [network[0].weight, network[1].weight.transpose(0, 1).flatten(1), network[2].weight.flatten(1)]
    exact = [torch.linalg.svdvals(weight)[0].item() for weight in weights]
    assert all(0.8 * b <= a <= b * (1 + 1e-5) for a, b in zip(found, exact, strict=True))


def test_the_update_ratio_is_that_of_all_weights_together():
    before, after = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])], [torch.tensor([3.0, 1.0]), torch.tensor([[4.0]])]
    assert update_ratio(before, after).item() == pytest.approx(1 / 5)
    assert update_ratio([torch.zeros(2)], [torch.zeros(2)]).item() == 0


def test_the_clip_share_counts_the_weights_at_the_clip():
    weights = [torch.tensor([-0.01, 0.01, 0.0, 0.009]), torch.tensor([[0.005], [0.01]])]
    assert clip_share(weights, 0.01).item() == pytest.approx(3 / 6)


def test_the_mean_distance_is_that_of_different_samples():
    corners = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    assert mean_distance(corners).item() == pytest.approx((3 + 4 + 5) / 3)
    assert mean_distance(corners[:1]).item() == 0


def test_real_samples_beyond_the_fakes_are_those_that_d_prefers():
    fake = torch.arange(100.0)[:, None]
    real = torch.tensor([[94.0], [95.0], [96.0], [200.0]])
    assert beyond(real, fake, 1.0).item() == pytest.approx(2 / 4)
    assert beyond(-real, -fake, -1.0).item() == pytest.approx(2 / 4)


@pytest.mark.parametrize(
    "changes",
    [{}, DCGAN, WGAN_GP, {"pack": 2}, {"network": {"name": "mlp", "width": 6, "norm_d": "spectral"}}],
    ids=["mlp", "dcgan", "wgan-gp", "packed", "spectral"],
)
def test_measuring_changes_no_bit_of_the_training(changes):
    """Nor do detectors: weights are the same with the slow signals at each second step, and with none of them."""
    often, never = (run(tiny(**changes, slow_every=every)) for every in (2, 1000))
    assert [segment.generator() for segment in often] == [segment.generator() for segment in never]
    off = {name: {"action": "off"} for name in tiny().stability}
    assert [segment.generator() for segment in run(tiny(**changes, stability=off))] == [s.generator() for s in never]
    assert bits(often) != bits(never)


def test_the_probe_tells_data_from_fakes_and_the_held_out_part_from_the_other():
    probe = game_of(tiny()).probe
    assert probe is not None
    assert probe.signals == ("gap_train", "gap_held_out", "real_beyond", "diversity")
    assert game_of(tiny(objective="wasserstein", clip=0.1)).probe.signals[-1] == "clip_share"


def test_gaps_are_those_of_d_itself():
    """A critic x -> 2 x on points in a line: the gap is twice the distance of the means."""
    from trainers.stability.measures import adversarial_probe

    critic = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        critic.weight.fill_(2.0)
    drawn = {"fake": torch.tensor([[0.0], [2.0]])}
    for says, sign in (("logit", 1), ("energy", -1)):
        probe = adversarial_probe(critic, packed=(1,), says=says, clip=2.0, drawn=drawn, late=0)
        told = probe.measure({"real": torch.tensor([[3.0], [5.0]])}, torch.tensor([[2.0], [4.0]]), 1)
        assert told["gap_train"].item() == pytest.approx(sign * 2 * (4 - 1))
        assert told["gap_held_out"].item() == pytest.approx(sign * 2 * (3 - 1))
        assert told["diversity"].item() == pytest.approx(1.0)
        assert told["clip_share"].item() == 1.0


def test_data_that_are_one_point_are_as_diverse_as_fakes_that_are():
    from trainers.stability.measures import adversarial_probe

    probe = adversarial_probe(
        nn.Linear(1, 1), packed=(1,), says="logit", clip=None, drawn={"fake": torch.ones(4, 1)}, late=0
    )
    assert math.isclose(probe.measure({"real": torch.zeros(4, 1)}, torch.zeros(4, 1), 1)["diversity"].item(), 1.0)
