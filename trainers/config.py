"""TrainConfig and its parts: frozen, validated, JSON round-trip; imports no torch.

A training is a function of its TrainConfig alone. Values of variants (data, objective, network, penalty, detectors) are
written as a name, or as a mapping with `name` and that variant's parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator

from trainers.errors import ConfigError
from trainers.params.detectors import DetectorParams
from trainers.params.networks import MlpParams
from trainers.params.penalties import NoPenaltyParams, PenaltyParams
from trainers.registry import Kind, Params, Part, article, find, known


def _variant(kind: Kind, base: type[Params] = Params) -> BeforeValidator:
    def resolve(value: Any) -> Any:
        if isinstance(value, Params):
            return value
        given = {"name": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            raise ValueError(f"must be the name of {article(kind)}, or a mapping with its name")
        try:
            params = find(kind, given["name"]).load_params()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if not issubclass(params, base):
            rule = f"its parameters must be a subclass of {base.__module__}.{base.__name__}"
            raise ValueError(f"{given['name']!r} is not {article(kind)}: {rule}")
        return _kept(params.model_validate(dict(given)))

    return BeforeValidator(resolve)


def _kept(params: Params) -> Params:
    """Refuse parameters, such as a default of another type, that would not come back the same from a journal."""
    for field in type(params).model_fields:
        try:
            params.model_dump_json(include={field})
        except ValueError as error:  # pydantic's own kind of it
            raise ValueError(f"must have parameters that JSON can hold, but {field} is none: {error}") from error
    back = params.model_validate_json(params.model_dump_json())
    for field in type(params).model_fields:
        value, read = getattr(params, field), getattr(back, field)
        if value != read or isinstance(value, Set):  # whose order in JSON is another in each process
            raise ValueError(f"must have parameters that JSON keeps, but {field}={value!r} is read as {read!r}")
    return params


DataParams = Annotated[SerializeAsAny[Params], _variant("data")]
ObjectiveParams = Annotated[SerializeAsAny[Params], _variant("objective")]
NetworkParams = Annotated[SerializeAsAny[Params], _variant("network")]
AnyPenaltyParams = Annotated[SerializeAsAny[PenaltyParams], _variant("penalty", PenaltyParams)]
StabilityParams = Annotated[SerializeAsAny[DetectorParams], _variant("detector", DetectorParams)]


class LatentConfig(Part):
    """The generator's input: `size` numbers from N(0, 1) or U(-1, 1)."""

    size: int = Field(64, ge=1, le=65536)
    prior: Literal["normal", "uniform"] = "normal"


class OptimConfig(Part):
    """One optimizer for each player; a beta of G that is not given is D's.

    Both learning rates follow `decay`, from step `decay_from` to the last one, to 0 (linear, cosine), or are multiplied
    by `decay_factor` every `decay_every` steps. `weight_decay` is decoupled (Loshchilov and Hutter 2019). RMSprop's
    decay of squared gradients is `beta2`, and its steps are averaged with `beta1`; WGAN's code has 0.99 and 0.
    """

    name: Literal["adam", "rmsprop", "sgd"] = "adam"
    lr_d: float = Field(2e-4, gt=0, le=10)
    lr_g: float = Field(2e-4, gt=0, le=10)
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    beta1_g: float | None = Field(None, ge=0, lt=1)
    beta2_g: float | None = Field(None, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0, le=1)
    decay: Literal["none", "linear", "cosine", "step"] = "none"
    decay_from: int = Field(0, ge=0, le=10**9)
    decay_every: int = Field(1000, ge=1, le=10**9)
    decay_factor: float = Field(0.5, gt=0, le=1)


class WarmupConfig(Part):
    """More D updates before the first G updates, and before every `again_every`-th (WGAN's code: 25, 100, 500)."""

    updates: int = Field(0, ge=0, le=10**6, description="generator updates at the start that are preceded by n_critic")
    n_critic: int = Field(100, ge=1, le=10**6)
    again_every: int = Field(0, ge=0, le=10**9, description="generator updates between two such ones later; 0: never")


class LabelsConfig(Part):
    """Soft and noisy labels of D's loss, on either side (Salimans et al. 2016, section 3.4; ganhacks, item 6).

    A label is 1 - `soft_real` on real samples and `soft_fake` on generated ones; each is exchanged for its opposite
    with a probability of `flip_real` or `flip_fake`.
    """

    soft_real: float = Field(0.0, ge=0, le=0.5)
    soft_fake: float = Field(0.0, ge=0, le=0.5)
    flip_real: float = Field(0.0, ge=0, le=0.5)
    flip_fake: float = Field(0.0, ge=0, le=0.5)


