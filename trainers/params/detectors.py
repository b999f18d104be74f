"""Parameters of the shipped detectors: what each needs to know, its threshold and window, and where they come from."""

from __future__ import annotations

from collections.abc import Set
from typing import ClassVar, Literal

from pydantic import Field

from trainers.registry import Params

Action = Literal["stop", "warn", "off"]
Pace = Literal["step", "slow", "evaluation"]


class DetectorParams(Params):
    """What every detector has: a threshold, a window in steps, and what to do.

    Attributes:
        needs: names of signals and constants without which it does not apply.
        pace: how often what it looks at has a value: it sees its window of them, and some before.
        severity: of what it finds, in (0, 1]: how far the sampler keeps away from there.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    pace: ClassVar[Pace] = "step"
    severity: ClassVar[float] = 0.5

    threshold: float = 0.0
    window: int = Field(1, ge=1, le=10_000)
    action: Action = "stop"

    def applies(self, known: Set[str]) -> bool:
        """Whether a training that has these signals and constants can show what it looks for."""
        return set(self.needs) <= known


class NonFiniteParams(DetectorParams):
    """More than `threshold` of the window's steps hold a NaN or an infinity."""

    severity: ClassVar[float] = 1.0
    name: Literal["non_finite"] = "non_finite"
    threshold: float = Field(0.0, ge=0)


class DLossZeroParams(DetectorParams):
    """D's loss below `threshold` (nats) above its floor at every step of the window (ganhacks, item 10)."""

    needs = ("d_loss", "d_floor")
    name: Literal["d_loss_zero"] = "d_loss_zero"
    threshold: float = Field(1e-3, gt=0)
    window: int = Field(200, ge=1, le=10_000)


class ExplodingGradientParams(DetectorParams):
    """A player's gradient norm above `threshold` at every update of the window (100: ganhacks, item 10)."""

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


class OscillationParams(DetectorParams):
    """D(x) - D(G(z)) repeats itself: an autocorrelation peak above `threshold` (Mescheder et al. 2018, section 2)."""

    needs = ("logit_real", "logit_fake")
    severity: ClassVar[float] = 0.4
    name: Literal["oscillation"] = "oscillation"
    threshold: float = Field(0.7, gt=0, lt=1)
    window: int = Field(400, ge=50, le=10_000)
    action: Action = "warn"


class LayerGradientBlowupParams(DetectorParams):
    """Gradients grow or shrink by more than `threshold` decades from first to last layer (Gulrajani 2017, fig. 1b)."""

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
    pace: ClassVar[Pace] = "slow"
    severity: ClassVar[float] = 0.3
    name: Literal["clip_saturation"] = "clip_saturation"
    threshold: float = Field(0.9, gt=0, le=1)
    window: int = Field(200, ge=1, le=10_000)
    action: Action = "warn"


class CriticOverfitParams(DetectorParams):
    """D's advantage on what it trained on is not there on held-out data, by `threshold` (Karras 2020, eq. 1)."""

    needs = ("gap_train", "gap_held_out")
    pace: ClassVar[Pace] = "slow"
    severity: ClassVar[float] = 0.4
    name: Literal["critic_overfit"] = "critic_overfit"
    threshold: float = Field(0.5, gt=0)
    window: int = Field(500, ge=1, le=10_000)
    action: Action = "warn"


class ModeCollapseParams(DetectorParams):
    """The mean distance of two fakes is below `threshold` of that of two real samples (Goodfellow 2016, 5.1.1)."""

    needs = ("diversity",)
    pace: ClassVar[Pace] = "slow"
    name: Literal["mode_collapse"] = "mode_collapse"
    threshold: float = Field(0.3, gt=0, lt=1)
    window: int = Field(1000, ge=1, le=10_000)


class SpectralCollapseParams(DetectorParams):
    """A layer of G has a top singular value `threshold` times the one a window ago (Brock et al. 2019, section 4.1)."""

    pace: ClassVar[Pace] = "slow"
    name: Literal["spectral_collapse"] = "spectral_collapse"
    threshold: float = Field(3.0, gt=1)
    window: int = Field(300, ge=1, le=10_000)
    action: Action = "warn"


class GeneratorFoolingParams(DetectorParams):
    """G's loss falls at each evaluation, D is wrong, and samples are no nearer by `threshold` (ganhacks)."""

    needs = ("segment_g_loss", "segment_accuracy_d", "energy")
    pace: ClassVar[Pace] = "evaluation"
    name: Literal["generator_fooling"] = "generator_fooling"
    threshold: float = Field(0.05, ge=0, lt=1)
    window: int = Field(1500, ge=1, le=10_000)
    action: Action = "warn"


class StagnationParams(DetectorParams):
    """The score stays above `threshold` of what it was before the first update, and is not falling."""

    needs = ("score", "untrained")
    pace: ClassVar[Pace] = "evaluation"
    name: Literal["stagnation"] = "stagnation"
    threshold: float = Field(0.98, gt=0)
    window: int = Field(1500, ge=1, le=10_000)


class ModeDroppingParams(DetectorParams):
    """No fakes come from more than `threshold` of the held-out part (the bins of Richardson and Weiss 2018)."""

    needs = ("dropped",)
    pace: ClassVar[Pace] = "evaluation"
    severity: ClassVar[float] = 0.4
    name: Literal["mode_dropping"] = "mode_dropping"
    threshold: float = Field(0.25, gt=0, lt=1)
    window: int = Field(1000, ge=1, le=10_000)
    action: Action = "warn"


class MemorisationParams(DetectorParams):
    """Fakes are nearer to the training part than `threshold` of what held-out samples are (Bai et al. 2021, eq. 3)."""

    needs = ("memorisation",)
    pace: ClassVar[Pace] = "evaluation"
    severity: ClassVar[float] = 0.4
    name: Literal["memorisation"] = "memorisation"
    threshold: float = Field(0.3, gt=0, lt=1)
    window: int = Field(1000, ge=1, le=10_000)
    action: Action = "warn"
