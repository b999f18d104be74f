"""Do trainings on a GPU keep the promises that tests check on a CPU, and how fast are they there?

`make gpu-check` trains each case twice and once more from a checkpoint, and compares all bits. It needs trainers/
alone with torch, numpy, pyarrow, pydantic and safetensors; no Ray, no MLflow, no data set from elsewhere.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trainers import data, evaluation
from trainers.config import TrainConfig
from trainers.data import Dataset
from trainers.environment import configure, describe
from trainers.errors import GansearchError, Unreachable
from trainers.history_file import to_bytes
from trainers.loop import Segment, train
from trainers.registry import Params, Variant, known
from trainers.state import load

SIDE, PER_CLASS, HELD_OUT = 16, 512, 256


def make_discs(params: Params) -> Dataset:
    """Return generated images [1, 16, 16]: a bright disc of random radius in one of four corners, its class."""
    draw = np.random.Generator(np.random.Philox(key=0xD15C))
    labels = np.repeat(np.arange(4, dtype=np.int64), PER_CLASS)
    draw.shuffle(labels)
    at, radius = np.stack((labels // 2, labels % 2)) * 8.0 + 4.0, draw.uniform(1.5, 3.5, len(labels))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    distance = np.hypot(rows - at[0, :, None, None], columns - at[1, :, None, None])
    images = np.tanh(radius[:, None, None] - distance).astype(np.float32)[:, None]
    return Dataset(
        name=params.name,
        train=images[HELD_OUT:],
        held_out=images[:HELD_OUT],
        train_labels=labels[HELD_OUT:],
        held_out_labels=labels[:HELD_OUT],
        metric="frechet",
        licence="none needed: drawn from a formula",
    )


DISCS = Variant(kind="data", name="benchmarks.gpu_check:DISCS", summary="generated discs", make=make_discs)

WASSERSTEIN = {"objective": "wasserstein", "n_critic": 5}
PENALTY = WASSERSTEIN | {"penalty": "gradient", "optim": {"lr_d": 1e-4, "lr_g": 1e-4, "beta1": 0.0, "beta2": 0.9}}
RING = {"data": "ring8", "latent": {"size": 2}, "batch_size": 256}
IMAGES = {"data": DISCS.name, "batch_size": 64}
SHUFFLED = {"name": "dcgan", "norm_d": "layer", "upsample": "pixel_shuffle", "downsample": "average"}
TRICKS = {
    "network": {"name": "dcgan", "norm_g": "instance", "split_latent": True, "noise": "additive", "dropout": 0.2},
    "labels": {"soft_real": 0.1, "flip_fake": 0.05},
    "instance_noise": {"std": 0.1, "decay_steps": 1000},
    "augment": {"translation": 0.125, "cutout": 0.25},
    "replay": {"size": 512},
    "swap": {"player": "discriminator", "every": 50, "steps": 5},
    "warmup": {"updates": 5, "n_critic": 20},
    "batches": "mixed",
}
CASES: dict[str, dict[str, Any]] = {
    "gan, mlp": RING,
    "wgan, mlp": RING | WASSERSTEIN | {"clip": 0.01, "optim": {"name": "rmsprop", "lr_d": 5e-5, "lr_g": 5e-5}},
    "wgan-gp, mlp": RING | PENALTY,
    "gan, dcgan": IMAGES | {"network": "dcgan"},
    "wgan-gp, dcgan": IMAGES | PENALTY | {"network": {"name": "dcgan", "norm_d": "layer"}},
    # One of each thing that keeps a state, draws numbers or has a backward pass of its own.
    "hinge, resnet": IMAGES | {"objective": "hinge", "network": "resnet", "pack": 2, "ema": 0.99},
    "relativistic": IMAGES
    | {"objective": "relativistic", "penalty": {"name": "r1_r2", "every": 4}, "network": SHUFFLED},
    "ebgan, dcgan": IMAGES | {"objective": {"name": "ebgan", "pretrain": 100}, "network": "dcgan"},
    "began, mlp": RING | {"objective": "began", "train_g_above": 0.01, "optim": {"name": "rmsprop"}},
    "tricks, dcgan": IMAGES | TRICKS,
    "vae, mlp": IMAGES | {"objective": "vae", "network": "mlp"},
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came out of a case.

    Attributes:
        case: its name.
        difference: the first thing that was not equal; empty if everything was.
        speed: steps a second with deterministic kernels, evaluation included; the median of segments.
        free_speed: the same with whatever kernels torch prefers, TF32 among them.
    """

    case: str
    difference: str
    speed: float
    free_speed: float


