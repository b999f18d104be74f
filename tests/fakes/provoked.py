"""Trainings that fail by construction, each from a known step on, and what they are made of."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trainers.config import TrainConfig
from trainers.data import Dataset
from trainers.data import load as load_data
from trainers.networks import Networks
from trainers.networks.mlp import make as make_mlp
from trainers.params.networks import MlpParams
from trainers.registry import Params, Variant

FIXED_AT, ABOVE = 300, 0.0
FEW = 16


class Fixed(nn.Module):
    """A generator that hears its latents for so many batches in training, and then draws one sample for ever."""

    batches: Tensor

    def __init__(self, generator: nn.Module, batches: int) -> None:
        super().__init__()
        self.generator = generator
        self.left = batches
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, latent: Tensor) -> Tensor:
        if self.training:
            self.batches += 1
        return self.generator(latent * (self.batches <= self.left))


class Upper(nn.Module):
    """A generator whose points all lie above a line."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latent: Tensor) -> Tensor:
        points = self.generator(latent)
        return torch.stack((points[:, 0], points[:, 1].abs() + ABOVE), dim=1)


class Copies(nn.Module):
    """A generator that draws what it likes for so many batches in training, and then images that it was trained on.

    With `every`, only each so many-th of the later batches, and the one after it, are such images.
    """

    batches: Tensor
    images: Tensor

    def __init__(self, generator: nn.Module, batches: int, every: int = 1) -> None:
        super().__init__()
        self.generator = generator
        self.left, self.every = batches, every
        self.register_buffer("batches", torch.zeros(()))
        self.register_buffer("images", torch.from_numpy(load_data(TrainConfig().data).train[:FEW].copy()))

    def forward(self, latent: Tensor) -> Tensor:
        if self.training:
            self.batches += 1
        made = self.generator(latent)
        chosen = (latent[:, :4] > 0).long() @ torch.tensor([1, 2, 4, 8])
        late = (self.batches > self.left).to(made.dtype) * (self.batches % self.every < 2)
        return made * (1 - 0.99 * late) + 0.99 * late * self.images[chosen]


def _network(wrap: Any) -> Any:
    def make(_params: Params) -> Networks:
        made = make_mlp(MlpParams(width=32, depth=2))
        return Networks(
            generator=lambda latent, shape: wrap(made.generator(latent, shape)),
            discriminator=made.discriminator,
            init="he",
        )

    return make


def _few(params: Params) -> Dataset:
    digits = load_data(TrainConfig().data)
    return Dataset(
        name=params.name,
        train=digits.train[:FEW],
        held_out=digits.held_out,
        metric="sliced_wasserstein",
        licence=digits.licence,
    )


# A generator draws twice a step: for D's update and for its own.
FIXED = Variant(
    kind="network",
    name="tests.fakes.provoked:FIXED",
    summary="its output is fixed from a step on",
    make=_network(lambda generator: Fixed(generator, 2 * FIXED_AT)),
)
UPPER = Variant(
    kind="network", name="tests.fakes.provoked:UPPER", summary="half of the plane is out of reach", make=_network(Upper)
)
COPIES = Variant(
    kind="network",
    name="tests.fakes.provoked:COPIES",
    summary="it copies from a step on",
    make=_network(lambda generator: Copies(generator, 2 * FIXED_AT)),
)
GLIMPSES = Variant(
    kind="network",
    name="tests.fakes.provoked:GLIMPSES",
    summary="it copies now and then from a step on",
    make=_network(lambda generator: Copies(generator, 2 * FIXED_AT, every=32)),
)
FEW_DIGITS = Variant(kind="data", name="tests.fakes.provoked:FEW_DIGITS", summary="16 images", make=_few)


class Provoked(NamedTuple):
    """A training that shows a failure from the step after `onset` on."""

    kind: str
    onset: int
    changes: dict[str, Any]
    steps: int = 1000


ROLL = {"data": "swiss_roll", "metrics": ["sliced_wasserstein"]}
DIGITS = {"data": "digits", "metrics": ["sliced_wasserstein"]}
RING = {"data": "ring8", "metrics": ["sliced_wasserstein"]}
RATES = {"lr_d": 1e-3, "lr_g": 1e-3, "beta1": 0.5}
DEEP = {"name": "mlp", "width": 32, "depth": 11, "activation": "relu"}
CLIPPED = {
    **ROLL,
    "objective": "wasserstein",
    "network": DEEP,
    "optim": {"name": "rmsprop", "lr_d": 1e-2, "lr_g": 1e-4, "beta1": 0, "beta2": 0.9},
}
PENALISED = {**ROLL, "objective": "wasserstein", "optim": {"lr_d": 1e-2, "lr_g": 1e-3, "beta1": 0.5}}
WARM = {"updates": 1, "n_critic": 200}  # D is trained alone until it has won


