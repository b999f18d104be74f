"""The two-player game: each value of a configuration is the one that trains."""

import math

import numpy as np
import pytest
import torch

from tests.fakes.trainings import DCGAN, DCGAN_WITHOUT_NORM, WGAN_GP, column, game_of, run, said, state_of, tiny
from trainers import data
from trainers.draws import Staged
from trainers.errors import ConfigError
from trainers.history import SIGNALS

CPU = torch.device("cpu")


def batch_of(config, game, step=1):
    dataset = data.load(config.data)
    batch = Staged(game.draws, config.seed, 0, step, CPU).at(step)
    return batch | {"real": torch.from_numpy(dataset.train)[batch["index"]]}


def players(config):
    return {player.name: player for player in game_of(config).players}


def group(player):
    (only,) = player.optimizer.param_groups
    return only


def moves(config):
    """Return how far each network's weights moved in the first step, as one vector a network."""
    initial = game_of(config).networks
    after = state_of(run(config.model_copy(update={"steps": 1, "segment_steps": 1}))[0]).tensors
    return {
        name: np.concatenate(
            [(after[f"{name}/{key}"] - value).detach().flatten().numpy() for key, value in network.named_parameters()]
        )
        for name, network in initial.items()
    }


def test_adam_takes_each_players_own_rate_and_betas():
    optim = {"lr_d": 3e-4, "lr_g": 7e-5, "beta1": 0.1, "beta2": 0.91, "beta1_g": 0.2, "beta2_g": 0.92}
    of = players(tiny(optim=optim))
    assert isinstance(of["discriminator"].optimizer, torch.optim.Adam)
    assert (group(of["discriminator"])["lr"], group(of["discriminator"])["betas"]) == (3e-4, (0.1, 0.91))
    assert (group(of["generator"])["lr"], group(of["generator"])["betas"]) == (7e-5, (0.2, 0.92))


def test_betas_of_g_that_are_not_given_are_those_of_d():
    of = players(tiny(optim={"beta1": 0.3, "beta2": 0.95}))
    assert group(of["generator"])["betas"] == (0.3, 0.95)
    assert group(players(tiny(optim={"beta1": 0.3, "beta1_g": 0.0}))["generator"])["betas"][0] == 0.0


def test_rmsprop_takes_each_players_own_rate_decay_and_momentum():
    optim = {"name": "rmsprop", "lr_d": 3e-4, "lr_g": 7e-5, "beta1": 0.1, "beta2": 0.91, "beta1_g": 0, "beta2_g": 0.92}
    of = players(tiny(optim=optim))
    for name, lr, momentum, alpha in (("discriminator", 3e-4 * 0.9, 0.1, 0.91), ("generator", 7e-5, 0, 0.92)):
        assert isinstance(of[name].optimizer, torch.optim.RMSprop)
        assert [group(of[name])[key] for key in ("lr", "momentum", "alpha")] == [lr, momentum, alpha]


def test_each_optimizer_holds_its_own_network_and_nothing_else():
    game = game_of(tiny(**DCGAN))
    for player in game.players:
        ours = {id(weight) for weight in game.networks[player.name].parameters()}
        assert {id(weight) for weight in group(player)["params"]} == ours
        assert {id(weight) for weight in player.weights} == ours


@pytest.mark.parametrize(("name", "factor"), [("adam", 1.0), ("rmsprop", 1 / math.sqrt(1 - 0.99))])
def test_the_first_step_is_as_long_as_the_rate_says(name, factor):
    """Both optimizers divide the first gradient by its own size, so that the rate alone is left."""
    config = tiny(optim={"name": name, "lr_d": 3e-3, "lr_g": 5e-4, "beta1": 0.0, "beta2": 0.99})
    moved = moves(config)
    assert np.abs(moved["discriminator"]).max() == pytest.approx(3e-3 * factor, rel=1e-2)
    assert np.abs(moved["generator"]).max() == pytest.approx(5e-4 * factor, rel=1e-2)


@pytest.mark.parametrize("n_critic", [1, 2, 5])
def test_the_generator_moves_after_every_n_critic_updates(n_critic):
    segments = run(tiny(n_critic=n_critic, segment_steps=1))
    weights = [state_of(segment).tensors["generator/0.weight"] for segment in segments]
    weights.insert(0, game_of(tiny()).networks["generator"].state_dict()["0.weight"])
    moved = [step for step in range(1, 13) if not torch.equal(weights[step - 1], weights[step])]
    assert moved == [step for step in range(1, 13) if step % n_critic == 0]


def test_lambda_weighs_the_penalty_and_the_loss_is_told_without_it():
    def first(lambda_):
        config = tiny(objective="wasserstein", penalty={"name": "gradient", "lambda": lambda_}, steps=1)
        return {name: column(run(config), name)[0] for name in ("d_loss", "penalty", "interpolate_norm", "grad_norm_d")}

    one, ten = first(1.0), first(10.0)
    assert one["penalty"] > 0
    assert ten["penalty"] == pytest.approx(10 * one["penalty"])
    assert ten["d_loss"] == one["d_loss"]
    assert ten["interpolate_norm"] == one["interpolate_norm"]
    assert ten["grad_norm_d"] != pytest.approx(one["grad_norm_d"], rel=0.01)


