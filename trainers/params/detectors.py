"""Parameters of the shipped detectors: what each needs to know, its threshold and window, and where they come from."""

from __future__ import annotations

from collections.abc import Set
from fnmatch import fnmatchcase
from typing import ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from trainers.registry import Params

Action = Literal["stop", "warn", "off"]
LONGEST = 10_000


class DetectorParams(Params):
    """What every detector has: a threshold, a window in steps, and what to do.

    Attributes:
        needs: names of signals and constants without which it does not apply.
        also: patterns of names of further signals that it looks at; with no needs and none of these it looks at all.
        severity: of what it finds, in (0, 1]: how far the sampler keeps away from there.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    also: ClassVar[tuple[str, ...]] = ()
    severity: ClassVar[float] = 0.5

    threshold: float = 0.0
    window: int = Field(1, ge=1, le=10_000)
    action: Action = "stop"

    @model_validator(mode="after")
    def _whatever_a_subclass_says(self) -> Self:
        if self.action not in get_args(Action):
            raise ValueError(f"action must be one of {', '.join(get_args(Action))}, but got action={self.action}")
        if not 1 <= self.window <= LONGEST:
            raise ValueError(f"window must be in [1, {LONGEST}] steps, but got window={self.window}")
        return self

    def applies(self, known: Set[str]) -> bool:
        """Whether a training that has these signals and constants can show what it looks for."""
        return set(self.needs) <= known

    def looks_at(self, name: str) -> bool:
        """Whether it looks at a signal: it sees a window of what it looks at, and some of what was before."""
        patterns = (*self.needs, *self.also)
        return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)

    @property
    def hop(self) -> int:
        """Steps between two looks, where it does not look at each: it must see the one before the segment, too."""
        return 0


class NonFiniteParams(DetectorParams):
    """More than `threshold` of the window's steps hold a NaN or an infinity."""

    severity: ClassVar[float] = 1.0
    name: Literal["non_finite"] = "non_finite"
    threshold: float = Field(0.0, ge=0)


class DLossZeroParams(DetectorParams):
    """D's loss below `threshold` (nats) above its floor at every step of the window (ganhacks, item 10)."""

    needs = ("d_loss", "d_floor")
    also = ("g_loss",)
    name: Literal["d_loss_zero"] = "d_loss_zero"
    threshold: float = Field(1e-3, gt=0)
    window: int = Field(200, ge=1, le=10_000)


class ExplodingGradientParams(DetectorParams):
    """A player's gradient norm above `threshold` at every update of the window (100: ganhacks, item 10)."""

    also = ("grad_norm_d", "grad_norm_g")
    name: Literal["exploding_gradient"] = "exploding_gradient"
    threshold: float = Field(100.0, gt=0)
    window: int = Field(50, ge=1, le=10_000)
    action: Action = "warn"


class VanishingGeneratorGradientParams(DetectorParams):
    """G's median gradient norm below `threshold` while D tells nearly all samples (Arjovsky 2017, theorem 2.4)."""

    needs = ("grad_norm_g", "accuracy_d")
    name: Literal["vanishing_generator_gradient"] = "vanishing_generator_gradient"
    threshold: float = Field(1e-4, gt=0)
    window: int = Field(100, ge=1, le=10_000)


class DLossSpikingParams(DetectorParams):
    """More than `threshold` of the window's D losses are far out of it, twice 10 of its deviations (ganhacks, 10)."""

    needs = ("d_loss",)
    severity: ClassVar[float] = 0.3
    name: Literal["d_loss_spiking"] = "d_loss_spiking"
    threshold: float = Field(0.02, gt=0, lt=1)
    window: int = Field(500, ge=20, le=10_000)
    action: Action = "warn"

    @property
    def hop(self) -> int:
        """Medians are what costs."""
        return 10


class OscillationParams(DetectorParams):
    """D(x) - D(G(z)) repeats itself: an autocorrelation peak above `threshold` (Mescheder et al. 2018, section 2)."""

    needs = ("logit_real", "logit_fake")
    severity: ClassVar[float] = 0.4
    name: Literal["oscillation"] = "oscillation"
    threshold: float = Field(0.7, gt=0, lt=1)
    window: int = Field(400, ge=50, le=10_000)
    action: Action = "warn"

    @property
    def hop(self) -> int:
        """Four looks a window: spectra are what costs."""
        return self.window // 4


