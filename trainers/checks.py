"""Refuse, before a step is trained, what is known not to work."""

from __future__ import annotations

from trainers.config import TrainConfig
from trainers.stability.events import Event


def refusals(config: TrainConfig) -> tuple[Event, ...]:
    """Return an event at step 0 for every static rule that a configuration breaks.

    A gradient penalty is defined for each sample alone, and batch normalisation makes D's output on one sample depend
    on the others (Gulrajani et al. 2017, section 4).
    """
    normed = _batch_norms(config)
    if not config.penalty.of_input_gradients or not normed:
        return ()
    return (
        Event(
            kind="refused_batch_norm_in_penalised_critic",
            step=0,
            severity=1.0,
            action="stop" if config.static_checks == "refuse" else "warn",
            evidence={"penalty": config.penalty.name, **dict.fromkeys(normed, "batch")},
            message=(
                "a gradient penalty needs a discriminator without batch normalisation: "
                f"set {' and '.join(normed)} to layer or none, or static_checks to warn"
            ),
        ),
    )


def _batch_norms(config: TrainConfig) -> list[str]:
    """Return the settings that put batch statistics into D."""
    return ["network.norm_d"] if getattr(config.network, "norm_d", None) == "batch" else []