def case(name: str, kind: str, onset: int = 0, steps: int = 1000, **changes: Any) -> tuple[str, Provoked]:
    return name, Provoked(kind, onset, changes, steps)


def rates(d: float, g: float, **more: Any) -> dict[str, Any]:
    return {"lr_d": d, "lr_g": g, "beta1": 0.5} | more


OURS = "tests.fakes.provoked"
WON = {**DIGITS, "warmup": WARM, "optim": rates(5e-3, 1e-6)}
WON_BY_FAR = {**WON, "objective": "minimax", "optim": rates(2e-2, 1e-6)}
WILD = {**DIGITS, "objective": "wasserstein", "optim": rates(0.2, 2e-4)}
WILDER = {**ROLL, "objective": "wasserstein", "optim": rates(5.0, 1e-5)}
THROWN = {**RING, "warmup": WARM, "optim": rates(1e-3, 0.5)}
OFF_THE_CHART = {**RING, "objective": "least_squares", "optim": rates(10.0, 10.0, name="sgd") | {"beta1": 0}}
GLANCES = {**DIGITS, "network": f"{OURS}:GLIMPSES", "optim": rates(2e-3, 1e-4)}
FEW_IMAGES = {"data": f"{OURS}:FEW_DIGITS", "optim": RATES}
OUT_OF_REACH = {**RING, "network": f"{OURS}:UPPER", "optim": RATES, "penalty": {"name": "r1", "lambda": 1.0}}
# The first update is made from sound weights: what comes of a learning rate is there from the second step on.
PROVOKED = dict(
    [
        case("learning rate x 1000, critic", "exploding_gradient", 1, 250, **WILD),
        case("learning rate x 1000, logits", "critic_drift", 1, 250, **WILDER),
        case("learning rate x 1000, descent", "non_finite", 1, 250, **OFF_THE_CHART),
        case("a D that has won before G moves", "d_loss_zero", 200, 500, **WON),
        case("a D that has won by far", "vanishing_generator_gradient", 200, 500, **WON_BY_FAR),
        case("fakes that are training images now and then", "d_loss_spiking", FIXED_AT, 1000, **GLANCES),
        case("a D that learns nothing", "generator_fooling", 0, 2000, **RING, optim=rates(1e-9, 3e-4)),
        case("a G that learns nothing", "stagnation", 0, 2000, **RING, optim=rates(1e-4, 1e-9)),
        case("clip 1e-4 on 12 layers, gradients", "layer_gradient_blowup", 0, 500, **CLIPPED, clip=1e-4),
        case("clip 1e-4 on 12 layers, weights", "clip_saturation", 0, 500, **CLIPPED, clip=1e-4),
        case("clip 10 on 12 layers", "exploding_gradient", 1, 500, **CLIPPED, clip=10.0),
        case("lambda 0", "lipschitz_violation", 0, 500, **PENALISED, penalty={"name": "gradient", "lambda": 0.0}),
        case("lambda 1e4", "exploding_gradient", 0, 250, **PENALISED, penalty={"name": "gradient", "lambda": 1e4}),
        case("16 images", "critic_overfit", 0, 1000, **FEW_IMAGES),
        case("copies of 16 images", "memorisation", FIXED_AT, 1500, **FEW_IMAGES, network=f"{OURS}:COPIES"),
        case("an output that is fixed", "mode_collapse", FIXED_AT, 1500, **RING, network=f"{OURS}:FIXED", optim=RATES),
        case("half of the plane out of reach", "mode_dropping", 0, 1000, **OUT_OF_REACH),
        case("a G that is thrown off", "spectral_collapse", 200, 750, **THROWN),
    ]
)


def provoked(name: str) -> TrainConfig:
    """Return the configuration of a failure; detectors only tell."""
    found = PROVOKED[name]
    base = {"steps": found.steps, "segment_steps": 250, "evaluation": {"samples": 500, "grid": 1}, "device": "cpu"}
    base |= {"network": {"name": "mlp", "width": 32, "depth": 2}, "latent": {"size": 8}, "batch_size": 32}
    told = {"stability": {variant: {"action": "warn"} for variant in TrainConfig().stability}}
    return TrainConfig.model_validate(base | told | found.changes)
