"""The random search of the ALI paper (Dumoulin et al. 2017, section 4), for a GAN on the mixture `grid25`.

It trains each model 10 times with Adam, with a random learning rate, a random beta1 and a random standard deviation of
the initial weights, on 100,000 points, 100 a batch. It tells none of the ranges: those here are the wide ones of Lucic
et al. 2018. The default is what the paper's code has for such mixtures. Not searched, since it is no key of a network:
the initial standard deviation. Both players move at once, as in that code; the network is the user's. The learning rate
is shared: `optim.lr_g` follows `optim.lr_d` unless it is set.

The paper counts modes without a single one of 10,000 samples: `evaluation.samples: 10000` draws as many.
"""

from search_spaces.declarations import Float, Space

ALI_GRID25 = Space(
    name="ali_grid25",
    summary="learning rate and beta1 of a GAN, for data grid25",
    source="Dumoulin et al. 2017, arXiv:1606.00704, section 4; ranges of Lucic et al. 2018, arXiv:1711.10337",
    fixed={
        "objective": "non_saturating",
        "penalty": "none",
        "clip": None,
        "optim.name": "adam",
        "batch_size": 100,
        "n_critic": 1,
        "updates": "simultaneous",
        "ema": 0.0,
    },
    dims=(Float("optim.lr_d", 1e-5, 1e-2, log=True), Float("optim.beta1", 0.0, 0.999)),
    default={"optim.lr_d": 1e-4, "optim.beta1": 0.8},
    tied={"optim.lr_g": "optim.lr_d"},
)
