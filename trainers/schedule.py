"""At which steps each player moves: functions of the step alone."""

from __future__ import annotations

from collections.abc import Callable

from trainers.config import TrainConfig
from trainers.draws import every
from trainers.errors import ConfigError


def refuse_idle(config: TrainConfig, pretrain: int) -> None:
    """Raise ConfigError where G would not move once: what is scored would be as it was drawn; see `generator_due`."""
    warm = config.warmup.updates or config.warmup.again_every
    first = pretrain + (config.warmup.n_critic if warm else config.n_critic)
    if first > config.steps:
        raise ConfigError(f"steps must be at least {first}, where G first moves, but got steps={config.steps}")


def generator_due(config: TrainConfig, pretrain: int) -> Callable[[int], bool]:
    """Return whether G moves at a step: after every n_critic D updates, more of them where it warms up.

    Args:
        config: of the training.
        pretrain: steps at the start in which D is trained alone.
    """
    warmup = config.warmup
    if not (warmup.updates or warmup.again_every):
        regular = every(config.n_critic)
        return regular if not pretrain else lambda step: step > pretrain and regular(step - pretrain)
    found: list[int] = []  # the steps of G's updates, as far as they were asked for
    moves: set[int] = set()

    def due(step: int) -> bool:
        while not found or found[-1] < step:
            update = len(found)  # of G, from 0, as in WGAN's code
            warm = update < warmup.updates or (warmup.again_every > 0 and update % warmup.again_every == 0)
            found.append((found[-1] if found else pretrain) + (warmup.n_critic if warm else config.n_critic))
            moves.add(found[-1])
        return step in moves

    return due


def swapped(config: TrainConfig, step: int) -> bool:
    """Whether an earlier checkpoint plays at a step: in the first `steps` of every `every`, once one is old enough."""
    return step > config.swap.every and (step - 1) % config.swap.every < config.swap.steps
