"""Samples as a person looks at them: a grid of images, or a scatter of points; imports no torch."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trainers import data
from trainers.config import TrainConfig
from trainers.errors import IntegrityError
from trainers.registry import find

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Floats = npt.NDArray[np.float32]
IMAGE_DIMS = 3
POINT_DIMS = 1
CHANNELS = 4  # that a picture can have, at most
SHOWN_SIZE = 48  # pixels that a sample's side is enlarged to, at least
PLANE = 2  # dimensions
FAINT, CIRCLE = 160, 9  # grey of what is no sample, and radius of the circles around true modes in pixels


def read_samples(data: bytes) -> npt.NDArray[np.generic]:
    """Return samples that were kept as .npy, without pickle, so that none of their bytes is run.

    Raises:
        IntegrityError: the bytes are none.
    """
    try:
        samples: npt.NDArray[np.generic] = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise IntegrityError(f"not samples: {error}") from error
    return samples


def to_uint8(images: Floats) -> npt.NDArray[np.uint8]:
    """Return images in [-1, 1] as bytes in [0, 255], of the same shape; values outside are clipped."""
    finite = np.nan_to_num(images, nan=-1.0, posinf=1.0, neginf=-1.0)
    scaled: npt.NDArray[np.uint8] = np.rint((np.clip(finite, -1, 1) + 1) * 127.5).astype(np.uint8)
    return scaled


def centres_of(config: TrainConfig) -> npt.NDArray[np.float64] | None:
    """Return where a Gaussian mixture in the plane has its modes, [k, 2], for a picture; None for other data."""
    if find("data", config.data.name).samples != "a Gaussian mixture":
        return None  # which is known without loading it
    modes = data.load(config.data).modes
    return None if modes is None or modes.centres.shape[1] != PLANE else modes.centres


def write_png(samples: npt.NDArray[np.generic], path: Path, centres: npt.NDArray[np.float64] | None = None) -> bool:
    """Write samples as one picture, and return whether they can be drawn; see `picture`."""
    drawn = picture(samples, centres)
    if drawn is not None:
        drawn.save(path, format="PNG", optimize=False)
    return drawn is not None


def picture(samples: npt.NDArray[np.generic], centres: npt.NDArray[np.float64] | None = None) -> Picture | None:
    """Return samples as a PIL image: a grid of images, or a scatter of points.

    Args:
        samples: images [n, channels, height, width], uint8 or float in [-1, 1], or points [n, d], of which the first
            two numbers are drawn.
        centres: [k, 2], drawn as faint circles among points.

    Returns:
        None for what cannot be drawn: series, volumes, and images of more than four channels.
    """
    from PIL import Image

    if samples.ndim == POINT_DIMS + 1:
        return _scatter(samples.astype(np.float32), np.empty((0, 2)) if centres is None else centres)
    if samples.ndim != IMAGE_DIMS + 1 or samples.shape[1] > CHANNELS:
        return None
    images = samples if samples.dtype == np.uint8 else to_uint8(samples.astype(np.float32))
    return Image.fromarray(_tiles(np.asarray(images, dtype=np.uint8)))


def _tiles(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    scale = max(1, SHOWN_SIZE // images.shape[-1])
    large = images.repeat(scale, axis=2).repeat(scale, axis=3)
    n, channels, height, width = large.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.zeros((rows * (height + 2), columns * (width + 2), channels), dtype=np.uint8)
    for index, image in enumerate(large):
        top, left = (index // columns) * (height + 2), (index % columns) * (width + 2)
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return sheet[:, :, 0] if channels == 1 else sheet


def _scatter(points: Floats, centres: npt.NDArray[np.float64], size: int = 512) -> Picture:
    """Draw points into a framed square that holds them all and the centres, at least [-1.5, 1.5] on both axes."""
    from PIL import Image, ImageDraw

    shown = points[np.isfinite(points).all(axis=1), :2].astype(np.float64)
    finite = np.pad(shown, ((0, 0), (0, 2 - shown.shape[1])))  # numbers on a line are shown on the first axis
    reach = max(1.5, 1.05 * float(np.abs(np.concatenate((finite, centres))).max(initial=0)))

    def at(places: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        upright = (places * (1, -1) + reach) / (2 * reach) * size
        return np.clip(upright.astype(np.int64), 0, size - 2)

    sheet = Image.new("L", (size, size), 255)
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((0, 0, size - 1, size - 1), outline=FAINT)
    pen.text((6, 4), f"{-reach:.3g} to {reach:.3g} on both axes", fill=FAINT)
    for x, y in at(centres).tolist():
        pen.ellipse((x - CIRCLE, y - CIRCLE, x + CIRCLE, y + CIRCLE), outline=FAINT)
    for x, y in at(finite).tolist():
        pen.rectangle((x, y, x + 1, y + 1), fill=0)
    return sheet
