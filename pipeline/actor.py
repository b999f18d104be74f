"""What runs in the process of a Ray actor: makes the worker and answers for it; no Ray."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any

from pipeline.ports import Job, Loss, Prepared, attempt, no_exit
from pipeline.records import SegmentResult
from trainers.config import TrainConfig


class Actor:
    """Holds one worker; the constructor cannot fail, so that every error is the answer to a call.

    Args:
        store_uri: what the worker opens its store with.
        worker: "module:name" of the worker's class.
    """

    def __init__(self, store_uri: str, worker: str) -> None:
        self._store_uri, self._worker_name = store_uri, worker
        self._calls = 0  # of jobs so far
        self._result: SegmentResult | Loss | None = None  # of the last one

    @functools.cached_property
    def _worker(self) -> Any:
        module, _, name = self._worker_name.partition(":")
        return getattr(importlib.import_module(module), name)(self._store_uri)

    def open(self, node_id: Callable[[], str]) -> dict[str, Any]:
        """Make the worker, and return where it runs; `node_id` tells the name of this node when it is called here."""
        _ = self._worker
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        place = {"pid": os.getpid(), "node_id": node_id()}
        return place | {"cuda_visible_devices": visible}

    def prepare(self, config: TrainConfig, extractor: str | None) -> Prepared:
        """Load the data, and train the extractor where none is given."""
        with no_exit():
            prepared: Prepared = self._worker.prepare(config, extractor)
        return prepared

    def start(self, job: Job, data: str | None) -> SegmentResult | Loss:
        """Begin a job, on the data of that digest, and return its first segment."""
        return self._keep(lambda: self._worker.start(job, data))

    def advance(self) -> SegmentResult | Loss:
        """Return the job's next segment."""
        return self._keep(self._worker.advance)

    def late(self, calls: int) -> SegmentResult | Loss | None:
        """Return once more what the last call of a job gave, or None where it was not the one of that number."""
        return self._result if calls == self._calls else None

    def call(self, function: Callable[[], Any]) -> Any:
        """Return what `function` returns here."""
        return function()

    def _keep(self, call: Callable[[], SegmentResult]) -> SegmentResult | Loss:
        self._calls, self._result = self._calls + 1, None  # nothing, where `call` raises
        self._result = attempt(call)
        return self._result
