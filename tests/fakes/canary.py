"""What tells that somebody ran code while reading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


class RunsCode:
    """A pickle that makes a file where it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.write_text, (self.canary, "code was run"))
