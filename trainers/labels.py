"""Soft and noisy labels in D's loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from trainers.config import LabelsConfig
from trainers.draws import Draw
from trainers.errors import ConfigError
from trainers.objectives import Objective

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


EXTREME = 100.0  # logits between which D's loss has its least value
GRID = 200_001


def d_floor(config: LabelsConfig, objective: Objective) -> float | None:
    """Return the least value that D's loss can have with such labels; None where there is none.

    With soft labels it is not the objective's own, but that of the best logit for each label (for a cross-entropy the
    label's entropy). Labels that are exchanged at random have other bounds in each batch, and none that D can hold.
    """
    if config == LabelsConfig() or objective.d_floor is None or objective.terms is None:
        return objective.d_floor
    if config.flip_real or config.flip_fake:
        return None
    as_real, as_fake = objective.terms
    logits = torch.linspace(-EXTREME, EXTREME, GRID, dtype=torch.float64)[:, None]
    of_real, of_fake = as_real(logits), as_fake(logits)
    floors = (
        (1 - soft) * one + soft * other
        for soft, one, other in ((config.soft_real, of_real, of_fake), (config.soft_fake, of_fake, of_real))
    )
    return float(sum(each.min() for each in floors))


class Labels:
    """D's loss with labels that are not quite right.

    A sample with label y has the loss y as_real + (1 - y) as_fake: for the losses that are cross-entropies that is the
    cross-entropy with a soft label.

    Args:
        config: how soft and how noisy they are, on either side.
        objective: whose loss it is.
        batch_size: rows of what D says.

    Raises:
        ConfigError: the objective's loss is none of each sample alone.
    """

    def __init__(self, config: LabelsConfig, objective: Objective, batch_size: int) -> None:
        self._config, self._objective = config, objective
        self._used = config != LabelsConfig()
        self._flips = {"real": config.flip_real, "fake": config.flip_fake}
        self._shape = (batch_size, 1)
        if self._used and objective.terms is None:
            given = ", ".join(f"labels.{key}={value}" for key, value in config if value)
            raise ConfigError(
                f"labels must be left alone with an objective whose loss couples samples, but got {given}"
            )

    def draws(self) -> tuple[Draw, ...]:
        """Return the random tensors that a step needs: which labels are exchanged."""
        return tuple(Draw(name=f"flip_{x}", prior="unit", shape=self._shape) for x, p in self._flips.items() if p)

    def d_loss(
        self, on_real: Tensor, on_fake: Tensor, real: Tensor, fake: Tensor, batch: Mapping[str, Tensor]
    ) -> Float[Tensor, ""]:
        """Return D's mean loss.

        Args:
            on_real: what D says of real samples, [batch, 1].
            on_fake: what it says of generated ones, [batch, 1].
            real: what it saw.
            fake: likewise.
            batch: the step's tensors.
        """
        objective = self._objective
        if self._used and objective.terms is not None:
            as_real, as_fake = objective.terms
            is_real = self._label(1 - self._config.soft_real, "real", on_real, batch)
            is_fake = self._label(1 - self._config.soft_fake, "fake", on_fake, batch)
            of_real = is_real * as_real(on_real) + (1 - is_real) * as_fake(on_real)
            of_fake = is_fake * as_fake(on_fake) + (1 - is_fake) * as_real(on_fake)
            return of_real.mean() + of_fake.mean()
        given = {} if objective.margin is None else {"margin": objective.margin(real, fake)}
        value: Tensor = objective.d_loss(real=on_real, fake=on_fake, **given)
        return value

    def _label(self, right: float, side: str, like: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        label = like.new_full(like.shape, right)
        if not self._flips[side]:
            return label
        return label.where(batch[f"flip_{side}"] >= self._flips[side], 1 - label)