@pytest.mark.parametrize("clip", [0.003, 0.02])
@pytest.mark.parametrize("variant", [{}, DCGAN], ids=["mlp", "dcgan"])
def test_clipping_bounds_every_weight_after_every_update(clip, variant):
    segments = run(
        tiny(**variant, objective="wasserstein", clip=clip, optim={"lr_d": 0.01}, segment_steps=1, slow_every=2)
    )
    for segment in segments:
        weights = {k: v for k, v in state_of(segment).tensors.items() if k.startswith("discriminator/")}
        names = dict(game_of(tiny(**variant)).networks["discriminator"].named_parameters())
        largest = max(weights[f"discriminator/{name}"].abs().max().item() for name in names)
        assert largest <= np.float32(clip)
    assert all(0 < share <= 1 for share in column(segments, "clip_share")[1::2])


def test_without_clip_and_penalty_their_signals_do_not_exist():
    def absent(**config):
        return {name for name in SIGNALS if set(column(run(tiny(slow_every=4, **config)), name)) == {None}}

    penalised = {"penalty", "interpolate_norm", "penalty_share"}
    shallow = {"grad_slope_d", "grad_slope_g"}  # two layers have no slope
    assert absent() == {"clip_share", *penalised, *shallow}
    assert absent(**WGAN_GP) == {"clip_share", "accuracy_d", *shallow}
    assert absent(objective="wasserstein", clip=0.1) == {"accuracy_d", *penalised, *shallow}


def test_a_batch_has_the_size_and_the_latents_that_were_asked_for():
    config = tiny(batch_size=64, latent={"size": 5, "prior": "uniform"})
    batch = batch_of(config, game_of(config))
    assert batch["real"].shape == (64, 2)
    assert batch["latent_d"].shape == batch["latent_g"].shape == (64, 5)
    assert not torch.equal(batch["latent_d"], batch["latent_g"])
    # 640 normal numbers all lie in [-1, 1] with probability 0.683**640 < 1e-100.
    assert batch["latent_d"].abs().max() <= 1
    normal = batch_of(tiny(batch_size=64), game_of(tiny(batch_size=64)))
    assert normal["latent_d"].abs().max() > 1


def test_simultaneous_players_share_their_fakes():
    config = tiny(updates="simultaneous")
    game = game_of(config)
    assert "latent_g" not in batch_of(config, game)
    assert [len(phase) for phase in game.phases] == [2]
    assert [len(phase) for phase in game_of(tiny()).phases] == [1, 1]


def test_simultaneous_updates_differ_from_alternating_ones_and_g_does_not_see_d_move():
    far = {"lr_d": 0.5}
    near = {"lr_d": 1e-6}
    # G's first loss is measured against D before its move, however far that is.
    losses = [column(run(tiny(updates="simultaneous", optim=o, steps=1)), "g_loss")[0] for o in (far, near)]
    assert losses[0] == losses[1]
    losses = [column(run(tiny(optim=o, steps=1)), "g_loss")[0] for o in (far, near)]
    assert losses[0] != losses[1]


def test_with_batch_statistics_in_d_real_and_fake_pass_apart():
    config = tiny(**DCGAN)
    game = game_of(config)
    batch = batch_of(config, game)
    (discriminator, *_) = game.players
    _, signals = discriminator.loss(batch, 1)
    with torch.no_grad():
        alone = game.networks["discriminator"](batch["real"])
        fake = game.networks["generator"](batch["latent_d"])
        together = game.networks["discriminator"](torch.cat((batch["real"], fake)))[: len(alone)]
    assert said(signals)[0].mean().item() == alone.mean().item()
    assert said(signals)[0].mean().item() != pytest.approx(together.mean().item(), rel=1e-4)


@pytest.mark.parametrize("variant", [{}, DCGAN_WITHOUT_NORM], ids=["mlp", "layer norm"])
def test_without_them_the_joint_pass_gives_what_two_would(variant):
    config = tiny(**variant)
    game = game_of(config)
    batch = batch_of(config, game)
    _, signals = game.players[0].loss(batch, 1)
    with torch.no_grad():
        real = game.networks["discriminator"](batch["real"])
        fake = game.networks["discriminator"](game.networks["generator"](batch["latent_d"]))
    assert said(signals)[0].mean().item() == pytest.approx(real.mean().item(), rel=1e-5, abs=1e-7)
    assert said(signals)[1].mean().item() == pytest.approx(fake.mean().item(), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("variant", [{}, DCGAN], ids=["mlp", "dcgan"])
def test_building_leaves_the_global_generator_where_it_was(variant):
    before = torch.get_rng_state()
    game_of(tiny(**variant))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("objective", ["non_saturating", "vae"])
def test_a_batch_of_one_sample_has_no_statistics(objective):
    network = {"name": "mlp", "norm_g": "batch"}
    with pytest.raises(ConfigError, match="batch_size must be at least 2 with batch normalisation"):
        run(tiny(objective=objective, network=network, batch_size=1))
    run(tiny(objective=objective, batch_size=1))


def test_batch_norm_in_a_penalised_discriminator_of_the_users_is_refused_when_it_is_built():
    config = {"network": "tests.fakes.trainings:NORMED", "penalty": "r1"}
    with pytest.raises(ConfigError, match="penalty r1 needs a discriminator without batch normalisation"):
        run(tiny(**config))
    assert len(run(tiny(**config, static_checks="warn"))) == 3
    assert len(run(tiny(**config | {"penalty": "l2"}))) == 3


@pytest.mark.parametrize("objective", ["wasserstein", "loss_sensitive"])
def test_a_critic_that_ends_in_a_sigmoid_is_refused(objective):
    config = {"network": "tests.fakes.trainings:BOUNDED", "objective": objective}
    with pytest.raises(ConfigError, match=r"discriminator without bounds, but that of network .* ends in Sigmoid"):
        run(tiny(**config))
    assert len(run(tiny(**config, static_checks="warn"))) == 3
    assert len(run(tiny(**config | {"objective": "least_squares"}))) == 3
