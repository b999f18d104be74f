"""A data set of a user's own whose files differ from machine to machine; here from process to process."""

from __future__ import annotations

import os

import numpy as np

from trainers.data import Dataset
from trainers.registry import Params, Variant


def _make(params: Params) -> Dataset:
    draws = np.random.Generator(np.random.Philox(key=os.getpid()))
    train, held_out = draws.normal(size=(2, 500, 2)).astype(np.float32)
    return Dataset(name=params.name, train=train, held_out=held_out, metric="sliced_wasserstein", licence="ours")


DIFFERS = Variant(kind="data", name=f"{__name__}:DIFFERS", summary="is another one", params=Params, make=_make)
