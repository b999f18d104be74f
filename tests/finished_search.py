"""One small search that has ended, and the commands that look at it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.book import Book
from pipeline.ledger import read_book
from pipeline.store import DiskStore, open_store
from tests.command_line import Done, document, gansearch

# Trial 0 completes, 1 and 2 are made to fail, 3 learns nothing and is pruned, 4 is the best; 5 to 7 are the published
# defaults, and 8 is the only one that is sampled.
BEST, SECOND, ZERO, EXPLODING, PRUNED = 4, 0, 1, 2, 3  # numbers of its trials
SEARCH = """
study: tiny
data: digits
space: classic
trials: 9
workers: 2
seed: 3
network: {name: mlp, width: 64, depth: 2}
latent: {size: 8}
batch_size: 32
steps: 240
segment_steps: 120
evaluation: {samples: 200, grid: 16}
halving: {first_rung: 120, eta: 2}
stability: {d_loss_zero: {window: 50}, exploding_gradient: {action: stop}}
enqueue:
  - {space: wgan_gp, optim.lr_d: 1e-3, optim.lr_g: 1e-3, optim.beta1: 0.5, n_critic: 1, penalty.lambda: 10.0}
  - {space: gan, optim.lr_d: 1e-2, optim.lr_g: 1e-5, optim.beta1: 0.5, n_critic: 5}
  - {space: wgan, optim.lr_d: 1e-2, optim.lr_g: 1e-5, optim.beta1: 0.5, n_critic: 5, clip: 1.0}
  - {space: wgan_gp, optim.lr_d: 1e-5, optim.lr_g: 1e-5, optim.beta1: 0.5, n_critic: 5, penalty.lambda: 10.0}
  - {space: wgan_gp, optim.lr_d: 5e-3, optim.lr_g: 4e-3, optim.beta1: 0.4, n_critic: 1, penalty.lambda: 9.0}
"""


@dataclass(frozen=True)
class Finished:
    """A search that has ended: where its things are, and what it printed."""

    folder: Path
    done: Done

    @property
    def document(self) -> Any:
        """What the search printed on stdout."""
        return document(self.done)

    @property
    def file(self) -> Path:
        """The search file."""
        return self.folder / "tiny.yaml"

    @property
    def store(self) -> DiskStore:
        """The store."""
        return open_store(self.folder / "store", create=False)

    @property
    def book(self) -> Book:
        """The study."""
        return read_book(self.store, "tiny")

    @property
    def tracking_uri(self) -> str:
        """The SQLite file in the store."""
        return f"sqlite:///{self.folder}/store/mlflow.db"

    def run(self, *args: str | Path, **env: str) -> Done:
        """Run a command on the store."""
        return gansearch(*args, "--store", self.folder / "store", cwd=self.folder, **env)
