"""train(config, state) -> Iterator[Segment]."""

from __future__ import annotations

import copy
import io
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from trainers import data, evaluation, gan, labels
from trainers.checks import refusals
from trainers.config import Environment, TrainConfig
from trainers.draws import Staged, blocks, generator, numbers
from trainers.environment import configure, describe, global_state, placed
from trainers.errors import ConfigError
from trainers.evaluation.neighbours import neighbours_of
from trainers.game import Game, play
from trainers.generate import Floats, run
from trainers.objectives import Objective, OwnGame
from trainers.picture import IMAGE_DIMS, to_uint8
from trainers.registry import find
from trainers.stability import Constants
from trainers.stability.events import Event
from trainers.state import TrainState, restore, save, snapshot
from trainers.watch import Watch

SHOWN_POINTS = 1000
OWN_RANDOM = (
    "the network, objective or penalty draws from torch's global generator, so that no training could be repeated or "
    "resumed: trainers.networks.stochastic has dropout and noise that can"
)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """The steps start + 1 to stop of a training.

    Attributes:
        index: 1 for the first segment of a training.
        start: discriminator updates before it.
        stop: discriminator updates after it.
        history: a row a step: `step` and every signal, null where a signal has no value.
        events: what the detectors found in it.
        scores: on held-out data, by metric; the first is what a search minimises. Empty where it is not finite.
        samples: for a person to look at: uint8 images [n, channels, height, width], or float32 points [n, 2].
        stopped: whether an event ends the training here.
        seconds: of training and evaluation.
        environment: of this process.
        checkpoint: gives everything that resuming needs, as bytes; an `owner`, if given, has its own.
        generator: gives the averaged generator, as safetensors; likewise.
    """

    index: int
    start: int
    stop: int
    history: pa.RecordBatch
    events: tuple[Event, ...]
    scores: Mapping[str, float]
    samples: npt.NDArray[np.generic]
    stopped: bool
    seconds: float
    environment: Environment
    checkpoint: Callable[..., bytes]
    generator: Callable[..., bytes]

    def pictured(self) -> bytes:
        """Return the samples as a .npy file."""
        sink = io.BytesIO()
        np.save(sink, self.samples, allow_pickle=False)
        return sink.getvalue()


def train(config: TrainConfig, state: TrainState | None = None, *, extractor: bytes | None = None) -> Iterator[Segment]:
    """Train, and yield every `segment_steps` steps.

    Args:
        config: everything that the training depends on.
        state: go on from here instead of from step 0, to the same bits.
        extractor: weights of the features that images are scored on; trained anew where they are needed and not given.

    Yields:
        Segments until `config.steps`, or until a detector stops the training.

    Raises:
        ConfigError, DataError: the configuration cannot be trained here, or a static check refuses it.
        MisfitError: `state` is not of this configuration.
    """
    for event in refusals(config):
        if event.action == "stop":
            raise ConfigError(event.message)
    training = Training(config, extractor)
    if state is not None:
        training.resume(state)
    while training.step < config.steps:
        segment = training.advance()
        yield segment
        if segment.stopped:
            return


