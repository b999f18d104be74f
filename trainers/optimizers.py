"""Optimizers with their learning rates' decay and decoupled weight decay."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.config import OptimConfig


def _adam(weights: Sequence[Tensor], lr: float, beta1: float, beta2: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(weights, lr=lr, betas=(beta1, beta2), fused=True)


def _rmsprop(weights: Sequence[Tensor], lr: float, beta1: float, beta2: float) -> torch.optim.Optimizer:
    # torch sums up momentum, to steps of lr / (1 - beta1) in the long run; averaged, beta1 means what it does to Adam.
    return torch.optim.RMSprop(weights, lr=lr * (1 - beta1), alpha=beta2, momentum=beta1)


def _sgd(weights: Sequence[Tensor], lr: float, beta1: float, _beta2: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(weights, lr=lr * (1 - beta1), momentum=beta1)


_OPTIMIZERS: dict[str, Callable[[Sequence[Tensor], float, float, float], torch.optim.Optimizer]] = {
    "adam": _adam,
    "rmsprop": _rmsprop,
    "sgd": _sgd,
}


def of_discriminator(optim: OptimConfig, weights: Sequence[Tensor], steps: int) -> dict[str, Any]:
    """Return the optimizer of D, and what is run before each of its steps, as a Player takes them."""
    made = _OPTIMIZERS[optim.name](weights, optim.lr_d, optim.beta1, optim.beta2)
    return {"optimizer": made, "before": _before(optim, optim.lr_d, weights, made, steps)}


def of_generator(optim: OptimConfig, weights: Sequence[Tensor], steps: int) -> dict[str, Any]:
    """Return the optimizer of G, and what is run before each of its steps, as a Player takes them."""
    beta1, beta2 = _first(optim.beta1_g, optim.beta1), _first(optim.beta2_g, optim.beta2)
    made = _OPTIMIZERS[optim.name](weights, optim.lr_g, beta1, beta2)
    return {"optimizer": made, "before": _before(optim, optim.lr_g, weights, made, steps)}


def _first(own: float | None, shared: float) -> float:
    return shared if own is None else own


def rate(optim: OptimConfig, step: int, steps: int) -> float:
    """Return what a learning rate is multiplied by at a step, in [0, 1].

    Args:
        optim: which decay.
        step: from 1 to `steps`.
        steps: the training's budget.
    """
    after = max(0, step - 1 - optim.decay_from)
    if optim.decay == "step":
        return optim.decay_factor ** (after // optim.decay_every)
    if optim.decay == "none":
        return 1.0
    done = after / max(1, steps - optim.decay_from)
    return 1 - done if optim.decay == "linear" else (1 + math.cos(math.pi * done)) / 2


def _before(
    optim: OptimConfig, lr: float, weights: Sequence[Tensor], made: torch.optim.Optimizer, steps: int
) -> Callable[[int], None]:
    if optim.decay == "none" and optim.weight_decay == 0:
        return lambda _: None

    full: float = made.param_groups[0]["lr"]

    def before(step: int) -> None:
        share = rate(optim, step, steps)
        made.param_groups[0]["lr"] = full * share  # a resumed optimizer has new groups
        if optim.weight_decay:
            with torch.no_grad():
                torch._foreach_mul_(list(weights), 1 - lr * share * optim.weight_decay)

    return before
