"""What batch statistics ask of a training."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainers.errors import ConfigError


def has_batch_norm(network: nn.Module) -> bool:
    """Whether what the network says of a sample depends on the others of its batch."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def refuse_lone_rows(networks: Iterable[nn.Module], rows: int) -> None:
    """Refuse a batch of which no statistics can be taken.

    Args:
        networks: that see such batches.
        rows: samples of a batch.

    Raises:
        ConfigError: a network normalises numbers of which a batch has one.
    """
    for network in networks:
        if rows == 1 and any(isinstance(module, nn.BatchNorm1d) for module in network.modules()):
            raise ConfigError("batch_size must be at least 2 with batch normalisation, but got batch_size=1")
