"""A training is a game between players: networks that one optimizer updates, a loss, a place in the schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from trainers.draws import Draw, every_step
from trainers.stability.measures import Probe, Said

Batch = Mapping[str, Tensor]
Loss = Callable[[Batch, int], tuple[Tensor, Mapping[str, Tensor]]]


@dataclass(frozen=True, kw_only=True)
class Player:
    """One optimizer and what it minimises.

    Attributes:
        name: prefix of its optimizer's state.
        weights: what its optimizer updates.
        optimizer: over `weights`.
        due: whether it is updated at a step; a function of the step alone.
        every: steps between two updates, as a rule.
        signals: names of what one update reports, in order; `loss` returns those of `reported`.
        said: reduces the tensor that `loss` returns as "said" to signals of its own; None where there is none.
        lazy: steps between two values of the signals that are rarer than the updates, by name.
        late: steps before the first value of the signals that begin later, by name.
        loss: of a batch at a step, with its signals; it must not change any state but batch statistics.
        above: it moves only while its first signal is above this; None moves it always.
        before: run before each update, such as a new learning rate.
        after: run after each update, such as weight clipping.
    """

    name: str
    weights: Sequence[Tensor]
    optimizer: torch.optim.Optimizer
    due: Callable[[int], bool] = every_step
    every: int = 1
    signals: tuple[str, ...]
    said: Said | None = None
    lazy: Mapping[str, int] = field(default_factory=dict)
    late: Mapping[str, int] = field(default_factory=dict)
    loss: Loss
    above: float | None = None
    before: Callable[[int], None] = lambda _: None
    after: Callable[[int], None] = lambda _: None

    @cached_property
    def reported(self) -> tuple[str, ...]:
        """Names of what `loss` returns of the signals: all but what is reduced later, and but the gradient norm."""
        later = () if self.said is None else self.said.signals
        return tuple(name for name in self.signals[:-1] if name not in later)

    def reports(self, name: str, step: int) -> bool:
        """Whether a signal of its own has a value at a step."""
        return self.due(step) and step % self.lazy.get(name, 1) == 0 and step > self.late.get(name, 0)


@dataclass(frozen=True, kw_only=True)
class Game:
    """Networks, the players that own them, and the random tensors that a step needs.

    Attributes:
        networks: every network by name, and whatever else has a state that a resumed training needs.
        phases: players that compute their losses before any of them moves; phases follow one another within a step.
        draws: random tensors of a step; an "index" draw picks rows of the training data into the batch as "real".
        sampler: name of the network that generates samples; it is averaged for evaluation.
        probe: what is measured now and then.
    """

    networks: dict[str, nn.Module]
    phases: tuple[tuple[Player, ...], ...]
    draws: tuple[Draw, ...]
    sampler: str
    probe: Probe | None = None

    @property
    def players(self) -> tuple[Player, ...]:
        """Every player, in the order in which they move."""
        return tuple(player for phase in self.phases for player in phase)

    @property
    def owner(self) -> Player:
        """The player that updates the sampler."""
        first = next(self.networks[self.sampler].parameters())
        return next(player for player in self.players if any(weight is first for weight in player.weights))


Report = Callable[[Player, Sequence[Tensor], Tensor | None], None]


def play(game: Game, step: int, batch: Batch, report: Report) -> None:
    """Play one step: every player that is due takes one gradient step.

    Args:
        game: changed in place.
        step: number of this discriminator update, from 1.
        batch: this step's tensors.
        report: is given each player's signals and then the gradient norm of each of its weights, and what is
            reduced later, all still on the device.
    """
    for phase in game.phases:
        due = [player for player in phase if player.due(step)]
        moves = [_gradients(player, batch, step) for player in due]
        for player, (gradients, told, said) in zip(due, moves, strict=True):
            for weight, gradient in zip(player.weights, gradients, strict=True):
                weight.grad = gradient
            _move(player, step, told[0])
            player.after(step)
            report(player, told, said)


def _move(player: Player, step: int, loss: Tensor) -> None:
    if player.above is None:
        player.before(step)
        player.optimizer.step()
        return
    # No branch on the loss's value: the step is made, and taken back where the loss is too low.
    entries, weights = player.optimizer.state, list(player.weights)
    old = [weight.detach().clone() for weight in weights]
    kept = {weight: {key: value.clone() for key, value in entries[weight].items()} for weight in weights}
    player.before(step)
    player.optimizer.step()
    moves = loss > player.above
    with torch.no_grad():
        for weight, former in zip(weights, old, strict=True):
            weight.copy_(torch.where(moves, weight, former))
            for key, value in entries[weight].items():
                if value.device != loss.device:
                    continue  # RMSprop counts its steps on the host, and makes no use of the count
                before = kept[weight].get(key, torch.zeros_like(value))  # an optimizer begins with zeros
                value.copy_(torch.where(moves, value, before))


def _gradients(player: Player, batch: Batch, step: int) -> tuple[tuple[Tensor, ...], list[Tensor], Tensor | None]:
    loss, signals = player.loss(batch, step)
    gradients = torch.autograd.grad(loss, list(player.weights))
    absent = None if all(map(signals.__contains__, player.reported)) else loss.new_full((), float("nan"))
    told = [signals.get(name, absent) for name in player.reported]  # a lazy signal is absent, at a step without it
    norms = torch._foreach_norm(gradients) if loss.is_cuda else map(torch.linalg.vector_norm, gradients)  # launches
    return gradients, [*told, *norms], signals.get("said")
