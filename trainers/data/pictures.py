"""Files of images to squares of bytes: cut, scaled, in grey or colour."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainers.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

# Those that Pillow reads by itself: for others, such as EPS, it would run a program on what the file says.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MODES = {1: "L", 3: "RGB"}
DEEP = 257  # 16 bits of grey to 8
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, RuntimeError, struct.error)
ORIENTATION = 0x0112  # the tag of EXIF 2.3, table 4, that says which way is up
UNCLEAR = ("I", "F")  # numbers of no known range


def decode(source: Path | bytes, where: str, size: int, channels: int) -> NDArray[np.uint8]:
    """Return the square in the middle of an image, [channels, size, size]; a pixel is the mean of its area.

    Args:
        source: a file, or its bytes, in one of FORMATS and any mode; transparency is ignored.
        where: names it in messages.
        size: pixels a side.
        channels: 1 for grey, 3 for red, green and blue.

    Raises:
        DataError: it is missing, cut short, no image, or holds numbers that are no 8 or 16 bits.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as opened:
            plain = _plain(_upright(opened), where, MODES[channels])
    # Pillow's readers raise any of these on bytes that are not what they seem.
    except (*UNREADABLE, Image.DecompressionBombError) as error:
        raise DataError(f"{where} cannot be read as an image ({error!r}); replace or remove it") from error
    side = min(plain.size)
    left, top = (plain.width - side) / 2, (plain.height - side) / 2
    square = plain.resize((size, size), Image.Resampling.BOX, box=(left, top, left + side, top + side))
    return np.asarray(square, dtype=np.uint8).reshape(size, size, channels).transpose(2, 0, 1)


def _upright(picture: Picture) -> Picture:
    """Turn and mirror by the one tag: Pillow's own function writes all the others too, and fails at odd ones."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(picture.getexif().get(ORIENTATION, 1))
    return picture if turn is None else picture.transpose(turn)


def _plain(picture: Picture, where: str, mode: str) -> Picture:
    from PIL import Image

    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) // DEEP).astype(np.uint8))
    if picture.mode in UNCLEAR:
        raise DataError(f"{where} must hold 8 or 16 bits a channel, but Pillow reads its mode as {picture.mode!r}")
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")  # else Pillow warns of a palette with transparency
    return picture.convert(mode)
