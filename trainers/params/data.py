"""Parameters of the shipped data sets."""

from __future__ import annotations

from trainers.registry import Params


class VisionParams(Params):
    """Where the files of a torchvision set lie; `download` fetches them into it."""

    root: str = "data"
    download: bool = False
