"""Refuse, before a step is trained, what is known not to work."""

from __future__ import annotations

from collections.abc import Iterator

from trainers.config import TrainConfig
from trainers.stability.events import Event

NON_SMOOTH = "elu"  # its second derivative jumps at 0
REFUSED = {"refuse": ", or static_checks to warn", "warn": " (trained all the same, by static_checks=warn)"}


def refusals(config: TrainConfig) -> tuple[Event, ...]:
    """Return an event at step 0 for every static rule that a configuration breaks."""
    return tuple(_batch_norm(config)) + tuple(_non_smooth(config))


def _batch_norm(config: TrainConfig) -> Iterator[Event]:
    # A gradient penalty is defined for each sample alone, and batch normalisation makes D's output on one sample
    # depend on the others (Gulrajani et al. 2017, section 4).
    normed = _batch_norms(config)
    if not config.penalty.of_input_gradients or not normed:
        return
    yield Event(
        kind="refused_batch_norm_in_penalised_critic",
        step=0,
        severity=1.0,
        action="stop" if config.static_checks == "refuse" else "warn",
        evidence={"penalty": config.penalty.name, **dict.fromkeys(normed, "batch")},
        message=(
            "a gradient penalty needs a discriminator without batch normalisation: "
            f"set {' and '.join(normed)} to layer or none{REFUSED[config.static_checks]}"
        ),
    )


def _non_smooth(config: TrainConfig) -> Iterator[Event]:
    # A gradient penalty is trained by D's second derivatives, and those of the ELU jump: WGAN-GP's authors use
    # softplus(2x + 2) / 2 - 1 instead (Gulrajani et al. 2017, section 5.1). It trains all the same, and is only told.
    if not config.penalty.of_input_gradients or getattr(config.network, "activation", None) != NON_SMOOTH:
        return
    yield Event(
        kind="warned_non_smooth_activation_in_penalised_critic",
        step=0,
        severity=0.1,
        action="warn",
        evidence={"penalty": config.penalty.name, "network.activation": NON_SMOOTH},
        message="a gradient penalty is trained by second derivatives, and those of ELU jump: softplus_elu's do not",
    )


def _batch_norms(config: TrainConfig) -> list[str]:
    """Return the settings that put batch statistics into D."""
    return ["network.norm_d"] if getattr(config.network, "norm_d", None) == "batch" else []
