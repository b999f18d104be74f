"""The two-player game of a generator and a discriminator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainers import networks
from trainers.config import OptimConfig, TrainConfig
from trainers.draws import Draw
from trainers.game import Batch, Game, Player
from trainers.networks.initial import initialise
from trainers.objectives import Objective
from trainers.penalties import Penalty, clip_share, clip_weights
from trainers.registry import find

SIGNALS = (
    "d_loss",
    "g_loss",
    "logit_real",
    "logit_fake",
    "grad_norm_d",
    "grad_norm_g",
    "penalty",
    "interpolate_norm",
    "clip_share",
)


def build(config: TrainConfig, shape: tuple[int, ...], num_train: int, device: torch.device) -> Game:
    """Return the game that a configuration describes, at step 0.

    Args:
        config: of the training.
        shape: of one sample.
        num_train: rows of the training part.
        device: where the networks go, after their weights were drawn on the CPU.
    """
    builders = networks.load(config.network)
    with torch.random.fork_rng(devices=[]):  # torch draws weights of its own, which are drawn over below
        nets = {
            "generator": builders.generator(config.latent.size, shape),
            "discriminator": builders.discriminator(shape),
        }
    for name, net in nets.items():
        initialise(net, config.seed, name, builders.init)
        net.to(device).train()
    objective: Objective = find("objective", config.objective.name).load_make()(config.objective)
    penalty: Penalty = find("penalty", config.penalty.name).load_make()(config.penalty)
    discriminator = _discriminator(config, nets, objective, penalty)
    generator = _generator(config, nets, objective)
    simultaneous = config.updates == "simultaneous"
    return Game(
        networks=nets,
        phases=((discriminator, generator),) if simultaneous else ((discriminator,), (generator,)),
        draws=(*_draws(config, num_train), *penalty.draws(config.batch_size)),
        sampler="generator",
    )


def _draws(config: TrainConfig, num_train: int) -> tuple[Draw, ...]:
    latent = (config.batch_size, config.latent.size)
    fixed = (
        Draw(name="index", prior="index", shape=(config.batch_size,), high=num_train),
        Draw(name="latent_d", prior=config.latent.prior, shape=latent),
    )
    if config.updates == "simultaneous":
        return fixed  # both players see the same fakes
    return (*fixed, Draw(name="latent_g", prior=config.latent.prior, shape=latent, every=config.n_critic))


def _discriminator(
    config: TrainConfig, nets: Mapping[str, nn.Module], objective: Objective, penalty: Penalty
) -> Player:
    generate, discriminate = nets["generator"], nets["discriminator"]
    weights: list[Tensor] = list(discriminate.parameters())
    # A joint pass is faster, but batch statistics of real and fake together would tell D which is which.
    joint = not any(isinstance(module, _BatchNorm) for module in discriminate.modules())
    clip = config.clip

    def logits(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        if not joint:
            return discriminate(real), discriminate(fake)
        both = discriminate(torch.cat((real, fake)))
        return both[: len(real)], both[len(real) :]

    def loss(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        real = batch["real"]
        with torch.no_grad():
            fake = generate(batch["latent_d"])
        on_real, on_fake = logits(real, fake)
        adversarial = objective.d_loss(real=on_real, fake=on_fake)
        term, signals = penalty.term(discriminate, real, fake, batch)
        signals |= {"d_loss": adversarial.detach()}
        signals |= {"logit_real": on_real.detach().mean(), "logit_fake": on_fake.detach().mean()}
        if clip is not None:
            signals["clip_share"] = clip_share(weights, clip)
        return adversarial + term, signals

    clipped = ("clip_share",) if clip is not None else ()
    return Player(
        name="discriminator",
        weights=weights,
        optimizer=_optimizer(
            config.optim, weights, lr=config.optim.lr_d, beta1=config.optim.beta1, beta2=config.optim.beta2
        ),
        every=1,
        signals=("d_loss", "logit_real", "logit_fake", *penalty.signals, *clipped, "grad_norm_d"),
        loss=loss,
        constrain=None if clip is None else lambda: clip_weights(weights, clip),
    )


def _generator(config: TrainConfig, nets: Mapping[str, nn.Module], objective: Objective) -> Player:
    generate, discriminate = nets["generator"], nets["discriminator"]
    weights: list[Tensor] = list(generate.parameters())
    latent = "latent_d" if config.updates == "simultaneous" else "latent_g"

    def loss(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        value = objective.g_loss(discriminate(generate(batch[latent])))
        return value, {"g_loss": value.detach()}

    optim = config.optim
    return Player(
        name="generator",
        weights=weights,
        optimizer=_optimizer(
            optim,
            weights,
            lr=optim.lr_g,
            beta1=_first(optim.beta1_g, optim.beta1),
            beta2=_first(optim.beta2_g, optim.beta2),
        ),
        every=config.n_critic,
        signals=("g_loss", "grad_norm_g"),
        loss=loss,
    )


def _first(own: float | None, shared: float) -> float:
    return shared if own is None else own


def _adam(weights: Sequence[Tensor], lr: float, beta1: float, beta2: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(weights, lr=lr, betas=(beta1, beta2), fused=True)


def _rmsprop(weights: Sequence[Tensor], lr: float, beta1: float, beta2: float) -> torch.optim.Optimizer:
    # The decay of the squared gradient is beta2's role; RMSprop has no first moment, so beta1 is its momentum.
    return torch.optim.RMSprop(weights, lr=lr, alpha=beta2, momentum=beta1)


_OPTIMIZERS: dict[str, Callable[[Sequence[Tensor], float, float, float], torch.optim.Optimizer]] = {
    "adam": _adam,
    "rmsprop": _rmsprop,
}


def _optimizer(
    optim: OptimConfig, weights: Sequence[Tensor], *, lr: float, beta1: float, beta2: float
) -> torch.optim.Optimizer:
    return _OPTIMIZERS[optim.name](weights, lr, beta1, beta2)
