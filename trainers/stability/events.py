"""What a detector says: a stability failure with its step and its evidence."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainers.registry import Part, Text

KIND = r"^[A-Za-z0-9_.:\-]{1,100}$"  # it becomes a tag's key and a file's name


class Event(Part):
    """A stability failure.

    Attributes:
        kind: the detector's name, or `refused_...` or `warned_...` for a static check.
        step: the last discriminator update of the window that shows it; 0 for a static check.
        severity: how bad it is, in (0, 1]; the sampler ranks infeasible regions by it.
        action: whether it stops the training.
        evidence: the numbers that show it, by name (thresholds and windows among them); a non-finite one is text.
        message: one sentence for a person.
    """

    kind: str = Field(pattern=KIND)
    step: int = Field(ge=0)
    severity: float = Field(gt=0, le=1)
    action: Literal["stop", "warn"]
    evidence: dict[str, float | Text] = {}
    message: Text = ""