class Training:
    """A game under way: what `train` moves from one segment to the next."""

    def __init__(self, config: TrainConfig, extractor: bytes | None) -> None:
        self.step = 0
        self._config = config
        self._device = configure(config)
        dataset = data.load(config.data)
        self._train = placed(torch.from_numpy(dataset.train), self._device)
        self._is_image = len(dataset.shape) == IMAGE_DIMS
        objective = find("objective", config.objective.name).load_make()(config.objective)
        if not isinstance(objective, Objective | OwnGame):
            name = config.objective.name
            raise ConfigError(f"objective {name} must make an Objective or OwnGame, but made {objective!r}")
        build = objective.build if isinstance(objective, OwnGame) else partial(gan.build, objective)
        self._game: Game = build(config, dataset.shape, len(dataset.train), self._device)
        self._moves = self._game.owner.due
        self._sampler = self._game.networks[self._game.sampler]
        self._average = copy.deepcopy(self._sampler).eval().requires_grad_(requires_grad=False)
        self._parameters = _paired(self._average.parameters(), self._sampler.parameters())
        self._buffers = list(zip(*_paired(self._average.buffers(), self._sampler.buffers()), strict=True))
        self._evaluator = evaluation.make_evaluator(config, dataset, extractor)
        self._neighbours = neighbours_of(dataset, self._evaluator)
        self._held_out = placed(torch.from_numpy(dataset.held_out), self._device)
        self.constants = self._known(objective)
        self._watch = Watch(config, self._game, self.constants, self._device)

    def resume(self, state: TrainState) -> None:
        """Go on from a state."""
        restore(self._game, self._average, state)
        self._watch.go_on(state.past, state.step)
        self.step = state.step

    def scores(self) -> Mapping[str, float]:
        """Return the scores of the averaged generator as it is now; none where one is not finite."""
        return self._score(self._sample(), self.step)[0]

    def advance(self) -> Segment:
        """Train to the next boundary and look at what came out."""
        began, drawn = time.perf_counter(), global_state(self._device)
        start, size = self.step, self._config.segment_steps
        stop = min((start // size + 1) * size, self._config.steps)
        self._play(start, stop)
        samples = self._sample()
        if global_state(self._device) != drawn:
            raise ConfigError(OWN_RANDOM)
        scores, unscored = self._score(samples, stop)
        history, events = self._watch.segment(start, stop, self._evaluated(samples, scores))
        events = (*(refusals(self._config) if start == 0 else ()), *events, *unscored)  # the first only warn
        self.step = stop
        state = snapshot(self._game, self._average, stop, self._watch.past)
        return Segment(
            index=math.ceil(stop / size),
            start=start,
            stop=stop,
            history=history,
            events=events,
            scores=scores,
            samples=self._shown(samples),
            stopped=any(event.action == "stop" for event in events),
            seconds=time.perf_counter() - began,
            environment=describe(self._config, self._device),
            checkpoint=partial(save, state),
            generator=partial(_weights, state),
        )

    def _play(self, start: int, stop: int) -> None:
        signals = self._watch.signals
        signals.reset(stop - start)
        draws, where = self._game.draws, {"index": self._train.device}
        for before, last in blocks(draws, start, stop):
            staged = Staged(draws, self._config.seed, before, last, self._device, where)
            for step in range(before + 1, last + 1):
                batch = staged.at(step)
                batch["real"] = self._train[batch["index"]].to(self._device)
                row, old = step - start - 1, signals.before(step)
                play(self._game, step, batch, partial(signals.put, row))
                if self._moves(step):
                    self._update_average()
                if old:
                    signals.after(row, step, old, batch, self._unseen(step))

    def _unseen(self, step: int) -> Tensor:
        """Return as many rows of the held-out part as a batch has; they go round in it, and nothing is drawn."""
        rows, every = self._config.batch_size * self._config.pack, self._config.slow_every
        first = step // every * rows
        places = torch.arange(first, first + rows, device=self._held_out.device) % len(self._held_out)
        return self._held_out[places].to(self._device)

    def _update_average(self) -> None:
        """Average parameters exponentially (Karras et al. 2018, appendix A.1); copy buffers."""
        with torch.no_grad():
            torch._foreach_lerp_(*self._parameters, 1 - self._config.ema)
            for mine, new in self._buffers:
                mine.copy_(new)

    def _known(self, objective: Objective | OwnGame) -> Constants:
        config = self._config
        stagnation = config.stability.get("stagnation")
        untrained = None
        if stagnation is not None and stagnation.action != "off" and self._evaluator.perfect is not None:
            untrained = next(iter(self._evaluator.scores(self._sample()).values()))
        return Constants(
            d_floor=labels.d_floor(config.labels, objective) if isinstance(objective, Objective) else None,
            boundary=objective.boundary if isinstance(objective, Objective) else None,
            clip=config.clip,
            target=config.penalty.target,
            untrained=untrained if untrained is not None and math.isfinite(untrained) else None,
            perfect=self._evaluator.perfect,
        )

    def _evaluated(self, samples: Floats, scores: Mapping[str, float]) -> dict[str, float]:
        score = next(iter(scores.values()), math.nan)
        return {"score": score, **self._neighbours.values(samples)}

    def _sample(self) -> Floats:
        """Draw from the averaged generator; the latents are the same at every segment of a trial."""
        latent, config = self._config.latent, self._config
        size = (config.evaluation.samples, latent.size)
        drawn = numbers(generator(config.seed, "evaluation"), latent.prior, size).astype(np.float32, copy=False)
        return run(self._average, drawn)

    def _score(self, samples: Floats, stop: int) -> tuple[Mapping[str, float], tuple[Event, ...]]:
        scores = self._evaluator.scores(samples)
        broken: dict[str, float | str] = {
            name: str(value) for name, value in scores.items() if not math.isfinite(value)
        }
        if not np.isfinite(samples).all():  # which a score may look past
            broken["samples"] = "not finite"
        if not broken:
            return scores, ()
        message = f"{'the samples' if 'samples' in broken else 'the score'} of step {stop} are not finite"
        event = Event(kind="non_finite", step=stop, severity=1.0, action="stop", evidence=broken, message=message)
        return {}, (event,)

    def _shown(self, samples: Floats) -> npt.NDArray[np.generic]:
        if not self._is_image:
            return samples[:SHOWN_POINTS, :2]
        return to_uint8(samples[: self._config.evaluation.grid])


def _paired(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    return list(ours), list(theirs)


def _weights(state: TrainState, owner: str = "") -> bytes:
    from safetensors.torch import save as to_bytes

    prefix = "average/"
    averaged = {key[len(prefix) :]: value for key, value in state.tensors.items() if key.startswith(prefix)}
    data: bytes = to_bytes(averaged, metadata={"owner": owner})
    return data
