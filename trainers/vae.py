"""The one-player game of an encoder and a decoder (Kingma and Welling 2014)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from trainers import networks, optimizers
from trainers.config import AugmentConfig, LabelsConfig, TrainConfig
from trainers.draws import Draw
from trainers.errors import ConfigError
from trainers.game import Batch, Game, Player
from trainers.networks.batch import refuse_lone_rows
from trainers.networks.initial import initialise
from trainers.networks.stochastic import layers, reseed
from trainers.objectives import OwnGame
from trainers.objectives.continued import exp
from trainers.params.objectives import VaeParams


def make(params: VaeParams) -> OwnGame:
    """Return the objective that maximises the evidence lower bound of the data."""
    return OwnGame(build=partial(build, params))


def build(params: VaeParams, config: TrainConfig, shape: tuple[int, ...], num_train: int, device: torch.device) -> Game:
    """Return the game of one player, "generator", who owns the decoder, "generator", and the "encoder", at step 0.

    Args:
        params: of the objective.
        config: of the training; its `network` builds the decoder as a generator, and the encoder as a discriminator
            with 2 latent.size outputs.
        shape: of one sample.
        num_train: rows of the training part.
        device: where the networks go, after their weights were drawn on the CPU.

    Raises:
        ConfigError: the configuration says something of a discriminator, or the prior is not normal.
    """
    _refuse(config)
    return _AutoEncoding(params, config, _networks(config, shape, device)).game(num_train)


def _refuse(config: TrainConfig) -> None:
    """Refuse what would have no effect, since there is no D and one player moves at each step."""
    settings = (
        ("latent.prior", config.latent.prior, "normal"),
        ("optim.lr_d", config.optim.lr_d, config.optim.lr_g),
        ("penalty", config.penalty.name, "none"),
        ("clip", config.clip, None),
        ("n_critic", config.n_critic, 1),
        ("warmup.updates", config.warmup.updates, 0),
        ("warmup.again_every", config.warmup.again_every, 0),
        ("updates", config.updates, "alternating"),
        ("order", config.order, "discriminator_first"),
        ("fakes", config.fakes, "fresh"),
        ("batches", config.batches, "separate"),
        ("pack", config.pack, 1),
        *((f"labels.{key}", value, getattr(LabelsConfig(), key)) for key, value in config.labels),
        ("instance_noise.std", config.instance_noise.std, 0),
        *((f"augment.{key}", value, getattr(AugmentConfig(), key)) for key, value in config.augment),
        ("replay.size", config.replay.size, 0),
        ("swap.player", config.swap.player, "none"),
        ("train_d_above", config.train_d_above, None),
    )
    for key, value, only in settings:
        if value != only:
            raise ConfigError(f"{key} must be {_shown(only)} with an auto-encoder, but got {key}={value}")


def _shown(value: object) -> object:
    return "null" if value is None else value


def _networks(config: TrainConfig, shape: tuple[int, ...], device: torch.device) -> dict[str, nn.Module]:
    builders, latent = networks.load(config.network), config.latent.size
    with torch.random.fork_rng(devices=[]):  # torch draws weights of its own; most are drawn over below
        torch.manual_seed(config.seed)
        nets = {"generator": builders.generator(latent, shape), "encoder": builders.discriminator(shape, 2 * latent)}
    for name, net in nets.items():
        initialise(net, config.seed, name, builders.init)
        net.to(device).train()
    refuse_lone_rows(nets.values(), config.batch_size)
    return nets


@dataclass(frozen=True)
class _AutoEncoding:
    """An encoder and a decoder that have one loss."""

    params: VaeParams
    config: TrainConfig
    nets: dict[str, nn.Module]

    def game(self, num_train: int) -> Game:
        size, latent = self.config.batch_size, self.config.latent.size
        draws = [
            Draw(name="index", prior="index", shape=(size,), high=num_train),
            Draw(name="noise", prior="normal", shape=(size, latent)),
        ]
        draws += [Draw(name=f"key_{name}", prior="key", shape=()) for name, net in self.nets.items() if layers(net)]
        player = self._player()
        return Game(networks=self.nets, phases=((player,),), draws=tuple(draws), sampler="generator")

    def _player(self) -> Player:
        config = self.config
        order = ("encoder", "generator")  # that of the layers that a sample passes
        weights = [weight for name in order for weight in self.nets[name].parameters()]
        return Player(
            name="generator",
            weights=weights,
            signals=("g_loss", "reconstruction", "kl", "grad_norm_g"),
            loss=self._loss,
            above=config.train_g_above,
            **optimizers.of_generator(config.optim, weights, config.steps),
        )

    def _loss(self, batch: Batch, _step: int) -> tuple[Tensor, dict[str, Tensor]]:
        for name, net in self.nets.items():
            if layers(net):
                reseed(net, batch[f"key_{name}"])
        mean, log_variance = self.nets["encoder"](batch["real"]).chunk(2, dim=1)
        decoded = self.nets["generator"](mean + exp(log_variance / 2) * batch["noise"])
        reconstruction = gaussian_nll(decoded, batch["real"], self.params.sigma)
        divergence = kl_to_prior(mean, log_variance)
        value = (reconstruction + self.params.beta * divergence) / batch["real"][0].numel()
        signals = {"g_loss": value, "reconstruction": reconstruction, "kl": divergence}
        return value, {name: signal.detach() for name, signal in signals.items()}


def gaussian_nll(mean: Tensor, samples: Tensor, sigma: float) -> Tensor:
    """Return -E log N(x; mean, sigma^2 I), in nats a sample, its constant n / 2 log(2 pi sigma^2) included.

    Args:
        mean: what was decoded, [batch, *shape].
        samples: x, [batch, *shape].
        sigma: the standard deviation of each of the n numbers of a sample.
    """
    constant = samples[0].numel() * math.log(2 * math.pi * sigma**2) / 2
    return (samples - mean).square().flatten(1).sum(1).mean() / (2 * sigma**2) + constant


def kl_to_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return E KL(N(mean, variance) || N(0, I)), in nats a sample (Kingma and Welling 2014, appendix B).

    Args:
        mean: of the approximate posterior, [batch, latent].
        log_variance: its log variance, [batch, latent]; above 40 the variance grows as a line.
    """
    return (mean.square() + exp(log_variance) - 1 - log_variance).sum(1).mean() / 2
