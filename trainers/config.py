"""TrainConfig and its parts: frozen, validated, JSON round-trip; imports no torch.

A training is a function of its TrainConfig alone. Values of variants (data, objective, network, penalty, detectors) are
written as a name, or as a mapping with `name` and that variant's parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator

from trainers.errors import ConfigError
from trainers.registry import Kind, Params, Part, article, find, known

# -- parameters of the shipped variants; a variant of the user's own declares them in its own file ---------------------


class GradientPenaltyParams(Params):
    """lambda E[(|grad_x D(x)|_2 - 1)^2] (Gulrajani et al. 2017, eq. 3)."""

    name: Literal["gradient"] = "gradient"
    lambda_: float = Field(10.0, alias="lambda", ge=0)


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


class VisionParams(Params):
    """Where the files of a torchvision set lie; `download` fetches them into it."""

    root: str = "data"
    download: bool = False


Action = Literal["stop", "warn", "off"]


class DetectorParams(Params):
    """What every detector has: a threshold, a window in steps, and what to do."""

    threshold: float = 0.0
    window: int = Field(1, ge=1, le=10_000)
    action: Action = "stop"


class DLossZeroParams(DetectorParams):
    """D's loss below `threshold` (nats) at every step of the window."""

    name: Literal["d_loss_zero"] = "d_loss_zero"
    threshold: float = Field(1e-3, gt=0)
    window: int = Field(50, ge=1, le=10_000)


class ExplodingGradientParams(DetectorParams):
    """A player's gradient norm above `threshold` at every update of the window (100: ganhacks, item 10)."""

    name: Literal["exploding_gradient"] = "exploding_gradient"
    threshold: float = Field(100.0, gt=0)
    window: int = Field(50, ge=1, le=10_000)


class NonFiniteParams(DetectorParams):
    """More than `threshold` of the window's steps hold a NaN or an infinity."""

    name: Literal["non_finite"] = "non_finite"
    threshold: float = Field(0.0, ge=0)


# -- the parts of a training -------------------------------------------------------------------------------------------


def _variant(kind: Kind) -> BeforeValidator:
    def resolve(value: Any) -> Any:
        if isinstance(value, Params):
            return value
        given = {"name": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            raise ValueError(f"must be the name of {article(kind)}, or a mapping with its name")
        try:
            params = find(kind, given["name"]).load_params()
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return params.model_validate(dict(given))

    return BeforeValidator(resolve)


DataParams = Annotated[SerializeAsAny[Params], _variant("data")]
ObjectiveParams = Annotated[SerializeAsAny[Params], _variant("objective")]
NetworkParams = Annotated[SerializeAsAny[Params], _variant("network")]
PenaltyParams = Annotated[SerializeAsAny[Params], _variant("penalty")]
StabilityParams = Annotated[SerializeAsAny[DetectorParams], _variant("detector")]


class LatentConfig(Part):
    """The generator's input: `size` numbers from N(0, 1) or U(-1, 1)."""

    size: int = Field(64, ge=1, le=65536)
    prior: Literal["normal", "uniform"] = "normal"


class OptimConfig(Part):
    """One optimizer for each player; a beta of G that is not given is D's."""

    name: Literal["adam", "rmsprop"] = "adam"
    lr_d: float = Field(2e-4, gt=0, le=10)
    lr_g: float = Field(2e-4, gt=0, le=10)
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    beta1_g: float | None = Field(None, ge=0, lt=1)
    beta2_g: float | None = Field(None, ge=0, lt=1)


class EvaluationConfig(Part):
    """How a segment is scored: generated samples a score, and the images kept for a person to look at."""

    samples: int = Field(2000, ge=2, le=1_000_000)
    grid: int = Field(64, ge=1, le=1024)


class TrainConfig(Part):
    """Everything that a training depends on; equal configurations give equal bits on equal machines.

    A step is one discriminator update. `steps` is the budget, `segment_steps` how many lie between two commits.
    """

    seed: int = Field(0, ge=0, lt=2**63)
    data: DataParams = Params(name="digits")
    objective: ObjectiveParams = Params(name="non_saturating")
    network: NetworkParams = MlpParams()
    penalty: PenaltyParams = Params(name="none")
    clip: float | None = Field(None, gt=0, description="weights of D are clipped to [-clip, clip] after each update")
    optim: OptimConfig = OptimConfig()
    n_critic: int = Field(1, ge=1, le=1000, description="discriminator updates for each generator update")
    updates: Literal["alternating", "simultaneous"] = "alternating"
    batch_size: int = Field(64, ge=1, le=65536)
    latent: LatentConfig = LatentConfig()
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged generator a G update; 0 is no average")
    steps: int = Field(6000, ge=1, le=10**9)
    segment_steps: int = Field(500, ge=1, le=100_000)
    metrics: tuple[str, ...] = Field((), max_length=1, description="the score; empty: the data set's own")
    score_at: Literal["best", "last"] = "best"
    evaluation: EvaluationConfig = EvaluationConfig()
    stability: dict[str, StabilityParams] = Field({}, validate_default=True)
    static_checks: Literal["refuse", "warn"] = "refuse"
    checkpoint_every: int = Field(1, ge=1, le=1_000_000)
    deterministic: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(1, ge=1, le=256)

    @field_validator("stability", mode="before")
    @classmethod
    def _every_detector(cls, value: Any) -> Any:
        """Fill in the detectors that are not mentioned, and let `stability.<name>` stand for its `name`."""
        if not isinstance(value, Mapping):
            raise ValueError("must be a mapping from a detector's name to its threshold, window and action")
        shipped: dict[str, Any] = {variant.name: {} for variant in known("detector")}
        given = {name: dict(v) if isinstance(v, Mapping) else v for name, v in value.items()}
        merged = shipped | given
        return {n: {"name": n, **v} if isinstance(v, Mapping) else v for n, v in merged.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.updates == "simultaneous" and self.n_critic != 1:
            raise ValueError(f"n_critic must be 1 with updates=simultaneous, but got n_critic={self.n_critic}")
        return self


class Environment(Part):
    """What besides the configuration decides a training's bits."""

    device: str  # "cpu" or the GPU's name
    cpu: str  # the machine's architecture and torch's CPU capability, such as "x86_64 AVX2"
    python: str
    torch: str
    numpy: str
    threads: int
    deterministic: bool