class InstanceNoiseConfig(Part):
    """Gaussian noise on all that D sees, falling to 0 linearly in `decay_steps` (0: never; Sonderby et al. 2017)."""

    std: float = Field(0.0, ge=0, le=10)
    decay_steps: int = Field(0, ge=0, le=10**9)


class AugmentConfig(Part):
    """Differentiable augmentation of all images that D sees (Zhao et al. 2020): shares of a side, 1/8 and 1/2 there."""

    translation: float = Field(0.0, ge=0, le=0.5)
    cutout: float = Field(0.0, ge=0, le=1)


class ReplayConfig(Part):
    """A share of the fakes that D sees comes from a memory of earlier ones (Shrivastava et al. 2017, section 2.3)."""

    size: int = Field(0, ge=0, le=1_000_000, description="samples in the memory; 0: none")
    share: float = Field(0.5, gt=0, le=1)


class SwapConfig(Part):
    """An earlier checkpoint plays for a player, against the other, in the first `steps` of every `every` steps."""

    player: Literal["none", "generator", "discriminator"] = "none"
    every: int = Field(1000, ge=1, le=10**9)
    steps: int = Field(50, ge=1, le=10**9)


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
    penalty: AnyPenaltyParams = NoPenaltyParams()
    clip: float | None = Field(None, gt=0, description="weights of D are clipped to [-clip, clip] after each update")
    optim: OptimConfig = OptimConfig()
    n_critic: int = Field(1, ge=1, le=1000, description="discriminator updates for each generator update")
    warmup: WarmupConfig = WarmupConfig()
    updates: Literal["alternating", "simultaneous"] = "alternating"
    order: Literal["discriminator_first", "generator_first"] = "discriminator_first"
    fakes: Literal["fresh", "reused"] = Field("fresh", description="whether G's update draws latents of its own")
    batches: Literal["separate", "mixed"] = Field(
        "separate", description="real and fake of a D update, where D has batch statistics"
    )
    pack: int = Field(1, ge=1, le=64, description="samples that D judges together (Lin et al. 2018)")
    labels: LabelsConfig = LabelsConfig()
    instance_noise: InstanceNoiseConfig = InstanceNoiseConfig()
    augment: AugmentConfig = AugmentConfig()
    replay: ReplayConfig = ReplayConfig()
    swap: SwapConfig = SwapConfig()
    train_d_above: float | None = Field(None, description="D moves only while its loss is above this")
    train_g_above: float | None = Field(None, description="G moves only while its loss is above this")
    batch_size: int = Field(64, ge=1, le=65536)
    latent: LatentConfig = LatentConfig()
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged generator a G update; 0 is no average")
    steps: int = Field(6000, ge=1, le=10**9)
    segment_steps: int = Field(500, ge=1, le=100_000)
    metrics: tuple[str, ...] = Field((), max_length=1, description="the score; empty: the data set's own")
    score_at: Literal["best", "last"] = "best"
    evaluation: EvaluationConfig = EvaluationConfig()
    stability: dict[str, StabilityParams] = Field({}, validate_default=True)
    slow_every: int = Field(50, ge=2, le=10_000, description="steps between two values of the expensive signals")
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
        for name, v in given.items():
            if isinstance(v, Mapping) and v.get("name", name) != name:
                raise ValueError(f"stability.{name}.name must be {name}, but got {v['name']}")
        merged = shipped | given
        return {n: {"name": n, **v} if isinstance(v, Mapping) else v for n, v in merged.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.updates == "simultaneous":
            for key, value, only in (
                ("n_critic", self.n_critic, 1),
                ("order", self.order, "discriminator_first"),
                ("fakes", self.fakes, "fresh"),
                ("warmup.updates", self.warmup.updates, 0),
                ("warmup.again_every", self.warmup.again_every, 0),
            ):
                if value != only:
                    raise ValueError(f"{key} must be {only} with updates=simultaneous, but got {key}={value}")
        if self.swap.player != "none" and self.swap.steps >= self.swap.every:
            steps, every = self.swap.steps, self.swap.every
            raise ValueError(f"swap.steps must be below swap.every={every}, but got swap.steps={steps}")
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
