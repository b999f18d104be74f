"""Parameters of the shipped networks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainers.registry import Params

Init = Literal["he", "normal", "orthogonal"]
Activation = Literal["leaky_relu", "relu", "tanh", "softplus_elu", "elu"]
FlatNorm = Literal["none", "batch", "layer"]
ImageNorm = Literal["none", "batch", "layer", "instance"]


class NetworkParams(Params):
    """What all shipped networks have: initial weights, and the ways in which random numbers enter G.

    `split_latent` gives each of G's layers, the last one included, a share of z (Goodfellow 2016, section 3.1; Brock et
    al. 2019). `noise` acts on G's hidden layers, in training and in sampling (Goodfellow 2016, section 3.1); `dropout`
    is a probability there, and acts in training, in sampling only with `dropout_at_sampling` (Isola et al. 2017).
    """

    init: Init = "he"
    split_latent: bool = False
    noise: Literal["none", "additive", "multiplicative"] = "none"
    noise_std: float = Field(0.1, gt=0, le=10)
    dropout: float = Field(0.0, ge=0, le=0.9)
    dropout_at_sampling: bool = False


class MlpParams(NetworkParams):
    """Hidden layers: how many, how wide; as in G, so in D unless given. No norm in G's last and D's first layer."""

    name: Literal["mlp"] = "mlp"
    width: int = Field(256, ge=1, le=16384)
    depth: int = Field(2, ge=1, le=64)
    width_d: int | None = Field(None, ge=1, le=16384)
    depth_d: int | None = Field(None, ge=1, le=64)
    activation: Activation = "leaky_relu"
    norm_g: FlatNorm = "none"
    norm_d: FlatNorm | Literal["spectral"] = "none"


class DcganParams(NetworkParams):
    """Channels of the layer next to the image; norms are never in G's last and in D's first layer."""

    name: Literal["dcgan"] = "dcgan"
    features: int = Field(32, ge=1, le=1024)
    activation: Activation = "leaky_relu"
    norm_g: ImageNorm = "batch"
    norm_d: ImageNorm | Literal["spectral"] = "batch"
    upsample: Literal["transposed", "pixel_shuffle"] = "transposed"
    downsample: Literal["stride", "average"] = "stride"
    init: Init = "normal"


class ResnetParams(NetworkParams):
    """Channels of the block next to the image; norms are never in G's last layer and in D's first block."""

    name: Literal["resnet"] = "resnet"
    features: int = Field(32, ge=1, le=1024)
    norm_g: ImageNorm = "batch"
    norm_d: ImageNorm | Literal["spectral"] = "spectral"


class PacganParams(NetworkParams):
    """Units of G's four and of D's three hidden layers, and how many linear pieces each of D's units has."""

    name: Literal["pacgan"] = "pacgan"
    width_g: int = Field(400, ge=1, le=16384)
    width_d: int = Field(200, ge=1, le=16384)
    pieces: int = Field(5, ge=2, le=64)
    init: Init = "normal"


class DiracParams(Params):
    """Where the two numbers begin (Mescheder et al. 2018, figure 1)."""

    name: Literal["dirac"] = "dirac"
    theta: float = Field(1.0, ge=-1e6, le=1e6)
    psi: float = Field(1.0, ge=-1e6, le=1e6)
