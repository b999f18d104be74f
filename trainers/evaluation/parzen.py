"""Log-likelihood under a kernel density estimate of the samples: a number to be wary of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.evaluation.pairs import blocks, rows_of

BANDWIDTHS = tuple(float(10**power) for power in np.linspace(-1, 0, 10))  # those of Goodfellow et al. 2014's code


def parzen(
    samples: NDArray[Any], validation: NDArray[Any], test: NDArray[Any], bandwidths: Sequence[float] = BANDWIDTHS
) -> dict[str, float]:
    """Return the mean log-likelihood of test data under Gaussians at the samples (Breuleux et al. 2011).

    It says little of how samples look: it depends on bandwidth and number of samples, and ranks blurred means above
    the data themselves (Theis et al. 2016, section 3.2). It is here to be compared with published figures.

    Args:
        samples: generated, [n, d], finite.
        validation: [m, d], by which the bandwidth is chosen, not that by which it is judged.
        test: [k, d].
        bandwidths: positive standard deviations to choose from.

    Returns:
        parzen: nats a row of the test data. parzen_error: its standard error over the test data. bandwidth: the one
            that was chosen; at either end of those given it is likely to be a poor one.
    """
    at, chosen_by, judged = rows_of(samples, validation, test)
    best = max(bandwidths, key=lambda bandwidth: float(log_density(chosen_by, at, bandwidth).mean()))
    found = log_density(judged, at, best)
    error = float(found.std()) / math.sqrt(len(found))
    return {"parzen": float(found.mean()), "parzen_error": error, "bandwidth": best}


def log_density(rows: Tensor, centres: Tensor, bandwidth: float) -> Tensor:
    """Return log mean_i N(row; centre_i, bandwidth^2 I) of each row, [n]."""
    scale = math.log(len(centres)) + centres.shape[1] * math.log(bandwidth * math.sqrt(2 * math.pi))
    found = [torch.logsumexp(-(far**2) / (2 * bandwidth**2), dim=1) for _, far in blocks(rows, centres)]
    return torch.cat(found) - scale
