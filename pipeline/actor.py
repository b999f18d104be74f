"""What runs in the process of a Ray actor: makes the worker and answers for it; no Ray."""

from __future__ import annotations

import functools
import importlib
import os
import socket
from collections.abc import Callable
from typing import Any

from pipeline.ports import Job, Loss, Prepared, attempt
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

    @functools.cached_property
    def _worker(self) -> Any:
        module, _, name = self._worker_name.partition(":")
        return getattr(importlib.import_module(module), name)(self._store_uri)

    def open(self) -> dict[str, Any]:
        """Make the worker, and return where it runs."""
        _ = self._worker
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return {"pid": os.getpid(), "node": socket.gethostname(), "cuda_visible_devices": visible}

    def prepare(self, config: TrainConfig) -> Prepared:
        """Load the data and train the extractor."""
        prepared: Prepared = self._worker.prepare(config)
        return prepared

    def start(self, job: Job) -> SegmentResult | Loss:
        """Begin a job, and return its first segment."""
        return attempt(lambda: self._worker.start(job))

    def advance(self) -> SegmentResult | Loss:
        """Return the job's next segment."""
        return attempt(self._worker.advance)

    def call(self, function: Callable[[], Any]) -> Any:
        """Return what `function` returns here."""
        return function()
