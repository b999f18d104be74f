"""A training is a game between players: networks that one optimizer updates, a loss, a place in the schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainers.draws import Draw

Batch = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Player:
    """One optimizer and what it minimises.

    Attributes:
        name: prefix of its optimizer's state.
        weights: what its optimizer updates.
        optimizer: over `weights`.
        every: it is updated at the steps that are multiples of it.
        signals: names of what one update reports, in order; `loss` returns them all but the gradient norm, the last.
        loss: of a batch, with its signals; it must not change any state but batch statistics.
        constrain: run after each update, such as weight clipping.
    """

    name: str
    weights: Sequence[Tensor]
    optimizer: torch.optim.Optimizer
    every: int
    signals: tuple[str, ...]
    loss: Callable[[Batch], tuple[Tensor, Mapping[str, Tensor]]]
    constrain: Callable[[], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Game:
    """Networks, the players that own them, and the random tensors that a step needs.

    Attributes:
        networks: every network by name.
        phases: players that compute their losses before any of them moves; phases follow one another within a step.
        draws: random tensors of a step; an "index" draw picks rows of the training data into the batch as "real".
        sampler: name of the network that generates samples; it is averaged for evaluation.
    """

    networks: dict[str, nn.Module]
    phases: tuple[tuple[Player, ...], ...]
    draws: tuple[Draw, ...]
    sampler: str

    @property
    def players(self) -> tuple[Player, ...]:
        """Every player, in the order in which they move."""
        return tuple(player for phase in self.phases for player in phase)


def play(game: Game, step: int, batch: Batch, report: Callable[[Player, list[Tensor]], None]) -> None:
    """Play one step: every player that is due takes one gradient step.

    Args:
        game: changed in place.
        step: number of this discriminator update, from 1.
        batch: this step's tensors.
        report: is given each player's signals, still on the device.
    """
    for phase in game.phases:
        due = [player for player in phase if step % player.every == 0]
        moves = [_gradients(player, batch) for player in due]
        for player, (gradients, signals) in zip(due, moves, strict=True):
            for weight, gradient in zip(player.weights, gradients, strict=True):
                weight.grad = gradient
            player.optimizer.step()
            if player.constrain is not None:
                player.constrain()
            report(player, signals)


def _gradients(player: Player, batch: Batch) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    loss, signals = player.loss(batch)
    gradients = torch.autograd.grad(loss, list(player.weights))
    return gradients, [*(signals[name] for name in player.signals[:-1]), total_norm(gradients)]


def total_norm(gradients: tuple[Tensor, ...]) -> Tensor:
    """Return the Euclidean norm of all gradients taken together, a scalar on their device."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm
