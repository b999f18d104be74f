"""Holds one training and advances it; no Ray."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from pipeline.ports import CorruptCheckpointError, Job, OtherDataError, Prepared
from pipeline.records import SegmentResult
from pipeline.store import open_store
from trainers import data, evaluation, loop
from trainers.config import TrainConfig
from trainers.environment import configure, describe
from trainers.errors import DataError, IntegrityError
from trainers.history_file import to_bytes
from trainers.loop import Segment
from trainers.state import MisfitError, TrainState, load


class Worker:
    """One training at a time, whose every segment is in the store before it is returned.

    Args:
        store_uri: where blobs are read and written.
    """

    def __init__(self, store_uri: str) -> None:
        self._store = open_store(store_uri, create=False)
        self._segments: Iterator[Segment] = iter(())
        self._checkpoint_every = 1
        self._owner = ""  # key of the trial: equal trainings of two studies must not share what either may discard
        self._extractors: dict[str, bytes] = {}

    def prepare(self, config: TrainConfig, extractor: str | None = None) -> Prepared:
        """Load the data and train the feature extractor that the trials share.

        Args:
            config: of a training.
            extractor: blob of one that was trained before; then none is trained.

        Raises:
            DataError: the data set cannot be read.
            ConfigError: no training can be built from the configuration.
            IntegrityError: the extractor is not in the store as it was put there.
        """
        device = configure(config)
        dataset = data.load(config.data)
        weights = self._extractor(extractor) if extractor is not None else evaluation.train_extractor(dataset)
        evaluator = evaluation.make_evaluator(config, dataset, weights)
        loop.Training(config, weights)  # what cannot be built is said before there is a study
        return Prepared(
            metric=evaluator.metric,
            extractor=None if weights is None else self._store.put(weights),
            data={
                "name": dataset.name,
                "digest": dataset.digest,
                "train": len(dataset.train),
                "held_out": len(dataset.held_out),
                "shape": list(dataset.shape),
                "licence": dataset.licence,
            },
            environment=describe(config, device),
        )

    def start(self, job: Job, data: str | None = None) -> SegmentResult:
        """Begin a trial, or go on from its checkpoint, and train the first segment.

        Args:
            job: the trial, and where it goes on from.
            data: digest of the data that were prepared, perhaps on another machine; None is not compared.

        Raises:
            OtherDataError: here are other data, or none.
            CorruptCheckpointError: the checkpoint is missing, has other bytes than its digest says, is none, or does
                not fit what the code makes of this configuration by now.
        """
        config = job.spec.config
        self._segments = iter(())  # whatever comes of this job, the one before it is gone
        _check_data(config, data)
        state = None if job.checkpoint is None else self._state(job.checkpoint)
        self._checkpoint_every, self._owner = config.checkpoint_every, job.spec.key
        self._segments = loop.train(config, state, extractor=self._extractor(job.extractor))
        try:
            return self.advance()
        except MisfitError as error:
            raise CorruptCheckpointError(job.checkpoint or "", error) from error

    def advance(self) -> SegmentResult:
        """Train the next segment."""
        segment = next(self._segments)
        put = self._store.put
        return SegmentResult(
            start=segment.start,
            stop=segment.stop,
            history=put(to_bytes(segment.history)),
            samples=put(segment.pictured()),
            checkpoint=put(segment.checkpoint(self._owner)) if segment.index % self._checkpoint_every == 0 else None,
            generator=put(segment.generator(self._owner)),
            scores=dict(segment.scores),
            events=segment.events,
            seconds=segment.seconds,
            environment=segment.environment,
        )

    def _state(self, checkpoint: str) -> TrainState:
        try:
            return load(self._store.get(checkpoint))
        except IntegrityError as error:
            raise CorruptCheckpointError(checkpoint, error) from error

    def _extractor(self, digest: str | None) -> bytes | None:
        if digest is None:
            return None
        if digest not in self._extractors:
            self._extractors[digest] = self._store.get(digest)
        return self._extractors[digest]


def _check_data(config: TrainConfig, prepared: str | None) -> None:
    """Raise OtherDataError, which ends the search and blames no trial, where this machine has not what was prepared."""
    where = f"on {socket.gethostname()} the data of this study"
    try:
        here = data.load(config.data).digest
    except DataError as error:
        if prepared is None:
            raise
        raise OtherDataError(f"{where} cannot be read, though another worker has them: {error}") from error
    if prepared not in (None, here):
        raise OtherDataError(
            f"{where} are not those of another worker: {config.data.name!r} has digest {here[:12]} here, and "
            f"{str(prepared)[:12]} there; give every machine the same files"
        )