def config_of(case: str, device: str, steps: int, segments: int) -> TrainConfig:
    """Return a case's training; detectors only warn, so that it reaches its last step."""
    warn = {variant.name: {"action": "warn"} for variant in known("detector")}
    sizes = {"steps": steps * segments, "segment_steps": steps, "evaluation": {"samples": 256}}
    return TrainConfig.model_validate({**CASES[case], **sizes, "device": device, "stability": warn})


def check(case: str, config: TrainConfig) -> Row:
    """Train a case straight, again, from the checkpoint in its middle, and without deterministic kernels."""
    extractor = evaluation.train_extractor(data.load(config.data))
    straight, again = (list(train(config, extractor=extractor)) for _ in range(2))
    middle = len(straight) // 2
    state = load(straight[middle - 1].checkpoint())
    resumed = list(train(config, state, extractor=extractor))
    free = list(train(config.model_copy(update={"deterministic": False}), extractor=extractor))
    found = (
        _short_of(straight, config.steps),
        difference("a second run", straight, again),
        difference(f"resumed at step {state.step}", straight[middle:], resumed),
    )
    told = next((text for text in found if text), "")
    return Row(case=case, difference=told, speed=speed(straight, again), free_speed=speed(free))


def difference(what: str, straight: Sequence[Segment], other: Sequence[Segment]) -> str:
    """Return the first difference between two trainings, or nothing: every signal, event, score, sample and weight."""
    for ours, theirs in zip(straight, other, strict=False):
        for name, mine, yours in (
            ("history", to_bytes(ours.history), to_bytes(theirs.history)),
            ("events", ours.events, theirs.events),
            ("scores", ours.scores, theirs.scores),
            ("samples", ours.pictured(), theirs.pictured()),
            ("checkpoint", ours.checkpoint(), theirs.checkpoint()),
        ):
            if mine != yours:
                return f"{what}: {name} differs in steps {ours.start + 1} to {ours.stop}"
    return "" if len(straight) == len(other) else f"{what}: {len(other)} segments instead of {len(straight)}"


def _short_of(segments: Sequence[Segment], steps: int) -> str:
    return "" if segments[-1].stop == steps else f"stopped at step {segments[-1].stop}: {segments[-1].events}"


def speed(*runs: Sequence[Segment]) -> float:
    """Return the median of the segments' steps a second, without each run's first, in which the device warms up."""
    return statistics.median((s.stop - s.start) / s.seconds for run in runs for s in run[1:])


def report(config: TrainConfig, rows: Sequence[Row]) -> str:
    """Return the environment and a table with a line a case."""
    here = describe(config, configure(config)).model_dump()
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    facts = {**here, "cuda": torch.version.cuda, "cudnn": cudnn, "system": platform.platform()}
    lines = [f"{name:<14} {value}" for name, value in facts.items()]
    lines += ["", f"{'case':<16}{'steps/s':>10}{'not determ.':>13}  bits"]
    lines += [f"{r.case:<16}{r.speed:>10.1f}{r.free_speed:>13.1f}  {r.difference or 'equal'}" for r in rows]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check every case, print the report, and return 0, 1 (a difference) or 4 (no GPU)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu tries the check itself")
    parser.add_argument("--case", choices=CASES, action="append", help="this one alone; repeatable [all]")
    parser.add_argument("--steps", type=int, default=500, help="a segment")
    parser.add_argument("--segments", type=int, default=4, help="a training; at least 2")
    given = parser.parse_args(arguments)
    if given.steps < 1 or given.segments < 2:  # noqa: PLR2004 - one to resume after, one to compare
        parser.error("--steps must be at least 1, --segments at least 2")
    try:
        configs = {case: config_of(case, given.device, given.steps, given.segments) for case in given.case or CASES}
        rows = [_checked(case, config) for case, config in configs.items()]
    except GansearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(report(next(iter(configs.values())), rows))
    return int(any(row.difference for row in rows))


def _checked(case: str, config: TrainConfig) -> Row:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise Unreachable("gpu-check needs a GPU, but torch sees none here; --device cpu tries the check itself")
    print(f"{case} ...", file=sys.stderr, flush=True)
    try:
        return check(case, config)
    except RuntimeError as error:  # torch names the operation that has no deterministic kernel on this device
        return Row(case=case, difference=str(error).partition("\n")[0], speed=0.0, free_speed=0.0)


if __name__ == "__main__":
    sys.exit(main())
