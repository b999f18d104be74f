"""parquet: images in the shards of a table, larger than memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainers.data import Dataset, cache
from trainers.data.pictures import decode
from trainers.errors import DataError
from trainers.params.data import ParquetParams

CLASSES = 2**16  # at most; more are no classes, but numbers of the rows
UNREADABLE = (pa.ArrowException, OSError, ValueError)  # what Arrow raises of damaged files; the last of damaged text
Block = tuple[NDArray[np.uint8], NDArray[np.int64] | None]


def make(params: ParquetParams) -> Dataset:
    """Return the images of all .parquet files in `root`, in the order of their names.

    A row is held out by its shard's name and its number in it: adding shards moves none to the other part.

    Raises:
        DataError: there are no shards; or one is cut short, lacks a column, or holds something else than images.
    """
    root = Path(params.root)
    shards = sorted(path for path in root.glob("*.parquet") if not path.name.startswith("."))  # no drafts
    if not shards:
        raise DataError(f"data set {params.name}: put .parquet files into {root.resolve()}, or set data.root")
    return cache.dataset(
        params,
        shards,
        partial(_images, params, shards),
        metric="sliced_wasserstein" if params.label is None else "frechet",
        licence="not known: the user's own images",
    )


def _images(params: ParquetParams, shards: Sequence[Path]) -> cache.Images:
    shares = [_shares(shard.name, _opened(params, shard).metadata.num_rows) for shard in shards]
    return cache.Images(
        shape=(params.channels, params.size, params.size),
        held_out=np.concatenate(shares) < params.held_out,
        blocks=(block for shard in shards for block in _blocks(params, shard)),
    )


def _shares(name: str, rows: int) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each row of a shard; raw words of Philox, which no version of NumPy changes."""
    key = int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest(), "little")
    return np.random.Philox(key=key).random_raw(rows) / 2.0**64


def _opened(params: ParquetParams, shard: Path) -> pq.ParquetFile:
    try:
        opened = pq.ParquetFile(shard, memory_map=True)
        names = opened.schema_arrow.names
    except UNREADABLE as error:
        raise _unreadable(params, shard, error) from error
    for key, column in (("column", params.column), ("label", params.label)):
        if column is not None and names.count(column) != 1:
            raise DataError(
                f"data set {params.name}: {shard.resolve()} must have the column data.{key}={column} once, "
                f"but has {', '.join(names)}"
            )
    return opened


def _blocks(params: ParquetParams, shard: Path) -> Iterator[Block]:
    columns = [column for column in (params.column, params.label) if column is not None]
    row, opened = 0, _opened(params, shard)
    told = opened.metadata.num_rows  # by which the rows were dealt out
    try:
        for batch in opened.iter_batches(batch_size=cache.BLOCK, columns=columns):
            rows = _Rows(params, shard, row, batch)
            row += batch.num_rows
            if row <= told:
                yield rows.pixels(), rows.labels()
    except UNREADABLE as error:
        raise _unreadable(params, shard, error) from error
    if row != told:
        raise _unreadable(params, shard, ValueError(f"it says that it has {told} rows, but holds {row}"))


def _unreadable(params: ParquetParams, shard: Path, error: Exception) -> DataError:
    return DataError(f"data set {params.name}: {shard.resolve()} cannot be read ({error!r}); put a whole one there")


@dataclass(frozen=True)
class _Rows:
    """Rows of a shard from `first` on."""

    params: ParquetParams
    shard: Path
    first: int
    batch: pa.RecordBatch

    def labels(self) -> NDArray[np.int64] | None:
        if self.params.label is None:
            return None
        column = self.batch.column(self.params.label)
        whole = pa.types.is_integer(column.type)
        least, most = (pc.min(column).as_py(), pc.max(column).as_py()) if whole else (None, None)
        if least is None or most is None or least < 0 or most >= CLASSES or column.null_count:
            found = f"is {column.type} with {column.null_count} nulls, from {least} to {most}"
            raise self._must(self.params.label, f"hold integers from 0 to {CLASSES - 1}", found)
        labels: NDArray[np.int64] = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
        return labels

    def pixels(self) -> NDArray[np.uint8]:
        """Return images [b, channels, size, size] of a column of files, of {bytes, ...} with them, or of pixels."""
        column = self.batch.column(self.params.column)
        if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
            column = pc.struct_field(column, "bytes")
        if column.null_count:
            raise self._must(self.params.column, "hold an image in every row", f"has {column.null_count} nulls")
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            return np.stack([self._decoded(row, cell.as_py()) for row, cell in enumerate(column, start=self.first)])
        if not _lists_bytes(column.type):
            raise self._must(self.params.column, "hold bytes or lists of uint8", f"is {column.type}")
        expected = self.params.channels * self.params.size**2
        lengths = set(pc.list_value_length(column).to_pylist())
        flat = column.flatten()
        if lengths != {expected} or flat.null_count:
            rule = f"hold {expected} numbers a row (data.channels x data.size squared), without nulls"
            raise self._must(self.params.column, rule, f"holds {', '.join(map(str, sorted(lengths)))}")
        pixels: NDArray[np.uint8] = flat.to_numpy(zero_copy_only=False)
        return pixels.reshape(-1, self.params.channels, self.params.size, self.params.size)

    def _decoded(self, row: int, data: bytes) -> NDArray[np.uint8]:
        where = f"data set {self.params.name}: {self.shard.resolve()}, row {row},"
        return decode(data, where, self.params.size, self.params.channels)

    def _must(self, column: str, rule: str, found: str) -> DataError:
        where = f"data set {self.params.name}: {self.shard.resolve()}, from row {self.first} on"
        return DataError(f"{where}: column {column} must {rule}, but {found}")


def _lists_bytes(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return lists and bool(kind.value_type == pa.uint8())
