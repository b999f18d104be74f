"""Small networks with weights, and every option of theirs."""

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from trainers import networks
from trainers.networks.initial import WEIGHTED, initialise
from trainers.params.networks import DcganParams, MlpParams, PacganParams, ResnetParams

LATENT = 9
SIZES = (8, 16, 32, 64, 128)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)
SMALL = {
    "mlp": MlpParams(width=6, depth=3),
    "dcgan": DcganParams(features=2),
    "resnet": ResnetParams(features=2),
    "pacgan": PacganParams(width_g=6, width_d=4, pieces=3),
}
SHARED = [
    {},
    {"init": "he"},
    {"init": "normal"},
    {"init": "orthogonal"},
    {"split_latent": True},
    {"noise": "additive"},
    {"noise": "multiplicative", "noise_std": 0.5},
    {"dropout": 0.5},
    {"dropout": 0.5, "dropout_at_sampling": True},
    {"split_latent": True, "noise": "additive", "dropout": 0.2},
]
ACTIVATIONS = [{"activation": kind} for kind in ("relu", "tanh", "softplus_elu", "elu", "leaky_relu")]
FLAT_NORMS = [
    *({"norm_g": kind} for kind in ("none", "batch", "layer")),
    *({"norm_d": kind} for kind in ("none", "batch", "layer", "spectral")),
]
IMAGE_NORMS = [*FLAT_NORMS, {"norm_g": "instance"}, {"norm_d": "instance"}]
RESAMPLINGS = [
    {"upsample": "transposed"},
    {"upsample": "pixel_shuffle"},
    {"downsample": "stride"},
    {"downsample": "average"},
]
OWN = {
    "mlp": [*ACTIVATIONS, *FLAT_NORMS, {"width": 5}, {"depth": 2}, {"width_d": 5}, {"depth_d": 2}],
    "dcgan": [*ACTIVATIONS, *IMAGE_NORMS, *RESAMPLINGS, {"features": 3}],
    "resnet": [*IMAGE_NORMS, {"features": 3}],
    "pacgan": [{"width_g": 5}, {"width_d": 5}, {"pieces": 2}],
}


def changed(name, option):
    """Return the keys that an option sets to what is not their default."""
    return {key for key, value in option.items() if getattr(SMALL[name], key) != value}


OPTIONS = [(name, opt) for name in SMALL for opt in [*SHARED, *OWN[name]] if changed(name, opt) or not opt]


def params(name, option=None):
    """Return small parameters of a network, with an option."""
    small = SMALL[name]
    return type(small).model_validate(small.model_dump() | (option or {}))


def draw(network, name="generator", seed=3, init="he"):
    """Return a network with weights."""
    initialise(network, seed, name, init)
    return network


def build(given, shape, *, outputs=1, seed=3, latent=LATENT):
    """Return G and D with weights, in training mode."""
    made = networks.load(given)
    generator = draw(made.generator(latent, shape), "generator", seed, made.init)
    return generator, draw(made.discriminator(shape, outputs), "discriminator", seed, made.init)


def latents(count=4, size=LATENT, seed=1):
    """Return latents, [count, size]."""
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def pictures(shape, count=4, seed=2):
    """Return samples in [-1, 1], [count, *shape]."""
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def weighted(network):
    """Return its linear and convolutional layers, in order."""
    return [layer for layer in network.modules() if isinstance(layer, WEIGHTED)]


def parameter_of(layer):
    """Return the weight that an optimizer moves."""
    return layer.parametrizations.weight.original if is_parametrized(layer, "weight") else layer.weight


def leaves(network):
    """Return its layers that hold no other, in order; of a parametrized layer, the layer."""
    found = []
    for child in network.children():
        alone = isinstance(child, WEIGHTED) or not list(child.children())
        found += [child] if alone else leaves(child)
    return found
