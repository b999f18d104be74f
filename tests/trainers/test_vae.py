"""The variational auto-encoder: its bound, its one player, and what it refuses."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from tests.fakes.trainings import DCGAN, bits, column, run, state_of, tiny
from trainers.errors import ConfigError
from trainers.params.objectives import VaeParams
from trainers.vae import build, gaussian_nll, kl_to_prior


def config_of(params=None, **changes):
    return tiny(objective={"name": "vae", **(params or {})}, **changes)


def game_of(config):
    return build(config.objective, config, (2,), 100, torch.device("cpu"))


def test_the_reconstruction_is_the_negated_log_likelihood_with_its_constant():
    rng = np.random.Generator(np.random.Philox(key=4))
    mean, samples = rng.standard_normal((2, 5, 1, 2, 3))
    density = np.exp(-((samples - mean) ** 2) / (2 * 0.3**2)) / math.sqrt(2 * math.pi * 0.3**2)
    expected = -np.log(density).reshape(5, -1).sum(1).mean()
    assert gaussian_nll(torch.from_numpy(mean), torch.from_numpy(samples), 0.3).item() == pytest.approx(expected)


def test_the_kl_term_is_the_divergence_from_the_prior():
    mean, log_variance = np.array([[0.5, -1.0], [0.0, 2.0]]), np.array([[0.3, -2.0], [0.0, 1.0]])
    z = np.linspace(-25, 25, 100_001)
    total = 0.0
    for m, v in zip(mean.ravel(), np.exp(log_variance).ravel(), strict=True):
        density = np.exp(-((z - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
        log_ratio = -((z - m) ** 2) / (2 * v) - math.log(v) / 2 + z**2 / 2
        total += (density * log_ratio).sum() * (z[1] - z[0])
    found = kl_to_prior(torch.from_numpy(mean), torch.from_numpy(log_variance)).item()
    assert found == pytest.approx(total / 2, abs=1e-6)
    assert kl_to_prior(torch.zeros(3, 2), torch.zeros(3, 2)).item() == 0


def test_with_the_exact_posterior_the_bound_is_the_log_likelihood():
    """For a linear decoder x = w z and a sample x, both Gaussian: the evidence is N(0, w^2 + sigma^2)."""
    w, sigma, x = 1.7, 0.6, 0.9
    variance = 1 / (1 + w**2 / sigma**2)
    mean = variance * w * x / sigma**2
    noise = torch.tensor([[NormalDist().inv_cdf((i + 0.5) / 20_000)] for i in range(20_000)], dtype=torch.float64)
    decoded = w * (mean + math.sqrt(variance) * noise)
    posterior = (torch.tensor([[mean]]).double(), torch.tensor([[variance]]).double().log())
    bound = gaussian_nll(decoded, torch.full_like(decoded, x), sigma) + kl_to_prior(*posterior)
    evidence = NormalDist(0, math.sqrt(w**2 + sigma**2)).pdf(x)
    assert bound.item() == pytest.approx(-math.log(evidence), abs=1e-4)
    worse = gaussian_nll(w * (mean + 0.5 * noise), torch.full_like(decoded, x), sigma)
    assert worse + kl_to_prior(posterior[0], torch.tensor([[0.25]]).double().log()) > bound


@pytest.mark.parametrize("log_variance", [-100.0, -30.0, 30.0, 100.0])
def test_gradients_are_finite_whatever_the_encoder_says(log_variance):
    mean = torch.full((4, 2), 100.0, requires_grad=True)
    spread = torch.full((4, 2), log_variance, requires_grad=True)
    of_mean, of_spread = torch.autograd.grad(kl_to_prior(mean, spread), (mean, spread))
    assert of_mean.flatten().tolist() == pytest.approx([100 / 4] * 8)
    right = (math.exp(min(log_variance, 40)) - 1) / 2 / 4
    assert of_spread.flatten().tolist() == pytest.approx([right] * 8, rel=1e-5)
    assert of_spread.square().sum().isfinite()


def test_one_player_owns_both_networks_and_moves_at_each_step():
    game = game_of(config_of())
    (player,) = game.players
    assert (player.name, game.sampler, game.owner) == ("generator", "generator", player)
    assert list(game.networks) == ["generator", "encoder"]
    assert len(player.weights) == sum(len(list(network.parameters())) for network in game.networks.values())
    assert [player.due(step) for step in (1, 2, 3)] == [True] * 3
    assert game.networks["encoder"](torch.zeros(5, 2)).shape == (5, 2 * 3)
    one, two = (state_of(run(config_of(steps=steps))[-1]).tensors for steps in (1, 2))
    moved = [key for key in one if key.startswith(("generator/", "encoder/")) and not torch.equal(one[key], two[key])]
    assert len(moved) == len(player.weights)


def test_the_loss_of_a_batch_is_worked_out_from_its_networks():
    config = config_of({"beta": 0.25, "sigma": 0.8})
    game = game_of(config)
    real, noise = torch.tensor([[0.5, -0.2], [1.0, 0.3]]), torch.tensor([[0.1, -1.0, 0.4], [2.0, 0.0, -0.3]])
    value, signals = game.players[0].loss({"real": real, "noise": noise}, 1)
    with torch.no_grad():
        said = game.networks["encoder"](real).double().numpy()
        mean, log_variance = said[:, :3], said[:, 3:]
        z = torch.from_numpy(mean + np.exp(log_variance / 2) * noise.numpy()).float()
        decoded = game.networks["generator"](z).double().numpy()
    squared = ((real.numpy() - decoded) ** 2).sum(1)
    reconstruction = (squared / (2 * 0.8**2) + math.log(2 * math.pi * 0.8**2)).mean()
    divergence = ((mean**2 + np.exp(log_variance) - 1 - log_variance) / 2).sum(1).mean()
    assert signals["reconstruction"].item() == pytest.approx(reconstruction, rel=1e-5)
    assert signals["kl"].item() == pytest.approx(divergence, rel=1e-5)
    assert value.item() == signals["g_loss"].item() == pytest.approx((reconstruction + 0.25 * divergence) / 2, rel=1e-5)


def test_its_signals_have_columns_and_those_of_a_discriminator_are_empty():
    segments = run(config_of())
    assert set(column(segments, "d_loss")) == set(column(segments, "logit_real")) == {None}
    loss, parts, kl = (np.array(column(segments, name)) for name in ("g_loss", "reconstruction", "kl"))
    np.testing.assert_allclose(loss, (parts + kl) / 2, rtol=1e-5)  # of two numbers a sample
    assert None not in column(segments, "grad_norm_g")


def test_its_gradients_do_not_grow_with_the_image():
    """Lucic et al.'s setting on 28 x 28 pixels, for longer than the window of `exploding_gradient`."""
    network = {"name": "dcgan", "features": 4}
    rates = {"lr_d": 5e-5, "lr_g": 5e-5}
    config = config_of(data="polygons", network=network, optim=rates, batch_size=16, steps=60, segment_steps=60)
    (segment,) = run(config)
    assert segment.events == ()
    assert max(column([segment], "grad_norm_g")) < 50


