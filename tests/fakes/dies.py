"""A client of something real that stops answering at its n-th write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Dies:
    """A client whose n-th write never happens, or happens and loses its answer.

    Args:
        client: the real one.
        writes: which of them.
        after: whether it happens.
        named: how the names of methods that write begin.
    """

    def __init__(self, client: Any, writes: int, *, after: bool, named: tuple[str, ...]) -> None:
        self._client, self._left, self._after, self._named = client, writes, after, named

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        return self._guarded(real) if name.startswith(self._named) else real

    def _guarded(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise ConnectionResetError("before")
            result = real(*args, **kwargs)
            if self._left == 0:
                raise ConnectionResetError("after")
            return result

        return call
