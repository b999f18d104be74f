"""The ranges of Lucic et al. 2018, "Are GANs Created Equal?", for its eight models: `lucic_wide` and `lucic_narrow`.

Source of every range and default: that study's code, compare_gan, branch v1, `params.py`; the wide ranges are those of
its first phase (100 random samples), the narrow ones of its second (50).

What the study fixes is fixed: Adam, 64 samples a batch, 64 latent numbers from U(-1, 1), and one learning rate, which
is `optim.lr_d` here and from which `optim.lr_g` follows unless it is set; nothing is averaged. What is not as there:

* How long a model is trained, and on how many samples it is scored (there 10,000), are the user's.
* It draws beta1 from [0, 1]; Adam needs beta1 < 1, so that range ends at 0.999.
* Its published defaults lie outside of its narrow ranges (the GAN's learning rate is 5e-5, WGAN has 5 critic updates):
  there the default is the nearest value within.
* Whether D has batch normalisation is a dimension, so the network is fixed to one for images that has this choice:
  dcgan, where the study has InfoGAN's. With a penalty that is known not to be sound (Gulrajani et al. 2017, section 4),
  and `static_checks` warns instead of refusing.
* BEGAN's D has batch normalisation in both halves or in none, as there.
* The study's LSGAN compares the logistic of D's output with 0 and 1; `least_squares` compares the output itself.
* Its images lie in [0, 1], here in [-1, 1], so that one lambda belongs to slopes of half the size; it adds 1e-4 under a
  slope's root, and DRAGAN's points have one weight for all, and stay in [0, 1].
* The VAE's prior is N(0, 1), which its KL term needs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from search_spaces.declarations import Choice, Dim, Float, Scalar, Space


class _Range(NamedTuple):
    """A key's wide and narrow range; one with a single value is fixed."""

    wide: Dim
    narrow: Dim


class _Model(NamedTuple):
    """A model: what it is, what of it is searched, and the published value of each of these keys."""

    name: str
    summary: str
    fixed: dict[str, Any]
    ranges: tuple[_Range, ...]
    default: tuple[Scalar, ...]


SOURCE = "Lucic et al. 2018, arXiv:1711.10337, {} ranges"
PROTOCOL = {"network.name": "dcgan", "optim.name": "adam", "batch_size": 64, "latent.size": 64, "ema": 0.0}
ONE_RATE = {"optim.lr_g": "optim.lr_d"}

LR = _Range(Float("optim.lr_d", 1e-5, 1e-2, log=True), Float("optim.lr_d", 1e-4, 1e-3, log=True))
BETA1 = _Range(Float("optim.beta1", 0.0, 0.999), Choice("optim.beta1", (0.5,)))
D_UPDATES = _Range(Choice("n_critic", (1, 5)), Choice("n_critic", (1,)))
NORM = _Range(Choice("network.norm_d", ("batch", "none")), Choice("network.norm_d", ("batch", "none")))
NORM_OR_PENALTY = _Range(Choice("network.norm_d", ("batch", "none")), Choice("network.norm_d", ("none",)))
CLIP = _Range(Float("clip", 1e-3, 1.0, log=True), Float("clip", 1e-2, 1.0, log=True))
LAMBDA = _Range(Float("penalty.lambda", 0.1, 100.0, log=True), Float("penalty.lambda", 0.1, 10.0, log=True))
LAMBDA_K = _Range(Float("objective.lambda_k", 1e-4, 1e-2, log=True), Choice("objective.lambda_k", (1e-3,)))
GAMMA = _Range(Float("objective.gamma", 0.0, 1.0), Float("objective.gamma", 0.6, 0.9))

GAME = {"latent.prior": "uniform", "penalty": "none", "clip": None}
PENALISED = {"latent.prior": "uniform", "clip": None, "static_checks": "warn"}
COMMON = (LR, BETA1, D_UPDATES, NORM)
WITH_PENALTY = (LR, BETA1, D_UPDATES, NORM_OR_PENALTY, LAMBDA)

MODELS = (
    _Model(
        "gan",
        "non-saturating GAN (Goodfellow et al. 2014)",
        {**GAME, "objective": "non_saturating"},
        COMMON,
        (5e-5, 0.0, 1, "batch"),
    ),
    _Model(
        "minimax",
        "minimax GAN (Goodfellow et al. 2014)",
        {**GAME, "objective": "minimax"},
        COMMON,
        (5e-5, 0.0, 1, "batch"),
    ),
    _Model(
        "lsgan",
        "least-squares GAN (Mao et al. 2017)",
        {**GAME, "objective": "least_squares"},
        COMMON,
        (2e-4, 0.5, 1, "batch"),
    ),
    _Model(
        "wgan",
        "Wasserstein GAN with weight clipping (Arjovsky et al. 2017)",
        {"latent.prior": "uniform", "objective": "wasserstein", "penalty": "none"},
        (*COMMON, CLIP),
        (5e-5, 0.5, 5, "batch", 0.01),
    ),
    _Model(
        "wgan_gp",
        "Wasserstein GAN with a gradient penalty (Gulrajani et al. 2017)",
        {**PENALISED, "objective": "wasserstein", "penalty": "gradient"},
        WITH_PENALTY,
        (1e-4, 0.5, 5, "none", 10.0),
    ),
    _Model(
        "dragan",
        "GAN with a gradient penalty around the data (Kodali et al. 2017)",
        {**PENALISED, "objective": "non_saturating", "penalty": "dragan"},
        WITH_PENALTY,
        (1e-4, 0.5, 1, "batch", 10.0),
    ),
    _Model(
        "began",
        "boundary equilibrium GAN (Berthelot et al. 2017)",
        {**GAME, "objective": "began"},
        (*COMMON, LAMBDA_K, GAMMA),
        (1e-4, 0.5, 5, "none", 1e-3, 0.75),
    ),
    _Model(
        "vae",
        "variational auto-encoder (Kingma and Welling 2014)",
        {"latent.prior": "normal", "penalty": "none", "clip": None, "n_critic": 1, "objective": "vae"},
        (LR, BETA1),
        (5e-5, 0.5),
    ),
)


def _nearest(dim: Dim, value: Any) -> Scalar:
    """Return the value, or the one nearest to it that a dimension has."""
    if isinstance(dim, Float):
        return min(max(float(value), dim.low), dim.high)
    return value if value in dim.options else dim.options[0]


def _space(model: _Model, width: str, dims: tuple[Dim, ...]) -> Space:
    default = {dim.key: _nearest(dim, value) for dim, value in zip(dims, model.default, strict=True)}
    single = {dim.key: dim.options[0] for dim in dims if isinstance(dim, Choice) and len(dim.options) == 1}
    searched = tuple(dim for dim in dims if dim.key not in single)
    return Space(
        name=f"lucic_{width}/{model.name}",
        summary=f"{model.summary}, on images",
        source=SOURCE.format(width),
        fixed={**PROTOCOL, **model.fixed, **single},
        dims=searched,
        default={dim.key: default[dim.key] for dim in searched},
        tied=ONE_RATE,
    )


LUCIC = (
    *(_space(model, "wide", tuple(range_.wide for range_ in model.ranges)) for model in MODELS),
    *(_space(model, "narrow", tuple(range_.narrow for range_ in model.ranges)) for model in MODELS),
)
