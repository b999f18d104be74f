"""A stored trace of 50 steps of WGAN-GP on ring8; `python -m tests.golden.trace` makes it anew.

It is made anew on purpose only: a change of it is a change of the bits of every recorded training.
"""

import json
from pathlib import Path
from typing import Any

from trainers.config import TrainConfig
from trainers.loop import train

FILE = Path(__file__).parent / "wgan_gp_ring8.json"
CONFIG = TrainConfig.model_validate(
    {
        "seed": 2017,
        "data": "ring8",
        "objective": "wasserstein",
        "penalty": "gradient",
        "network": {"name": "mlp", "width": 32, "depth": 2},
        "optim": {"lr_d": 1e-3, "lr_g": 1e-3, "beta1": 0.5, "beta2": 0.9},
        "latent": {"size": 8},
        "n_critic": 5,
        "batch_size": 32,
        "steps": 50,
        "segment_steps": 50,
        "evaluation": {"samples": 100},
        "device": "cpu",
    }
)


def record() -> dict[str, Any]:
    """Train, and return the environment and every signal of every step; JSON keeps a float32 to the bit."""
    (segment,) = train(CONFIG)
    signals = {name: segment.history.column(name).to_pylist() for name in segment.history.schema.names}
    return {
        "config": CONFIG.model_dump(mode="json"),
        "environment": segment.environment.model_dump(),
        "signals": signals,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(record(), indent=1) + "\n")
