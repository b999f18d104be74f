"""What D sees of samples: augmented, with noise, in packs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import torch

from trainers.config import AugmentConfig, TrainConfig
from trainers.draws import Draw, every_step
from trainers.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

IMAGE_DIMS = 3
Role = Literal["real", "d", "g"]  # whose samples: the data's, those of D's update, those of G's


class Lens:
    """Everything that stands between samples and D.

    Args:
        config: of the training.
        shape: of one sample.
        g_due: whether G's samples are seen at a step; None where both players see the same ones.

    Raises:
        ConfigError: samples that are no images are to be augmented.
    """

    def __init__(self, config: TrainConfig, shape: tuple[int, ...], g_due: Callable[[int], bool] | None) -> None:
        self._shape, self._pack = shape, config.pack
        self._noise, self._augment = config.instance_noise, config.augment
        self._rows = config.batch_size * config.pack
        self._g_due = g_due
        self._augments = self._augment != AugmentConfig()
        if self._augments and len(shape) != IMAGE_DIMS:
            raise ConfigError(f"augment must not be set with samples that are no images, but got {self._augment}")

    @property
    def packed(self) -> tuple[int, ...]:
        """Return the shape of what D is shown at a time."""
        return (self._shape[0] * self._pack, *self._shape[1:])

    def draws(self) -> tuple[Draw, ...]:
        """Return the random tensors that a step needs."""
        found: list[Draw] = []
        shape = (self._rows, *self._shape)
        for role in ("real", "d") if self._g_due is None else ("real", "d", "g"):
            due = self._g_due if role == "g" and self._g_due is not None else every_step
            if self._noise.std:
                found.append(Draw(name=f"noise_{role}", prior="normal", shape=shape, due=self._noisy(due)))
            if self._augments:
                found.append(Draw(name=f"augment_{role}", prior="unit", shape=(self._rows, 4), due=due))
        return tuple(found)

    def __call__(
        self, samples: Float[Tensor, "rows *shape"], role: Role, batch: Mapping[str, Tensor], step: int
    ) -> Tensor:
        """Return what D sees of samples, [batch, *packed]; differentiable."""
        if role == "g" and self._g_due is None:
            role = "d"
        if self._augments:
            samples = translated(samples, batch[f"augment_{role}"][:, :2], self._augment.translation)
            samples = cut_out(samples, batch[f"augment_{role}"][:, 2:], self._augment.cutout)
        std = self._std(step)
        if std:
            samples = samples + std * batch[f"noise_{role}"]
        return samples.reshape(-1, *self.packed)

    def _noisy(self, due: Callable[[int], bool]) -> Callable[[int], bool]:
        return lambda step: due(step) and self._std(step) > 0

    def _std(self, step: int) -> float:
        left = 1.0 if not self._noise.decay_steps else max(0.0, 1 - (step - 1) / self._noise.decay_steps)
        return self._noise.std * left


def _pixels(share: float, side: int) -> int:
    return math.floor(share * side + 0.5)


def translated(images: Float[Tensor, "n c h w"], unit: Float[Tensor, "n 2"], share: float) -> Tensor:
    """Shift each image by whole pixels, up to `share` of a side, and fill up with 0 (Zhao et al. 2020, section 3).

    Args:
        images: of any range.
        unit: from U(0, 1), two an image: down and to the right.
        share: of a side, from 0 to 1.
    """
    for axis, side in ((2, images.shape[2]), (3, images.shape[3])):
        reach = _pixels(share, side)
        shift = (unit[:, axis - 2, None] * (2 * reach + 1)).floor().clamp(max=2 * reach) - reach
        source = (torch.arange(side, device=images.device) - shift).long()  # [n, side]
        inside = ((source >= 0) & (source < side)).to(images.dtype)
        form = (-1, 1, side, 1) if axis == 2 else (-1, 1, 1, side)  # noqa: PLR2004 - height
        index = source.clamp(0, side - 1).view(form).expand_as(images)
        images = images.gather(axis, index) * inside.view(form)
    return images


def cut_out(images: Float[Tensor, "n c h w"], unit: Float[Tensor, "n 2"], share: float) -> Tensor:
    """Set a rectangle with `share` of each side to 0, its middle drawn anywhere (Zhao et al. 2020, section 3).

    Args:
        images: of any range.
        unit: from U(0, 1), two an image: the middle's place along the height and the width.
        share: of a side, from 0 to 1.
    """
    hidden = torch.ones((), device=images.device)
    for axis, side in ((2, images.shape[2]), (3, images.shape[3])):
        length = _pixels(share, side)
        places = side + 1 - length % 2  # those of the middle: as many to the left of the image's as to its right
        begin = (unit[:, axis - 2, None] * places).floor().clamp(max=places - 1) - length // 2
        away = torch.arange(side, device=images.device) - begin
        covered = ((away >= 0) & (away < length)).to(images.dtype)
        hidden = hidden * covered.view((-1, 1, side, 1) if axis == 2 else (-1, 1, 1, side))  # noqa: PLR2004 - height
    return images * (1 - hidden)
