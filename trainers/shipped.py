"""The variants that come with this software: where each lies, and one line about it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Samples = Literal["images", "a Gaussian mixture"]


class Row(NamedTuple):
    """A shipped variant; `make` and `params` are module:attribute, `samples` as in `trainers.registry.Variant`."""

    name: str
    summary: str
    make: str
    params: str | None = None
    samples: Samples | None = None


OBJECTIVES = (
    Row(
        "non_saturating",
        "GAN whose generator maximises log D(G(z)) (Goodfellow et al. 2014)",
        "trainers.objectives.non_saturating:make",
    ),
    Row(
        "wasserstein",
        "Kantorovich-Rubinstein dual; wants clip or a penalty (Arjovsky et al. 2017)",
        "trainers.objectives.wasserstein:make",
    ),
)
PENALTIES = (
    Row("none", "no penalty", "trainers.penalties:make_none", "trainers.params.penalties:NoPenaltyParams"),
    Row(
        "gradient",
        "two-sided gradient penalty of WGAN-GP (Gulrajani et al. 2017)",
        "trainers.penalties:make_gradient",
        "trainers.params.penalties:GradientPenaltyParams",
    ),
)
NETWORKS = (
    Row(
        "mlp",
        "fully connected generator and discriminator",
        "trainers.networks.mlp:make",
        "trainers.params.networks:MlpParams",
    ),
    Row(
        "dcgan",
        "strided convolutions with batch normalisation (Radford et al. 2015)",
        "trainers.networks.dcgan:make",
        "trainers.params.networks:DcganParams",
    ),
)
DATA = (
    Row("digits", "1,797 scanned 8x8 digits that scikit-learn ships", "trainers.data.digits:make", samples="images"),
    Row(
        "mnist",
        "28x28 digits in MNIST's file format",
        "trainers.data.vision:make_mnist",
        "trainers.params.data:VisionParams",
        samples="images",
    ),
    Row(
        "fashion_mnist",
        "28x28 clothes in MNIST's file format",
        "trainers.data.vision:make_fashion_mnist",
        "trainers.params.data:VisionParams",
        samples="images",
    ),
    Row("ring8", "8 Gaussians on a circle", "trainers.data.mixtures:make_ring8", samples="a Gaussian mixture"),
    Row("grid25", "25 Gaussians on a 5x5 grid", "trainers.data.mixtures:make_grid25", samples="a Gaussian mixture"),
)
DETECTORS = (
    Row(
        "d_loss_zero",
        "the discriminator's loss stays at 0: it has won and teaches nothing",
        "trainers.stability.detectors:make_d_loss_zero",
        "trainers.params.detectors:DLossZeroParams",
    ),
    Row(
        "exploding_gradient",
        "a player's gradient norm stays above 100",
        "trainers.stability.detectors:make_exploding_gradient",
        "trainers.params.detectors:ExplodingGradientParams",
    ),
    Row(
        "non_finite",
        "a signal is NaN or infinite",
        "trainers.stability.detectors:make_non_finite",
        "trainers.params.detectors:NonFiniteParams",
    ),
)
METRICS = (
    Row(
        "frechet",
        "Frechet distance on features of a small classifier of the data set",
        "trainers.evaluation.images:make_frechet",
        samples="images",
    ),
    Row(
        "mixture_kl",
        "reverse KL over modes and low-quality samples of a Gaussian mixture",
        "trainers.evaluation.mixtures:make_mixture_kl",
        samples="a Gaussian mixture",
    ),
)

SHIPPED: dict[str, tuple[Row, ...]] = {
    "objective": OBJECTIVES,
    "penalty": PENALTIES,
    "network": NETWORKS,
    "data": DATA,
    "detector": DETECTORS,
    "metric": METRICS,
}
