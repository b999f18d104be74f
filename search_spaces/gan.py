"""GAN with the non-saturating loss: learning rates, beta1 and the updates of D for each of G.

Ranges are the wide ones of Lucic et al. 2018, "Are GANs Created Equal?", and the defaults are that study's. It shares
one learning rate between the players; here each player has its own. It draws beta1 from [0, 1]; Adam needs beta1 < 1,
so that range ends at 0.999.
"""

from search_spaces.declarations import Choice, Float, Space

GAN = Space(
    name="gan",
    summary="non-saturating GAN (Goodfellow et al. 2014)",
    source="Lucic et al. 2018, arXiv:1711.10337, wide ranges",
    fixed={"objective.name": "non_saturating", "penalty.name": "none", "clip": None},
    dims=(
        Float("optim.lr_d", 1e-5, 1e-2, log=True),
        Float("optim.lr_g", 1e-5, 1e-2, log=True),
        Float("optim.beta1", 0.0, 0.999),
        Choice("n_critic", (1, 5)),
    ),
    default={"optim.lr_d": 5e-5, "optim.lr_g": 5e-5, "optim.beta1": 0.0, "n_critic": 1},
)
