"""Keeps the real stdout for data: what any library prints on file descriptor 1 goes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def stdout_to_stderr() -> Iterator[TextIO]:
    """Point file descriptor 1 and `sys.stdout` at stderr, and yield a stream that still writes to the real stdout.

    Ray's processes inherit descriptor 1, and its driver prints on it whatever its logging is set to; so this must
    surround `ray.init`. Everything is put back at the end.

    Returns:
        The real stdout, for our JSON alone; flushed when the context ends.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    python_stdout = sys.stdout
    os.dup2(2, 1)
    try:
        with os.fdopen(os.dup(kept), "w", encoding="utf-8") as data:
            sys.stdout = sys.stderr
            yield data
    finally:
        sys.stdout = python_stdout
        os.dup2(kept, 1)
        os.close(kept)
