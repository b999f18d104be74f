"""Refuse a user's discriminator that cannot do what is asked of it; what is shipped is refused by its configuration."""

from __future__ import annotations

from torch import nn

from trainers.config import TrainConfig
from trainers.errors import ConfigError
from trainers.networks.batch import has_batch_norm
from trainers.objectives import Objective

BOUNDED = (nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid, nn.Tanh, nn.Hardtanh, nn.Softmax)


def refuse_unfit(config: TrainConfig, objective: Objective, discriminator: nn.Module) -> None:
    """Look at a discriminator before a step is trained, unless `static_checks` is warn.

    A critic's output has no bound: one that ends in a sigmoid saturates instead (Arjovsky et al. 2017, section 3). Only
    a layer that is a module, and was added last, is seen.

    Raises:
        ConfigError: it has batch statistics under a penalty on its gradients, or ends in a bounded layer as a critic.
    """
    if config.static_checks != "refuse":
        return
    mend = "; set static_checks to warn to train it all the same"
    if config.penalty.of_input_gradients and has_batch_norm(discriminator):
        raise ConfigError(
            f"penalty {config.penalty.name} needs a discriminator without batch normalisation, but network "
            f"{config.network.name} builds one with it{mend}"
        )
    layers = [module for module in discriminator.modules() if not any(True for _ in module.children())]
    if objective.unbounded and layers and isinstance(layers[-1], BOUNDED):
        raise ConfigError(
            f"objective {config.objective.name} needs a discriminator without bounds, but that of network "
            f"{config.network.name} ends in {type(layers[-1]).__name__}{mend}"
        )
