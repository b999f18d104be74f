"""Parameters of the shipped data sets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainers.registry import Params


class VisionParams(Params):
    """Where the files of a published set lie; `download` fetches them into it."""

    root: str = Field("data", min_length=1)
    download: bool = False


class CachedParams(Params):
    """Images that are decoded once a machine; `cache` is where to (empty: gansearch-data-<uid> among temporary files).

    An image is cut to the square in its middle and scaled to `size` x `size` pixels, each the mean of its area.
    """

    root: str = Field("data", min_length=1)
    size: int = Field(64, ge=4, le=1024)
    cache: str = ""


class CelebaParams(CachedParams, VisionParams):
    """The faces as `size` x `size` pixels."""

    name: Literal["celeba"] = "celeba"


class FolderParams(CachedParams):
    """A folder of images, or of one folder a class; a share of them is held out, chosen by the files' names."""

    name: Literal["image_folder"] = "image_folder"
    root: str = Field("images", min_length=1)
    channels: Literal[1, 3] = Field(3, description="1: grey, 3: red, green, blue")
    held_out: float = Field(0.1, gt=0, lt=1, description="share of the images")


class ParquetParams(CachedParams):
    """A folder of .parquet shards, whose `column` holds images as files' bytes, or as [channels, size, size] bytes."""

    name: Literal["parquet"] = "parquet"
    root: str = Field("shards", min_length=1)
    column: str = Field("image", min_length=1)
    label: str | None = Field(None, min_length=1, description="column of integers from 0 to 65535; null: no labels")
    channels: Literal[1, 3] = Field(3, description="1: grey, 3: red, green, blue")
    held_out: float = Field(0.1, gt=0, lt=1, description="share of the images")


class StackedDigitsParams(Params):
    """How many stacks of three digits are drawn for each part (PacGAN: 128,000 of MNIST's)."""

    name: Literal["stacked_digits"] = "stacked_digits"
    train: int = Field(12_800, ge=1, le=1_000_000)
    held_out: int = Field(2_600, ge=2, le=1_000_000)


class PolygonsParams(Params):
    """Convex polygons of `vertices` corners, of which none is sharper than `min_angle` degrees.

    They lie in the square of `scale` times the image's side around its middle.
    """

    name: Literal["polygons"] = "polygons"
    vertices: int = Field(3, ge=3, le=6)
    min_angle: float = Field(20.0, ge=0, le=45)
    scale: float = Field(0.75, gt=0, le=1)
    train: int = Field(10_000, ge=1, le=1_000_000)
    held_out: int = Field(2_000, ge=2, le=1_000_000)
