"""This machine and its processes: their common name, who of them lives, and locks that end with their holder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """Return a name, 12 hex digits, that processes share only where each sees the others' numbers and locks.

    Two containers of one machine, two users, and the same machine before and after a start, have different names: then
    nobody is taken for dead who only cannot be seen.
    """
    folder = Path(tempfile.gettempdir()).stat()
    parts = [socket.gethostname(), f"{os.getuid()}", f"{folder.st_dev}:{folder.st_ino}"]
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists():
        parts += [boot.read_text().strip(), str(space.readlink())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def alive(pid: int) -> bool:
    """Whether a process of this machine has that number; a new one may have the number of one that is dead."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


@contextmanager
def guard_file(path: Path) -> Iterator[bool]:
    """Try for the lock of a file, made where it is missing, and yield whether it was got.

    The kernel frees it with its process, so none is ever stale.

    Raises:
        OSError: the file cannot be opened, or its file system has no locks.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            got = False
        else:
            got = True
        try:
            yield got
        finally:
            if got:
                fcntl.flock(file, fcntl.LOCK_UN)  # a forked child may still hold the file open
