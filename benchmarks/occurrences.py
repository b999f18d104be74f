"""Draw a real occurrence of each stability event for docs/stability.md: `make occurrences`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipeline.figures import event_figure
from tests.fakes.provoked import PROVOKED, provoked
from trainers.config import TrainConfig
from trainers.loop import train
from trainers.stability.events import Event

TARGET = Path("docs/stability")
DIRAC = {
    "data": "dirac",
    "network": "dirac",
    "metrics": ["sliced_wasserstein"],
    "objective": "wasserstein",
    "penalty": {"name": "gradient", "lambda": 0.35},
    "updates": "simultaneous",
    "optim": {"name": "sgd", "lr_d": 0.2, "lr_g": 0.2, "beta1": 0},
    "latent": {"size": 1},
    "steps": 1000,
}


def occurrences() -> Iterator[tuple[str, TrainConfig]]:
    """Yield a kind of event, and a training in which it happens: each kind once."""
    yield "oscillation", TrainConfig.model_validate(DIRAC)
    seen: set[str] = set()
    for name, case in PROVOKED.items():
        if case.kind not in seen:
            seen.add(case.kind)
            yield case.kind, provoked(name)


def drawn(kind: str, config: TrainConfig) -> bytes:
    """Return the picture of the first event of a kind in a training."""
    segments = list(train(config))
    found: Event = next(event for segment in segments for event in segment.events if event.kind == kind)
    return event_figure(pa.Table.from_batches([segment.history for segment in segments]), found)


def main() -> None:
    """Train, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for kind, config in occurrences():
        (chosen.out / f"{kind}.png").write_bytes(drawn(kind, config))


if __name__ == "__main__":
    main()
