"""Parameters of the shipped networks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainers.registry import Params


class MlpParams(Params):
    """Hidden layers of G and of D: how many, and how wide."""

    name: Literal["mlp"] = "mlp"
    width: int = Field(256, ge=1, le=16384)
    depth: int = Field(2, ge=1, le=64)


class DcganParams(Params):
    """Channels of the layer next to the image; `norm_d` is the normalisation in D (never in its first layer)."""

    name: Literal["dcgan"] = "dcgan"
    features: int = Field(32, ge=1, le=1024)
    norm_d: Literal["batch", "layer", "none"] = "batch"
