"""Penalty and normalisation of D, chosen together: Kurach et al. 2019, "A Large-Scale Study on Regularization".

Ranges are those of that study ("The GAN Landscape"), and each branch's default is a setting that it published: Adam
2e-4 (0.5, 0.999) with one D update, spectral normalisation, and lambda 10 with the gradient penalty (its best CIFAR-10
settings), lambda 0.01 with the L2 penalty (compare_gan, branch v2). One learning rate is shared: `optim.lr_g` follows
`optim.lr_d` unless it is set. It draws both betas from [0, 1]; Adam needs less than 1, so those ranges end at 0.999.

A branch has a penalty's own lambda, so the penalty is the branch, and the norm is a dimension of each. Batch
normalisation in a critic with a gradient penalty, which the study tries too, is only warned of. Steps, the number of
samples that are scored (there 10,000), loss and network are the user's: the study has the non-saturating, least-squares
and Wasserstein loss, and strided and residual convolutions.
"""

from __future__ import annotations

from typing import Any

from search_spaces.declarations import Choice, Dim, Float, Scalar, Space, Union

SOURCE = "Kurach et al. 2019, arXiv:1807.04720"
PROTOCOL: dict[str, Any] = {"optim.name": "adam", "batch_size": 64, "latent.size": 128, "clip": None, "ema": 0.0}
COMMON: tuple[Dim, ...] = (
    Float("optim.lr_d", 1e-5, 1e-2, log=True),
    Float("optim.beta1", 0.0, 0.999),
    Float("optim.beta2", 0.0, 0.999),
    Choice("n_critic", (1, 5)),
    Choice("network.norm_d", ("none", "batch", "layer", "spectral")),
)
DEFAULT: dict[str, Scalar] = {
    "optim.lr_d": 2e-4,
    "optim.beta1": 0.5,
    "optim.beta2": 0.999,
    "n_critic": 1,
    "network.norm_d": "spectral",
}


def _branch(name: str, summary: str, own: tuple[Float, ...] = (), **default: float) -> Space:
    return Space(
        name=name,
        summary=summary,
        source=SOURCE,
        fixed={**PROTOCOL, "penalty": name, **({"static_checks": "warn"} if name == "gradient" else {})},
        dims=(*COMMON, *own),
        default={**DEFAULT, **{f"penalty.{key}": value for key, value in default.items()}},
        tied={"optim.lr_g": "optim.lr_d"},
    )


LANDSCAPE = Union(
    name="landscape",
    summary="no penalty, a gradient penalty or L2, each with a norm of D: the search chooses which",
    source=SOURCE,
    spaces=(
        _branch("none", "no penalty"),
        _branch("gradient", "gradient penalty", (Float("penalty.lambda", 0.1, 100.0, log=True),), **{"lambda": 10.0}),
        _branch("l2", "squared weights of D", (Float("penalty.lambda", 1e-4, 10.0, log=True),), **{"lambda": 0.01}),
    ),
)