class LayerGradientBlowupParams(DetectorParams):
    """Gradients grow or shrink by more than `threshold` decades from first to last layer (Gulrajani 2017, fig. 1b)."""

    also = ("grad_slope_?", "grad_norm_?.*")
    name: Literal["layer_gradient_blowup"] = "layer_gradient_blowup"
    threshold: float = Field(4.0, gt=0)
    window: int = Field(100, ge=1, le=10_000)
    action: Action = "warn"


class LipschitzViolationParams(DetectorParams):
    """The gradient norm at interpolates is further than `threshold` from the penalty's target (Gulrajani 2017, 3)."""

    needs = ("interpolate_norm", "target")
    name: Literal["lipschitz_violation"] = "lipschitz_violation"
    threshold: float = Field(2.0, gt=0)
    window: int = Field(200, ge=1, le=10_000)
    action: Action = "warn"


class CriticDriftParams(DetectorParams):
    """D's mean output is above `threshold` in size, be it on real or on generated samples (Karras et al. 2018, A.1)."""

    needs = ("logit_real", "logit_fake")
    name: Literal["critic_drift"] = "critic_drift"
    threshold: float = Field(1000.0, gt=0)
    window: int = Field(50, ge=1, le=10_000)
    action: Action = "warn"


class ClipSaturationParams(DetectorParams):
    """The share of D's weights at the clip is above `threshold` (Gulrajani et al. 2017, section 3)."""

    needs = ("clip_share",)
    severity: ClassVar[float] = 0.3
    name: Literal["clip_saturation"] = "clip_saturation"
    threshold: float = Field(0.9, gt=0, le=1)
    window: int = Field(200, ge=1, le=10_000)
    action: Action = "warn"


class CriticOverfitParams(DetectorParams):
    """D's advantage on what it trained on is not there on held-out data, by `threshold` (Karras 2020, eq. 1)."""

    needs = ("gap_train", "gap_held_out")
    severity: ClassVar[float] = 0.4
    name: Literal["critic_overfit"] = "critic_overfit"
    threshold: float = Field(0.5, gt=0)
    window: int = Field(500, ge=1, le=10_000)
    action: Action = "warn"


class ModeCollapseParams(DetectorParams):
    """The mean distance of two fakes is below `threshold` of that of two real samples, and not growing.

    Source: Goodfellow 2016, section 5.1.1.
    """

    needs = ("diversity",)
    name: Literal["mode_collapse"] = "mode_collapse"
    threshold: float = Field(0.3, gt=0, lt=1)
    window: int = Field(1000, ge=1, le=10_000)


class SpectralCollapseParams(DetectorParams):
    """A layer of G has a top singular value `threshold` times the one a window ago (Brock et al. 2019, section 4.1)."""

    also = ("sigma_g.*",)
    name: Literal["spectral_collapse"] = "spectral_collapse"
    threshold: float = Field(3.0, gt=1)
    window: int = Field(300, ge=1, le=10_000)
    action: Action = "warn"


class GeneratorFoolingParams(DetectorParams):
    """G's loss falls at each evaluation, D is wrong, and samples are no nearer by `threshold` (ganhacks)."""

    needs = ("segment_g_loss", "segment_accuracy_d", "energy")
    name: Literal["generator_fooling"] = "generator_fooling"
    threshold: float = Field(0.05, ge=0, lt=1)
    window: int = Field(1500, ge=1, le=10_000)
    action: Action = "warn"


class StagnationParams(DetectorParams):
    """The score stays above `threshold` of what it was before the first update, and is not falling.

    Shares of a score mean something where it is known what a perfect one is.
    """

    needs = ("score", "untrained", "perfect")
    name: Literal["stagnation"] = "stagnation"
    threshold: float = Field(0.98, gt=0)
    window: int = Field(1500, ge=1, le=10_000)


class ModeDroppingParams(DetectorParams):
    """No fakes come from more than `threshold` of the held-out part (the bins of Richardson and Weiss 2018)."""

    needs = ("dropped",)
    also = ("real_beyond",)
    severity: ClassVar[float] = 0.4
    name: Literal["mode_dropping"] = "mode_dropping"
    threshold: float = Field(0.25, gt=0, lt=1)
    window: int = Field(1000, ge=1, le=10_000)
    action: Action = "warn"


class MemorisationParams(DetectorParams):
    """Fakes are nearer to the training part than `threshold` of what held-out samples are (Bai et al. 2021, eq. 3)."""

    needs = ("memorisation",)
    severity: ClassVar[float] = 0.4
    name: Literal["memorisation"] = "memorisation"
    threshold: float = Field(0.3, gt=0, lt=1)
    window: int = Field(1000, ge=1, le=10_000)
    action: Action = "warn"
