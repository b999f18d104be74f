"""The four numbers that decide most about a Wasserstein GAN: learning rates, critic updates, and clip or lambda.

Ranges are the wide ones of Lucic et al. 2018, "Are GANs Created Equal?", and the defaults are that study's. It shares
one learning rate between the players; here each player has its own. The optimizer and its betas are the user's.
"""

from search_spaces.declarations import Choice, Dim, Float, Space, Union

SOURCE = "Lucic et al. 2018, arXiv:1711.10337, wide ranges"
COMMON: tuple[Dim, ...] = (
    Float("optim.lr_d", 1e-5, 1e-2, log=True),
    Float("optim.lr_g", 1e-5, 1e-2, log=True),
    Choice("n_critic", (1, 5)),
)

CLIPPED = Space(
    name="clip",
    summary="Wasserstein GAN with weight clipping (Arjovsky et al. 2017)",
    source=SOURCE,
    fixed={"objective": "wasserstein", "penalty": "none"},
    dims=(*COMMON, Float("clip", 1e-3, 1.0, log=True)),
    default={"optim.lr_d": 5e-5, "optim.lr_g": 5e-5, "n_critic": 5, "clip": 0.01},
)
PENALISED = Space(
    name="lambda",
    summary="Wasserstein GAN with a gradient penalty (Gulrajani et al. 2017)",
    source=SOURCE,
    fixed={"objective": "wasserstein", "penalty": "gradient", "clip": None},
    dims=(*COMMON, Float("penalty.lambda", 0.1, 100.0, log=True)),
    default={"optim.lr_d": 1e-4, "optim.lr_g": 1e-4, "n_critic": 5, "penalty.lambda": 10.0},
)
NOTES = Union(
    name="notes",
    summary="learning rates, critic updates, and clip or penalty of a Wasserstein GAN, and nothing else",
    source=SOURCE,
    spaces=(CLIPPED, PENALISED),
)
