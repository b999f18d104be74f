"""The variants that come with this software: where each lies, and one line about it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Samples = Literal["images", "stacked digits", "points", "a Gaussian mixture"]


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
    Row(
        "minimax",
        "GAN whose generator minimises log(1 - D(G(z))), which saturates (Goodfellow et al. 2014)",
        "trainers.objectives.minimax:make",
    ),
    Row(
        "maximum_likelihood",
        "GAN whose generator follows the likelihood's gradient (Goodfellow 2016)",
        "trainers.objectives.maximum_likelihood:make",
    ),
    Row(
        "least_squares",
        "squared distance of D's output to labels, LSGAN (Mao et al. 2017)",
        "trainers.objectives.least_squares:make",
        "trainers.params.objectives:LeastSquaresParams",
    ),
    Row(
        "hinge",
        "soft-margin discriminator (Lim and Ye 2017)",
        "trainers.objectives.hinge:make",
    ),
    Row(
        "f_gan",
        "variational bound of one of eight f-divergences (Nowozin et al. 2016)",
        "trainers.objectives.f_gan:make",
        "trainers.params.objectives:FGanParams",
    ),
    Row(
        "relativistic",
        "D compares a real with a generated sample, RpGAN (Jolicoeur-Martineau 2018)",
        "trainers.objectives.relativistic:make",
    ),
    Row(
        "ebgan",
        "auto-encoder as discriminator, with a margin (Zhao et al. 2017)",
        "trainers.objectives.ebgan:make",
        "trainers.params.objectives:EbganParams",
    ),
    Row(
        "began",
        "auto-encoder as discriminator, kept in balance (Berthelot et al. 2017)",
        "trainers.objectives.began:make",
        "trainers.params.objectives:BeganParams",
    ),
    Row(
        "loss_sensitive",
        "margins as wide as samples are apart, LS-GAN (Qi 2017)",
        "trainers.objectives.loss_sensitive:make",
        "trainers.params.objectives:LossSensitiveParams",
    ),
    Row(
        "vae",
        "variational auto-encoder, no discriminator (Kingma and Welling 2014)",
        "trainers.vae:make",
        "trainers.params.objectives:VaeParams",
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
    Row(
        "gradient_one_sided",
        "gradient penalty on slopes above 1 alone (Gulrajani et al. 2017)",
        "trainers.penalties:make_gradient_one_sided",
        "trainers.params.penalties:OneSidedPenaltyParams",
    ),
    Row(
        "r1",
        "zero-centred gradient penalty on real samples (Mescheder et al. 2018)",
        "trainers.penalties:make_r1",
        "trainers.params.penalties:R1PenaltyParams",
    ),
    Row(
        "r2",
        "zero-centred gradient penalty on generated samples (Mescheder et al. 2018)",
        "trainers.penalties:make_r2",
        "trainers.params.penalties:R2PenaltyParams",
    ),
    Row(
        "r1_r2",
        "zero-centred gradient penalty on real and on generated samples (Huang et al. 2024)",
        "trainers.penalties:make_r1_r2",
        "trainers.params.penalties:R1R2PenaltyParams",
    ),
    Row(
        "dragan",
        "two-sided gradient penalty around real samples (Kodali et al. 2017)",
        "trainers.penalties:make_dragan",
        "trainers.params.penalties:DraganPenaltyParams",
    ),
    Row(
        "l2",
        "squared weights of D (Kurach et al. 2019)",
        "trainers.penalties:make_l2",
        "trainers.params.penalties:L2PenaltyParams",
    ),
)
NETWORKS = tuple(
    Row(name, summary, f"trainers.networks.{name}:make", f"trainers.params.networks:{name.title()}Params")
    for name, summary in (
        ("mlp", "fully connected generator and discriminator"),
        ("dcgan", "strided convolutions with batch normalisation (Radford et al. 2015)"),
        ("resnet", "residual blocks with ReLU (Gulrajani et al. 2017, Miyato et al. 2018)"),
        ("dirac", "a generator of one point and a discriminator of one slope (Mescheder et al. 2018)"),
        ("pacgan", "fully connected, with batch normalisation in G and maxout in D (Lin et al. 2018)"),
    )
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
    Row(
        "kmnist",
        "28x28 cursive Japanese characters in MNIST's file format",
        "trainers.data.vision:make_kmnist",
        "trainers.params.data:VisionParams",
        samples="images",
    ),
    Row(
        "cifar10",
        "32x32 coloured things and animals, from CIFAR-10's binary version",
        "trainers.data.vision:make_cifar10",
        "trainers.params.data:VisionParams",
        samples="images",
    ),
    Row(
        "svhn",
        "32x32 coloured house numbers",
        "trainers.data.vision:make_svhn",
        "trainers.params.data:VisionParams",
        samples="images",
    ),
    Row(
        "celeba",
        "182,732 aligned faces, cut to squares",
        "trainers.data.celeba:make",
        "trainers.params.data:CelebaParams",
        samples="images",
    ),
    Row(
        "image_folder",
        "a folder of images of your own, or of one folder a class",
        "trainers.data.folder:make",
        "trainers.params.data:FolderParams",
        samples="images",
    ),
    Row(
        "parquet",
        "images of your own in Parquet shards, larger than memory",
        "trainers.data.parquet:make",
        "trainers.params.data:ParquetParams",
        samples="images",
    ),
    Row(
        "stacked_digits",
        "three digits as the channels of one image: 1,000 modes",
        "trainers.data.stacked:make",
        "trainers.params.data:StackedDigitsParams",
        samples="stacked digits",
    ),
    Row(
        "polygons",
        "28x28 filled convex polygons, triangles by default",
        "trainers.data.polygons:make",
        "trainers.params.data:PolygonsParams",
        samples="images",
    ),
    Row("ring8", "8 Gaussians on a circle", "trainers.data.mixtures:make_ring8", samples="a Gaussian mixture"),
    Row("grid25", "25 Gaussians on a 5x5 grid", "trainers.data.mixtures:make_grid25", samples="a Gaussian mixture"),
    Row("swiss_roll", "a noisy spiral in the plane", "trainers.data.points:make_swiss_roll", samples="points"),
    Row(
        "gaussian_1200d",
        "10 Gaussians in 1,200 dimensions, after VEEGAN",
        "trainers.data.points:make_gaussian_1200d",
        samples="a Gaussian mixture",
    ),
    Row("dirac", "all mass at 0 in one dimension", "trainers.data.points:make_dirac", samples="points"),
)
_DETECTORS = {
    "non_finite": "a signal is NaN or infinite",
    "d_loss_zero": "the discriminator's loss stays at 0: it has won and teaches nothing",
    "exploding_gradient": "a player's gradient norm stays above 100",
    "vanishing_generator_gradient": "D tells nearly all samples, and G's gradient is nothing",
    "d_loss_spiking": "D's loss has many spikes",
    "generator_fooling": "G's loss falls steadily, D is wrong, and the samples are no better",
    "oscillation": "D(x) - D(G(z)) goes round in a lasting period",
    "stagnation": "the score stays no better than the untrained generator's",
    "clip_saturation": "nearly all of D's weights lie at the clip",
    "layer_gradient_blowup": "gradients grow or shrink by decades over a network's depth",
    "lipschitz_violation": "a penalty does not hold D's gradient norm at its target",
    "critic_overfit": "D's advantage on training data is not there on held-out data",
    "critic_drift": "D's mean output is above 1,000 in size",
    "mode_collapse": "fakes are all but the same sample",
    "mode_dropping": "parts of the held-out data have all but no fakes",
    "spectral_collapse": "a top singular value of G jumps",
    "memorisation": "fakes are copies of the training data",
}
DETECTORS = tuple(
    Row(
        name,
        summary,
        f"trainers.stability.detectors.{name}:make",
        f"trainers.params.detectors:{name.title().replace('_', '')}Params",
    )
    for name, summary in _DETECTORS.items()
)
METRICS = (
    Row(
        "frechet",
        "Frechet distance on features of a small classifier of the data set",
        "trainers.evaluation.images:make_frechet",
        samples="images",
    ),
    Row(
        "kernel",
        "kernel distance (MMD) on features of a small classifier of the data set",
        "trainers.evaluation.images:make_kernel",
        samples="images",
    ),
    Row("energy_distance", "energy distance, for any data", "trainers.evaluation.energy:make_energy_distance"),
    Row(
        "mixture_kl",
        "reverse KL over modes and low-quality samples of a Gaussian mixture",
        "trainers.evaluation.mixtures:make_mixture_kl",
        samples="a Gaussian mixture",
    ),
    Row(
        "sliced_wasserstein",
        "Wasserstein-1 distance along random directions, for any data",
        "trainers.evaluation.sliced:make_sliced_wasserstein",
    ),
    Row(
        "stacked_modes",
        "reverse KL over the 1,000 modes of stacked digits",
        "trainers.evaluation.stacked:make_stacked_modes",
        samples="stacked digits",
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
