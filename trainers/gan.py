"""The two-player game of a generator and a discriminator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from trainers import networks, optimizers
from trainers.config import TrainConfig
from trainers.draws import Draw, every_step
from trainers.errors import ConfigError
from trainers.game import Batch, Game, Loss, Player
from trainers.labels import Labels
from trainers.lens import Lens
from trainers.memory import Earlier, Replay
from trainers.networks.autoencoder import AutoEncoder
from trainers.networks.batch import has_batch_norm, refuse_lone_rows
from trainers.networks.initial import initialise
from trainers.networks.stochastic import layers, reseed
from trainers.networks.unfit import refuse_unfit
from trainers.objectives import Objective
from trainers.penalties import Penalty, clip_weights
from trainers.registry import find
from trainers.schedule import generator_due, refuse_idle, swapped
from trainers.stability.measures import Probe, Said, adversarial_probe


def build(
    objective: Objective, config: TrainConfig, shape: tuple[int, ...], num_train: int, device: torch.device
) -> Game:
    """Return the game that a configuration describes, at step 0.

    Args:
        objective: what the players minimise.
        config: of the training.
        shape: of one sample.
        num_train: rows of the training part.
        device: where the networks go, after their weights were drawn on the CPU.

    Raises:
        ConfigError: parts of the configuration do not go together.
    """
    return _Adversaries(config, objective, shape, device).game(num_train)


@dataclass(frozen=True)
class _Adversaries:
    """What the two players share."""

    config: TrainConfig
    objective: Objective
    shape: tuple[int, ...]
    device: torch.device

    def game(self, num_train: int) -> Game:
        first, second = self._discriminator(), self._generator()
        if self.config.order == "generator_first":
            first, second = second, first
        simultaneous = self.config.updates == "simultaneous"
        others = {"replay": self.replay, "earlier": self.earlier, "objective": self.objective.state}
        kept = {name: net.to(self.device) for name, net in others.items() if net is not None}
        return Game(
            networks={**self.nets, **kept},
            phases=((first, second),) if simultaneous else ((first,), (second,)),
            draws=self._draws(num_train),
            sampler="generator",
            probe=self._probe(),
        )

    # -- what they play with -------------------------------------------------------------------------------------------

    @cached_property
    def nets(self) -> dict[str, nn.Module]:
        builders, latent = networks.load(self.config.network), self.config.latent.size
        code, energy = self.objective.code, self.objective.says == "energy"
        if energy and self.config.pack > 1:
            raise ConfigError(f"pack must be 1 where D is an auto-encoder, but got pack={self.config.pack}")
        with torch.random.fork_rng(devices=[]):  # torch draws weights of its own; most are drawn over below
            torch.manual_seed(self.config.seed)
            nets = {
                "generator": builders.generator(latent, self.shape),
                "discriminator": AutoEncoder(
                    builders.discriminator(self.shape, code),
                    (builders.decoder or builders.generator)(code, self.shape),
                    self.objective.error,
                )
                if energy
                else builders.discriminator(self.lens.packed, 1),
            }
        for name, net in nets.items():
            initialise(net, self.config.seed, name, builders.init)
            net.to(self.device).train()
        refuse_lone_rows(nets.values(), self.config.batch_size)
        refuse_idle(self.config, self.objective.pretrain)
        refuse_unfit(self.config, self.objective, nets["discriminator"])
        return nets

    @cached_property
    def g_due(self) -> Callable[[int], bool]:
        return generator_due(self.config, self.objective.pretrain)

    @property
    def shared(self) -> bool:
        """Whether both players see the same fakes."""
        return self.config.updates == "simultaneous" or self.config.fakes == "reused"

    @cached_property
    def lens(self) -> Lens:
        return Lens(self.config, self.shape, None if self.shared else self.g_due)

    @cached_property
    def labels(self) -> Labels:
        return Labels(self.config.labels, self.objective, self.config.batch_size)

    @cached_property
    def penalty(self) -> Penalty:
        made: Penalty = find("penalty", self.config.penalty.name).load_make()(self.config.penalty)
        return made

    @cached_property
    def replay(self) -> Replay | None:
        if not self.config.replay.size:
            return None
        rows = self.config.batch_size * self.config.pack
        return Replay(self.config.replay, rows, self.shape).to(self.device)

    @cached_property
    def earlier(self) -> Earlier | None:
        player = self.config.swap.player
        return None if player == "none" else Earlier(self.nets[player], self.config.swap)

    @cached_property
    def stochastic(self) -> bool:
        return bool(layers(self.nets["generator"]))

    def _draws(self, num_train: int) -> tuple[Draw, ...]:
        config = self.config
        rows = config.batch_size * config.pack
        whose: dict[str, Callable[[int], bool]] = {"d": every_step} | ({} if self.shared else {"g": self.g_due})
        found = [Draw(name="index", prior="index", shape=(rows,), high=num_train)]
        for role, due in whose.items():
            prior = config.latent.prior
            found.append(Draw(name=f"latent_{role}", prior=prior, shape=(rows, config.latent.size), due=due))
            if self.stochastic:
                found.append(Draw(name=f"key_{role}", prior="key", shape=(), due=due))
        found += [*self.lens.draws(), *self.labels.draws()]
        found += [] if self.replay is None else self.replay.draws()
        return (*found, *self.penalty.draws(config.batch_size, self.lens.packed))

    def plays(self, player: str, step: int) -> nn.Module:
        """Return the network that plays for a player at a step, against the other."""
        swap = self.config.swap.player == player and swapped(self.config, step)
        return self.earlier if swap and self.earlier is not None else self.nets[player]

    def fakes(self, generator: nn.Module, role: str, batch: Batch) -> Tensor:
        whose = "d" if self.shared else role
        if self.stochastic:
            reseed(generator, batch[f"key_{whose}"])
        made: Tensor = generator(batch[f"latent_{whose}"])
        return made

    # -- the players ---------------------------------------------------------------------------------------------------

    def _discriminator(self) -> Player:
        config, penalty = self.config, self.penalty
        weights: list[Tensor] = list(self.nets["discriminator"].parameters())
        said = Said(boundary=self.objective.boundary)
        of_fakes = (*said.signals[1:], *penalty.signals)
        return Player(
            name="discriminator",
            weights=weights,
            signals=("d_loss", "logit_real", *of_fakes, "grad_norm_d"),
            said=said,
            lazy=dict.fromkeys(penalty.signals, config.penalty.every),
            late=dict.fromkeys(of_fakes, self.objective.pretrain),
            loss=self._d_loss(),
            above=config.train_d_above,
            after=self._after_discriminator(weights),
            **optimizers.of_discriminator(config.optim, weights, config.steps),
        )

    def _d_loss(self) -> Loss:
        objective, penalty, discriminate = self.objective, self.penalty, self.nets["discriminator"]
        lazy = self.config.penalty.every
        # A joint pass is faster, but batch statistics of real and fake together would tell D which is which.
        joint = self.config.batches == "mixed" or not has_batch_norm(discriminate)

        def judged(real: Tensor, fake: Tensor) -> Tensor:
            if joint:
                both: Tensor = discriminate(torch.cat((real, fake)))
                return both
            return torch.cat((discriminate(real), discriminate(fake)))

        def loss(batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            if step <= objective.pretrain:
                on_real = discriminate(self.lens(batch["real"], "real", batch, step))
                value, told = on_real.mean(), on_real.detach()
                return value, {"d_loss": value.detach(), "said": torch.cat((told, torch.full_like(told, math.nan)))}
            real, fake = self._shown(batch, step)
            said = judged(real, fake)
            on_real, on_fake = said.tensor_split(2)
            adversarial = self.labels.d_loss(on_real, on_fake, real, fake, batch)
            signals = {"d_loss": adversarial.detach(), "said": said.detach()}
            if objective.after is not None:
                self.said.update(real=on_real.detach(), fake=on_fake.detach())
            if step % lazy:
                return adversarial, signals
            term, more = penalty.term(discriminate, real, fake, batch)
            return adversarial + lazy * term, signals | more

        return loss

    @cached_property
    def said(self) -> dict[str, Tensor]:
        """Return what D said in the step under way."""
        return {}

    @cached_property
    def drawn(self) -> dict[str, Tensor]:
        """Return what G drew for D in the step under way."""
        return {}

    def _probe(self) -> Probe:
        return adversarial_probe(
            self.nets["discriminator"],
            packed=self.lens.packed,
            says=self.objective.says,
            clip=self.config.clip,
            drawn=self.drawn,
            late=self.objective.pretrain,
        )

    def _shown(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            fake = self.fakes(self.plays("generator", step), "d", batch)
            if step % self.config.slow_every == 0:
                self.drawn["fake"] = fake.clone()  # it may be a view of weights, which are about to move
            if self.replay is not None:
                fake = self.replay.mix(fake, batch, step - self.objective.pretrain)
        return self.lens(batch["real"], "real", batch, step), self.lens(fake, "d", batch, step)

    def _after_discriminator(self, weights: list[Tensor]) -> Callable[[int], None]:
        clip, objective = self.config.clip, self.objective
        copies = self.earlier  # of either player: D moves at every step

        def after(step: int) -> None:
            if clip is not None:
                clip_weights(weights, clip)
            if self.replay is not None:
                self.replay.after(step)
            if copies is not None:
                copies.after(step)
            if objective.after is not None and step > objective.pretrain:
                objective.after(real=self.said["real"], fake=self.said["fake"])

        return after

    def _generator(self) -> Player:
        config = self.config
        generate = self.nets["generator"]
        weights: list[Tensor] = list(generate.parameters())

        def loss(batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            against = self.plays("discriminator", step)
            shown = self.lens(self.fakes(generate, "g", batch), "g", batch, step)
            value = self._g_loss(against, shown, batch, step)
            return value, {"g_loss": value.detach()}

        every_ = 1 if config.updates == "simultaneous" else config.n_critic
        return Player(
            name="generator",
            weights=weights,
            due=self.g_due,
            every=every_,
            signals=("g_loss", "grad_norm_g"),
            loss=loss,
            above=config.train_g_above,
            **optimizers.of_generator(config.optim, weights, config.steps),
        )

    def _g_loss(self, against: nn.Module, shown: Tensor, batch: Batch, step: int) -> Tensor:
        objective = self.objective
        given: Mapping[str, Tensor] = {}
        if objective.paired:
            given = {"real": against(self.lens(batch["real"], "real", batch, step))}
        if objective.of_code is None:
            value: Tensor = objective.g_loss(fake=against(shown), **given)
            return value
        judge = against.copied if isinstance(against, Earlier) else against
        if not isinstance(judge, AutoEncoder):
            raise TypeError("only an auto-encoder has codes")
        energy, code = judge.judge(shown)
        return objective.g_loss(fake=energy, **given) + objective.of_code(code)
