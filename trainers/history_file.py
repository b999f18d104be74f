"""A segment's history as bytes; imports no torch."""

from __future__ import annotations

import pyarrow as pa

from trainers.errors import IntegrityError


def to_bytes(batch: pa.RecordBatch) -> bytes:
    """Serialise a segment's history as an Arrow IPC file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_bytes(data: bytes) -> pa.Table:
    """Read an Arrow IPC file that `to_bytes` wrote.

    Raises:
        IntegrityError: the bytes are none.
    """
    try:
        return pa.ipc.open_file(pa.BufferReader(data)).read_all()
    except pa.ArrowException as error:
        raise IntegrityError(f"not a history: {error}") from error
