"""The cells of the matrix: objectives x penalties x networks, so that every two of them meet, as search spaces.

Each branch of a space is a cell, and has nothing to search: its published default is all of it, and a search tries
every branch's default first. An objective meets every penalty; the network of a cell is chosen so that every objective
and every penalty also meet every network. But the networks of PacGAN have no layers for spectral normalisation, and the
VAE has no D that could have a penalty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces import Space, Union

Fixed = Mapping[str, Any]
DIVERGENCES = (
    "kl", "reverse_kl", "pearson", "neyman", "squared_hellinger", "jensen_shannon", "gan", "total_variation",
)  # fmt: skip
NOWOZIN = ("kl", "reverse_kl", "pearson", "neyman", "jensen_shannon", "gan")  # of which the paper has likelihoods
PLAIN = (
    "minimax", "non_saturating", "maximum_likelihood", "least_squares", "hinge", "wasserstein", "ebgan", "began",
    "loss_sensitive", "relativistic",
)  # fmt: skip
OBJECTIVES: dict[str, Fixed] = {name: {"objective.name": name} for name in PLAIN} | {
    f"f_gan_{name}": {"objective.name": "f_gan", "objective.divergence": name} for name in DIVERGENCES
}
WITHOUT_D: dict[str, Fixed] = {"vae": {"objective.name": "vae"}}  # which no penalty can have a part in
NO_PENALTY: Fixed = {"penalty.name": "none", "clip": None}
PENALTIES: dict[str, Fixed] = {
    "none": NO_PENALTY,
    "clip": {"penalty.name": "none", "clip": 0.1},
    "spectral": {**NO_PENALTY, "network.norm_d": "spectral"},
    "l2": {"penalty.name": "l2", "penalty.lambda": 1e-3, "clip": None},
    "gradient": {"penalty.name": "gradient", "penalty.lambda": 1.0, "clip": None},
    "gradient_one_sided": {"penalty.name": "gradient_one_sided", "penalty.lambda": 1.0, "clip": None},
    "r1": {"penalty.name": "r1", "penalty.lambda": 0.1, "clip": None},
    "r2": {"penalty.name": "r2", "penalty.lambda": 0.1, "clip": None},
    "r1_r2": {"penalty.name": "r1_r2", "penalty.lambda": 0.1, "clip": None},
    "dragan": {"penalty.name": "dragan", "penalty.lambda": 1.0, "clip": None},
}
CONVOLUTIONAL = ("dcgan", "resnet")
PLAIN_D = ("none", "clip", "l2")  # whose D has batch statistics; that of the others has no norm (Mescheder 2018)
QUICK: Fixed = {"optim.lr_d": 1e-3, "optim.lr_g": 1e-3}
SLOW: Fixed = {"optim.lr_d": 2e-4, "optim.lr_g": 2e-4}  # as DCGAN and SNGAN are trained (Radford 2016; Miyato 2018)
POINTS: dict[str, Fixed] = {
    "mlp": {"network.name": "mlp", "network.width": 64, **QUICK},
    "pacgan": {"network.name": "pacgan", "network.width_g": 64, "network.width_d": 32, **QUICK},
}
IMAGES: dict[str, Fixed] = {
    "mlp": {"network.name": "mlp", "network.width": 64, **QUICK},
    "dcgan": {"network.name": "dcgan", "network.features": 16, **SLOW},
    "resnet": {"network.name": "resnet", "network.features": 8, "network.init": "orthogonal", **SLOW},
    "pacgan": {"network.name": "pacgan", "network.width_g": 64, "network.width_d": 32, **QUICK},
}
# What the data ask for: an auto-encoder's code must be narrower than a sample, and a decoder as sharp as a mode.
OF_POINTS: dict[str, Fixed] = {
    "ebgan": {"objective.code": 2},
    "began": {"objective.code": 2, "objective.lambda_k": 1e-2},
    "vae": {"objective.sigma": 0.1},
    **{f"f_gan_{name}": SLOW for name in DIVERGENCES},  # most of whose conjugates are exponentials
}
OF_IMAGES: dict[str, Fixed] = {
    "ebgan": {"objective.code": 16},
    "began": {"objective.code": 32, "objective.lambda_k": 1e-2},
}
# Through the eight layers without a norm that an auto-encoder of these networks has, N(0, 0.02) sends nothing.
OF_BOTH: dict[tuple[str, str], Fixed] = {
    ("ebgan", "pacgan"): {"network.init": "he"},
    ("began", "pacgan"): {"network.init": "he"},
}
OWN: dict[str, Fixed] = {
    **{f"{name} on points": fixed for name, fixed in (POINTS | OF_POINTS).items()},
    **{f"{name} on images": fixed for name, fixed in (IMAGES | OF_IMAGES).items()},
    **{" with ".join(pair): fixed for pair, fixed in OF_BOTH.items()},
}


def _cell(objective: str, penalty: str, network: str, networks: Mapping[str, Fixed], asked: Fixed) -> Space:
    chosen, own = (OBJECTIVES | WITHOUT_D)[objective], OF_BOTH.get((objective, network), {})
    fixed = {**chosen, **networks[network], **asked, **own, **PENALTIES[penalty]}
    if network in CONVOLUTIONAL and penalty != "spectral" and objective not in WITHOUT_D:
        fixed["network.norm_d"] = "batch" if penalty in PLAIN_D else "none"
    return _space(f"{objective}+{penalty}+{network}", fixed)


def _space(name: str, fixed: Fixed) -> Space:
    source = "ours; see benchmarks/matrix.md"
    return Space(name=name, summary=name.replace("+", ", "), source=source, fixed=fixed, dims=(), default={})


def _network(row: int, column: int, penalty: str, names: Sequence[str]) -> str:
    """Return each network in turn; the one without layers to normalise gives way to the next."""
    found = names[(row + column) % len(names)]
    return names[(row + column + 1) % len(names)] if (penalty, found) == ("spectral", "pacgan") else found


def _cells(networks: Mapping[str, Fixed], asked: Mapping[str, Fixed]) -> tuple[Space, ...]:
    names = list(networks)
    pairs = [
        (objective, penalty, _network(row, column, penalty, names))
        for row, objective in enumerate(OBJECTIVES)
        for column, penalty in enumerate(PENALTIES)
    ]
    alone = [(objective, "none", network) for objective in WITHOUT_D for network in names]
    return tuple(_cell(*cell, networks, asked.get(cell[0], {})) for cell in (*pairs, *alone))


def _union(name: str, summary: str, networks: Mapping[str, Fixed], asked: Mapping[str, Fixed]) -> Union:
    return Union(name=name, summary=summary, source="pairs", spaces=_cells(networks, asked))


RING8 = _union("matrix-ring8", "every cell on points", POINTS, OF_POINTS)
DIGITS = _union("matrix-digits", "every cell on images", IMAGES, OF_IMAGES)
SPACES = {"ring8": RING8, "digits": DIGITS}

# Where the literature says that training works; an entry is (objectives, penalties, source).
# Each paper's own objective without a penalty is here, also where it trains badly with this setting.
STABLE: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (("non_saturating",), ("none", "gradient", "dragan", "spectral"), "Lucic 2018; Kurach 2019; Kodali 2017"),
    (("minimax",), ("none",), "Lucic 2018"),
    (("non_saturating", "minimax"), ("r1", "r2"), "Mescheder 2018, theorem 4.1"),
    (("wasserstein",), ("clip", "gradient", "gradient_one_sided"), "Arjovsky 2017; Gulrajani 2017"),
    (("hinge",), ("spectral",), "Miyato 2018"),
    (("hinge",), ("none",), "Lim and Ye 2017"),
    (("least_squares",), ("none", "gradient"), "Mao 2017; Kurach 2019"),
    (("loss_sensitive",), ("none",), "Qi 2017"),
    (("relativistic",), ("none",), "Jolicoeur-Martineau 2018"),
    (("relativistic",), ("r1_r2",), "Huang 2024"),
    (tuple(f"f_gan_{name}" for name in NOWOZIN), ("none",), "Nowozin 2016"),
    (("ebgan",), ("none",), "Zhao 2017"),
    (("began",), ("none",), "Berthelot 2017"),
    (("vae",), ("none",), "Kingma and Welling 2014"),
)


def stable(cell: str) -> str | None:
    """Return who says that a cell trains, or None."""
    objective, penalty, _ = cell.split("+")
    return next(
        (source for objectives, penalties, source in STABLE if objective in objectives and penalty in penalties), None
    )
