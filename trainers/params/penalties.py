"""Parameters of the shipped penalties."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from trainers.registry import Params


class PenaltyParams(Params):
    """A penalty is computed every `every` D updates, and weighs that much more (Karras et al. 2020, appendix B).

    The optimizer's rate and betas are not adjusted to it, as that appendix does for StyleGAN2.

    Attributes:
        of_input_gradients: whether it looks at D's gradient with respect to each sample, which batch statistics spoil.
        target: the norm of that gradient that it pulls D to, or None.
    """

    of_input_gradients: ClassVar[bool] = True
    target: ClassVar[float | None] = None

    every: int = Field(1, ge=1, le=1000)


class NoPenaltyParams(PenaltyParams):
    """Nothing to set."""

    of_input_gradients: ClassVar[bool] = False

    name: Literal["none"] = "none"
    every: Literal[1] = 1


class WeightedPenaltyParams(PenaltyParams):
    """What all shipped penalties have: a weight."""

    lambda_: float = Field(10.0, alias="lambda", ge=0)


class GradientPenaltyParams(WeightedPenaltyParams):
    """lambda E[(|grad_x D(x)|_2 - 1)^2] (Gulrajani et al. 2017, eq. 3)."""

    target: ClassVar[float | None] = 1.0

    name: Literal["gradient"] = "gradient"


class OneSidedPenaltyParams(WeightedPenaltyParams):
    """lambda E[max(0, |grad_x D(x)|_2 - 1)^2] (Gulrajani et al. 2017, section 4)."""

    target: ClassVar[float | None] = 1.0

    name: Literal["gradient_one_sided"] = "gradient_one_sided"


class R1PenaltyParams(WeightedPenaltyParams):
    """lambda / 2 E[|grad_x D(x)|^2] on real samples (Mescheder et al. 2018, eq. 9, where lambda is called gamma)."""

    name: Literal["r1"] = "r1"


class R2PenaltyParams(WeightedPenaltyParams):
    """lambda / 2 E[|grad_x D(x)|^2] on generated samples (Mescheder et al. 2018, eq. 10)."""

    name: Literal["r2"] = "r2"


class R1R2PenaltyParams(WeightedPenaltyParams):
    """lambda / 2 (E[|grad_x D(x)|^2] + E[|grad_x D(G(z))|^2]), both together (Huang et al. 2024, R3GAN)."""

    name: Literal["r1_r2"] = "r1_r2"


class DraganPenaltyParams(WeightedPenaltyParams):
    """lambda E[(|grad_x D(x)|_2 - 1)^2] around real samples (Kodali et al. 2017)."""

    target: ClassVar[float | None] = 1.0

    name: Literal["dragan"] = "dragan"


class L2PenaltyParams(WeightedPenaltyParams):
    """lambda times the mean over D's layers of |W|^2 / 2, without biases and norms (Kurach et al. 2019)."""

    of_input_gradients: ClassVar[bool] = False

    name: Literal["l2"] = "l2"
    lambda_: float = Field(0.01, alias="lambda", ge=0)
