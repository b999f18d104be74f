"""WGAN whose critic is kept Lipschitz by clipping its weights: the dimensions of `gan`, and the clip.

Ranges are the wide ones of Lucic et al. 2018, "Are GANs Created Equal?", and the defaults are that study's, with Adam
(Arjovsky et al. 2017 used RMSProp without momentum: optim.name=rmsprop, optim.beta1=0). It shares one learning rate
between the players; here each player has its own. It draws beta1 from [0, 1]; Adam needs beta1 < 1, so that range ends
at 0.999.
"""

from search_spaces.declarations import Choice, Float, Space

WGAN = Space(
    name="wgan",
    summary="Wasserstein GAN with weight clipping (Arjovsky et al. 2017)",
    source="Lucic et al. 2018, arXiv:1711.10337, wide ranges",
    fixed={"objective.name": "wasserstein", "penalty.name": "none"},
    dims=(
        Float("optim.lr_d", 1e-5, 1e-2, log=True),
        Float("optim.lr_g", 1e-5, 1e-2, log=True),
        Float("optim.beta1", 0.0, 0.999),
        Choice("n_critic", (1, 5)),
        Float("clip", 1e-3, 1.0, log=True),
    ),
    default={"optim.lr_d": 5e-5, "optim.lr_g": 5e-5, "optim.beta1": 0.5, "n_critic": 5, "clip": 0.01},
)
