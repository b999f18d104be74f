"""Parameters of the shipped penalties."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainers.registry import Params


class PenaltyParams(Params):
    """A penalty is computed every `every` D updates, and weighs that much more (Karras et al. 2020, appendix B)."""

    every: int = Field(1, ge=1, le=1000)


class NoPenaltyParams(PenaltyParams):
    """Nothing to set."""

    name: Literal["none"] = "none"
    every: Literal[1] = 1


class GradientPenaltyParams(PenaltyParams):
    """lambda E[(|grad_x D(x)|_2 - 1)^2] (Gulrajani et al. 2017, eq. 3)."""

    name: Literal["gradient"] = "gradient"
    lambda_: float = Field(10.0, alias="lambda", ge=0)
