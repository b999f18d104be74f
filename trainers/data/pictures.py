"""Files of images to squares of bytes: cut, scaled, in grey or colour."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainers.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MODES = {1: "L", 3: "RGB"}
DEEP = 257  # 16 bits of grey to 8
UNCLEAR = ("I", "F")  # numbers of no known range


def decode(source: Path | bytes, where: str, size: int, channels: int) -> NDArray[np.uint8]:
    """Return the square in the middle of an image, [channels, size, size]; a pixel is the mean of its area.

    Args:
        source: a file, or its bytes, in any format and mode that Pillow reads; transparency is ignored.
        where: names it in messages.
        size: pixels a side.
        channels: 1 for grey, 3 for red, green and blue.

    Raises:
        DataError: it is missing, cut short, no image, or holds numbers that are no 8 or 16 bits.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            upright = ImageOps.exif_transpose(opened)
            plain = _plain(upright, where, MODES[channels])
    # Pillow's readers raise any of these on bytes that are not what they seem.
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, Image.DecompressionBombError) as error:
        raise DataError(f"{where} cannot be read as an image ({error!r}); replace or remove it") from error
    side = min(plain.size)
    left, top = (plain.width - side) / 2, (plain.height - side) / 2
    square = plain.resize((size, size), Image.Resampling.BOX, box=(left, top, left + side, top + side))
    return np.asarray(square, dtype=np.uint8).reshape(size, size, channels).transpose(2, 0, 1)


def _plain(picture: Picture, where: str, mode: str) -> Picture:
    from PIL import Image

    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) // DEEP).astype(np.uint8))
    if picture.mode in UNCLEAR:
        raise DataError(f"{where} must hold 8 or 16 bits a channel, but Pillow reads its mode as {picture.mode!r}")
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")  # else Pillow warns of a palette with transparency
    return picture.convert(mode)
