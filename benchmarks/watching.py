"""What signals and detectors cost a training: `make watching`.

Blocks of a segment's steps are trained in turn with all of it and with none, in one process and one run, each going on
with a training of its own; the cost is the median over pairs of what the first took more than its neighbour. With it
are all signals, what is measured every `slow_every` steps and of the samples of an evaluation, and every detector.
Without it a step is losses, gradients and the optimizers alone: nothing is recorded, not even a loss.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers import gan
from trainers.config import TrainConfig
from trainers.draws import Staged, blocks
from trainers.loop import Training

TARGET = Path(__file__).with_suffix(".md")
RESAMPLES = 10_000
SEGMENT = 500
CASES: dict[str, tuple[dict[str, Any], int, float]] = {  # configuration, pairs, and the target
    "mlp": ({"data": "digits"}, 40, 0.10),
    "dcgan": ({"data": "polygons", "network": {"name": "dcgan", "features": 16}}, 8, 0.03),
}
GPU_CASES: dict[str, tuple[dict[str, Any], int, float]] = {
    "mlp": ({"data": "digits"}, 40, 0.10),
    "dcgan": ({"data": "polygons", "network": {"name": "dcgan", "features": 64}}, 20, 0.03),
}


class With:
    """A training with all that is watched."""

    def __init__(self, config: TrainConfig) -> None:
        self._training = Training(config, None)
        self._samples = self._training._sample()

    def block(self) -> None:
        """Train a segment, and look at it."""
        training, start = self._training, self._training.step
        training._play(start, start + SEGMENT)
        training._watch.segment(start, start + SEGMENT, training._neighbours.values(self._samples))
        training.step += SEGMENT


class Without:
    """The same training with nothing that is watched."""

    def __init__(self, config: TrainConfig) -> None:
        self._training = Training(config, None)

    def block(self) -> None:
        """Train a segment."""
        training, start = self._training, self._training.step
        with _unwatched():
            for before, last in blocks(training._game.draws, start, start + SEGMENT):
                where = {"index": training._train.device}
                staged = Staged(training._game.draws, training._config.seed, before, last, training._device, where)
                for step in range(before + 1, last + 1):
                    self._step(step, staged.at(step))
        training.step += SEGMENT

    def _step(self, step: int, batch: dict[str, torch.Tensor]) -> None:
        training = self._training
        batch["real"] = training._train[batch["index"]].to(training._device)
        for phase in training._game.phases:
            for player in (player for player in phase if player.due(step)):
                loss, _ = player.loss(batch, step)
                for weight, gradient in zip(player.weights, torch.autograd.grad(loss, player.weights), strict=True):
                    weight.grad = gradient
                player.before(step)
                player.optimizer.step()
                player.after(step)
        if training._moves(step):
            training._update_average()


@contextmanager
def _unwatched() -> Iterator[None]:
    real, gan.said = gan.said, lambda *_: {}
    try:
        yield
    finally:
        gan.said = real


def seconds(block: Callable[[], None]) -> float:
    """Return how long a block took, until the device is done with it."""
    began = time.perf_counter()
    block()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def cost(config: TrainConfig, pairs: int) -> tuple[float, float, float, float]:
    """Return the median cost as a share, its 95 % interval (bootstrap), and the median milliseconds a step without."""
    one, two = With(config), Without(config)
    seconds(one.block), seconds(two.block)  # warm
    took = []
    for pair in range(pairs):
        order = (one, two) if pair % 2 else (two, one)
        found = {type(each): seconds(each.block) for each in order}
        took.append((found[With], found[Without]))
    shares = np.array([a / b - 1 for a, b in took])
    drawn = np.random.Generator(np.random.Philox(key=1)).integers(pairs, size=(RESAMPLES, pairs))
    low, high = np.quantile(np.median(shares[drawn], axis=1), [0.025, 0.975])
    return float(np.median(shares)), float(low), float(high), float(np.median([b for _, b in took])) / SEGMENT * 1000


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET)
    chosen = parser.parse_args()
    gpu = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if gpu else f"{platform.machine()} CPU, 1 thread"
    lines = ["# What watching a training costs", "", "Generated by `make watching`."]
    lines += [" ".join((__doc__ or "").split("\n\n", 1)[1].split()), ""]
    lines += [
        "| where | network | pairs | ms a step without | cost | 95 % interval | target |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (changes, pairs, target) in (GPU_CASES if gpu else CASES).items():
        base = {"metrics": ["sliced_wasserstein"], "steps": 10**9, "segment_steps": SEGMENT}
        share, low, high, each = cost(TrainConfig.model_validate(base | changes), pairs)
        told = f"{share:.1%} | {low:.1%} to {high:.1%} | at most {target:.0%} |"
        lines.append(f"| {where} | {name} | {pairs} | {each:.2f} | {told}")
        print(lines[-1], flush=True)
    chosen.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
