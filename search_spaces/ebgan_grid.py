"""The grid of the EBGAN paper on digits (Zhao et al. 2017, table 1), for EBGAN and for GAN, fully connected.

The paper tries every combination of 2 to 5 layers in G and in D, 400 to 3,200 units in G and 128 to 1,024 in D; for the
GAN also the learning rates 0.01, 0.001 and 0.0001 and two optimizers, Adam and SGD. EBGAN has Adam with 0.001. Here the
search samples from the grid, and what differs is that

* D has no dropout, since the network mlp has no key for it; D's depth and width are those of the encoder and of the
  decoder of EBGAN's D;
* the optimizer is Adam, and a GAN's learning rate is shared: `optim.lr_g` follows `optim.lr_d` unless it is set;
* norms, activations and initial weights are those that the user sets for the network;
* steps, and the number of samples that are scored, are the user's;
* the margin is the objective's own: the paper's 10 is a norm (see `EbganParams`).

The paper names no default: here it is the smallest of each depth and width, with 0.001.
"""

from __future__ import annotations

from typing import Any

from search_spaces.declarations import Choice, Dim, Space, Union

SOURCE = "Zhao et al. 2017, arXiv:1609.03126, table 1"
LAYERS = (2, 3, 4, 5)
UNITS_G, UNITS_D = (400, 800, 1600, 3200), (128, 256, 512, 1024)
GRID: tuple[Dim, ...] = (
    Choice("network.depth", LAYERS),
    Choice("network.depth_d", LAYERS),
    Choice("network.width", UNITS_G),
    Choice("network.width_d", UNITS_D),
)
DEFAULT = {"network.depth": 2, "network.depth_d": 2, "network.width": 400, "network.width_d": 128}
FIXED: dict[str, Any] = {
    "network": "mlp", "optim.name": "adam", "penalty": "none", "clip": None, "n_critic": 1, "ema": 0.0,
}  # fmt: skip

EBGAN = Space(
    name="ebgan",
    summary="energy-based GAN (Zhao et al. 2017), without the pulling-away term",
    source=SOURCE,
    fixed={**FIXED, "objective": "ebgan", "objective.pull_away": 0.0, "optim.lr_d": 1e-3, "optim.lr_g": 1e-3},
    dims=GRID,
    default=DEFAULT,
)
GAN = Space(
    name="gan",
    summary="non-saturating GAN (Goodfellow et al. 2014)",
    source=SOURCE,
    fixed={**FIXED, "objective": "non_saturating"},
    dims=(*GRID, Choice("optim.lr_d", (0.01, 0.001, 0.0001))),
    default={**DEFAULT, "optim.lr_d": 0.001},
    tied={"optim.lr_g": "optim.lr_d"},
)
EBGAN_GRID = Union(
    name="ebgan_grid",
    summary="layers and units of EBGAN and GAN, fully connected",
    source=SOURCE,
    spaces=(EBGAN, GAN),
)
