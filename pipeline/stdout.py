"""Keeps the real stdout for data: what any library prints on file descriptor 1 goes to stderr, which may be lost."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TextIO

from trainers.errors import GansearchError, Unreachable


class BrokenPipe(GansearchError):
    """Whoever read stdout has left, as `head` does: end at once and quietly, as SIGPIPE ends a shell's commands."""

    exit_code: ClassVar[int] = 141


class _Descriptor(io.FileIO):
    """A descriptor of the real stdout; what goes wrong with it is told apart from any other OSError."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError as error:
            self._give_up()
            raise BrokenPipe("nobody reads stdout") from error
        except OSError as error:
            self._give_up()
            raise Unreachable(f"stdout cannot be written ({error.strerror}): the output is not whole") from error

    def _give_up(self) -> None:
        """Let what is still buffered go nowhere, so that the interpreter's last flush does not fail once more."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


class _Talk(io.FileIO):
    """Descriptor 2, which nobody may read any more: what cannot be written there is lost.

    A terminal is closed, a pipe's reader is killed, the log's disk is full: a search of days goes on.
    """

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        try:
            written: int | None = super().write(data)
        except OSError:
            return size
        return size if written is None else written  # None: another process has made it non-blocking, and it is full


def _stderr() -> TextIO:
    encoding = getattr(sys.stderr, "encoding", "utf-8")
    raw = io.BufferedWriter(_Talk(2, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=True)


def _stream(descriptor: int, *, closefd: bool) -> TextIO:
    raw = _Descriptor(descriptor, "w", closefd=closefd)
    encoding, errors = getattr(sys.stdout, "encoding", "utf-8"), getattr(sys.stdout, "errors", "strict")
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=raw.isatty())


@contextmanager
def safe_streams() -> Iterator[None]:
    """Make the three standard streams safe to use, before anything is opened, and flush stdout in the end.

    A closed descriptor (`>&-`) becomes /dev/null: else the next file that is opened takes its place, and is printed
    to. A failure to write stdout is told apart from every other OSError, and one to write stderr is none.

    Raises:
        SystemExit: 141, nobody reads stdout any more.
        Unreachable: it cannot be written otherwise; the disk may be full.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stderr = _stderr()
    sys.stdout = _stream(1, closefd=False)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipe as error:
        sys.exit(error.exit_code)


@contextmanager
def stdout_to_stderr() -> Iterator[TextIO]:
    """Point file descriptor 1 and `sys.stdout` at stderr, and yield a stream that still writes to the real stdout.

    Ray's processes inherit descriptor 1, and its driver prints on it whatever its logging is set to; so this must
    surround `ray.init`. Everything is put back at the end.

    Returns:
        The real stdout, for our JSON alone; flushed when the context ends.

    Raises:
        BrokenPipe: nobody reads what is written to it.
        Unreachable: it cannot be written otherwise.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    python_stdout = sys.stdout
    os.dup2(2, 1)
    try:
        with _stream(os.dup(kept), closefd=True) as data:
            sys.stdout = sys.stderr
            yield data
    finally:
        sys.stdout = python_stdout
        os.dup2(kept, 1)
        os.close(kept)
