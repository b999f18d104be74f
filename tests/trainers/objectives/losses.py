"""Objectives by name, and rows whose means are expectations over a discrete space."""

import numpy as np
import torch

from trainers.objectives import Objective
from trainers.registry import find, known

DIVERGENCES = (
    "kl",
    "reverse_kl",
    "pearson",
    "neyman",
    "squared_hellinger",
    "jensen_shannon",
    "gan",
    "total_variation",
)
NAMES = [variant.name for variant in known("objective")]
MORE = [
    {"name": "f_gan", "divergence": name, "generator": kind} for name in DIVERGENCES for kind in ("strict", "practical")
]
MORE += [
    {"name": "least_squares", "a": -1, "b": 1, "c": 0},
    {"name": "ebgan", "margin": 2.0, "pull_away": 0, "pretrain": 20},
    {"name": "loss_sensitive", "gamma": 0.5, "tau": 0.1, "distance": "sum"},
]

# A space of four points: real and generated samples in twenty rows each, in exact proportions.
REAL_ROWS, FAKE_ROWS = (10, 6, 3, 1), (2, 4, 6, 8)
P, Q = np.array(REAL_ROWS) / 20, np.array(FAKE_ROWS) / 20


def make(name, **params):
    """Return what a variant's function makes of these parameters."""
    variant = find("objective", name)
    return variant.load_make()(variant.load_params().model_validate({"name": name, **params}))


def adversarial():
    """Return every configuration whose objective is a game of G against D."""
    cases = [{"name": name} for name in NAMES] + MORE
    return [case for case in cases if isinstance(make(**case), Objective)]


def label(case):
    return "-".join(map(str, case.values()))


def rows(of_points, counts):
    """Return each point's number as often as it has rows, [rows, 1]."""
    index = torch.tensor([point for point, count in enumerate(counts) for _ in range(count)])
    return torch.as_tensor(of_points, dtype=torch.float64)[index].reshape(-1, 1)


def on_both(of_points):
    """Return what D says of the real and of the generated rows, given what it says of each point."""
    return {"real": rows(of_points, REAL_ROWS), "fake": rows(of_points, FAKE_ROWS)}


def slope_at(objective, of_points):
    """Return the gradient of D's loss by what D says of each point."""
    said = torch.tensor(of_points, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(objective.d_loss(**on_both(said)), said)
    return gradient.numpy()


def kl(p, q):
    return float((p * np.log(p / q)).sum())


def jsd(p, q):
    middle = (p + q) / 2
    return (kl(p, middle) + kl(q, middle)) / 2
