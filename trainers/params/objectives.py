"""Parameters of the shipped objectives."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from trainers.registry import Params

Divergence = Literal[
    "kl", "reverse_kl", "pearson", "neyman", "squared_hellinger", "jensen_shannon", "gan", "total_variation"
]


class LeastSquaresParams(Params):
    """What D is to say of fakes (a) and of real samples (b), and what G wants it to say of fakes (c) (Mao et al. 2017).

    The defaults are the paper's equation 9; a=-1, b=1, c=0 makes G minimise Pearson's chi squared (its equation 8).
    """

    name: Literal["least_squares"] = "least_squares"
    a: float = Field(0.0, ge=-100, le=100)
    b: float = Field(1.0, ge=-100, le=100)
    c: float = Field(1.0, ge=-100, le=100)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.a == self.b:
            raise ValueError(f"a and b must differ, or D has nothing to tell, but got a={self.a}, b={self.b}")
        return self


class FGanParams(Params):
    """An f-divergence, and G's loss (Nowozin et al. 2016).

    `strict` is the saddle point itself: G minimises -E f*(g_f(V)). `practical` maximises E g_f(V) on the fakes instead
    (section 3.2), which has the same stationary points. It is the default, as in the paper: the strict loss of most of
    the divergences has no gradient where D is sure of its fakes.
    """

    name: Literal["f_gan"] = "f_gan"
    divergence: Divergence = "pearson"
    generator: Literal["strict", "practical"] = "practical"


class EnergyParams(Params):
    """What objectives have whose D is an auto-encoder: the width of its code; its decoder is a G with D's norm."""

    code: int = Field(64, ge=1, le=65536)


class EbganParams(EnergyParams):
    """Energy-based GAN (Zhao et al. 2017).

    The energy is a mean over a sample's numbers, so `margin` does not grow with the image: the paper's 10 for MNIST is
    a norm, whose square is 0.13 a number of 784. With a margin above what an auto-encoder has that always answers 0 (at
    most 1 for images in [-1, 1]), D gains by energies that only senseless fakes have. `pretrain` steps at the start
    train D on real samples alone.
    """

    name: Literal["ebgan"] = "ebgan"
    margin: float = Field(0.1, gt=0, le=1e6)
    pull_away: float = Field(0.1, ge=0, le=1e6, description="weight of the pulling-away term; 0: none")
    pretrain: int = Field(0, ge=0, le=10**9)


class BeganParams(EnergyParams):
    """Boundary equilibrium GAN (Berthelot et al. 2017): `gamma` is E L(G(z)) / E L(x) at the equilibrium."""

    name: Literal["began"] = "began"
    gamma: float = Field(0.75, ge=0, le=1)
    lambda_k: float = Field(1e-3, ge=0, le=1)


class LossSensitiveParams(Params):
    """LS-GAN (Qi 2017): margins are `tau` times the L1 distance, a sum or a mean over a sample's numbers.

    The paper's code has `gamma` 0 and tau 2e-4 with the sum; on its images of 64 x 64 x 3 numbers that is 2.5 times the
    mean. With gamma > 0 D's output should be bounded from below, as by weight decay or a penalty.
    """

    name: Literal["loss_sensitive"] = "loss_sensitive"
    gamma: float = Field(0.0, ge=0, le=1e6, description="weight of E L(x)")
    tau: float = Field(1.0, gt=0, le=1e6)
    distance: Literal["mean", "sum"] = "mean"


class VaeParams(Params):
    """Variational auto-encoder (Kingma and Welling 2014): a Gaussian decoder of standard deviation `sigma`.

    `beta` weighs the KL term (Higgins et al. 2017); 1 is the paper's bound. The loss is in nats a number of a
    sample, so that its gradients do not grow with the image; `reconstruction` and `kl` are in nats a sample.
    """

    name: Literal["vae"] = "vae"
    beta: float = Field(1.0, ge=0, le=1e6)
    sigma: float = Field(0.5, gt=0, le=1e3)