def test_it_learns():
    config = config_of(
        network={"name": "mlp", "width": 16}, optim={"lr_d": 0.01, "lr_g": 0.01}, batch_size=32, steps=80
    )
    losses = np.array(column(run(config), "g_loss"))
    assert losses[-20:].mean() < losses[:20].mean() - 0.25


@pytest.mark.parametrize("variant", [DCGAN, {"train_g_above": 2.5}, {"network": {"name": "mlp", "norm_g": "batch"}}])
def test_it_is_resumed_to_the_same_bits(variant):
    config = config_of(**variant)
    straight = run(config)
    assert bits(run(config, state_of(straight[0]))) == bits(straight[1:])


def test_it_waits_while_its_loss_is_below_the_threshold():
    waiting, moving = ([segment.generator() for segment in run(config_of(train_g_above=at))] for at in (1e6, -1e6))
    assert len(set(waiting)) == 1
    assert len(set(moving)) == 3


@pytest.mark.parametrize("change", [{"beta": 4.0}, {"sigma": 0.1}])
def test_each_parameter_changes_the_training(change):
    assert bits(run(config_of(change))) != bits(run(config_of()))


def test_the_noise_is_drawn_anew_at_each_step_and_from_the_seed():
    draws = {draw.name: draw for draw in game_of(config_of()).draws}
    assert draws["noise"].prior == "normal"
    assert draws["noise"].shape == (4, 3)
    assert draws["index"].high == 100
    assert bits(run(config_of(seed=1))) != bits(run(config_of(seed=2)))


def test_noise_within_the_decoder_has_a_key_of_its_own():
    network = {"name": "mlp", "width": 6, "depth": 1, "noise": "additive"}
    config = config_of(network=network)
    assert "key_generator" in [draw.name for draw in game_of(config).draws]
    straight = run(config)
    assert bits(run(config, state_of(straight[0]))) == bits(straight[1:])
    assert bits(straight) != bits(run(config_of(network=network | {"noise_std": 5.0})))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"latent": {"size": 3, "prior": "uniform"}}, "latent.prior must be normal"),
        ({"optim": {"lr_d": 0.1, "lr_g": 0.2}}, "optim.lr_d must be 0.2"),
        ({"penalty": "gradient"}, "penalty must be none"),
        ({"clip": 0.1}, "clip must be null"),
        ({"n_critic": 2}, "n_critic must be 1"),
        ({"warmup": {"updates": 3}}, "warmup.updates"),
        ({"warmup": {"again_every": 3}}, "warmup.again_every"),
        ({"updates": "simultaneous"}, "updates must be alternating"),
        ({"order": "generator_first"}, "order"),
        ({"fakes": "reused"}, "fakes"),
        ({"batches": "mixed"}, "batches"),
        ({"pack": 2}, "pack must be 1"),
        ({"labels": {"soft_real": 0.1}}, "labels.soft_real"),
        ({"labels": {"flip_fake": 0.1}}, "labels.flip_fake"),
        ({"instance_noise": {"std": 0.1}}, "instance_noise.std"),
        ({"augment": {"cutout": 0.5}}, "augment.cutout"),
        ({"replay": {"size": 10}}, "replay.size"),
        ({"swap": {"player": "generator"}}, "swap.player"),
        ({"train_d_above": 0.5}, "train_d_above must be null"),
    ],
)
def test_what_only_a_discriminator_could_heed_is_refused(change, named):
    with pytest.raises(ConfigError, match=named):
        run(config_of(**change))


def test_the_defaults_are_the_papers_bound():
    assert VaeParams().beta == 1
