"""Parameters of the shipped detectors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainers.registry import Params

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
