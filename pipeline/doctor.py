"""Checks what a search needs, here and on a worker; each failure names its mend."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.ports import sentence
from trainers.errors import GansearchError
from trainers.registry import Params

PYTHON_FLOOR = (3, 11)
FLOORS = {  # as in pyproject.toml: distribution to its lowest version
    "matplotlib": "3.9", "mlflow": "3.17", "numpy": "2.1", "obstore": "0.12", "optuna": "5.0", "pillow": "11",
    "pyarrow": "20", "pydantic": "2.11", "pyyaml": "6", "ray": "2.60", "rich": "13.8",
    "safetensors": "0.5", "scikit-learn": "1.6", "scipy": "1.14", "torch": "2.11", "torchvision": "0.26",
    "typer": "0.29",
}  # fmt: skip
MODULES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}  # where it is not the distribution's name
SHM = "/dev/shm"  # noqa: S108 - looked at, not written to
DISK_FLOOR, SHM_FLOOR = 2**30, 2**28  # bytes

RunOnWorker = Callable[[Callable[[], "list[Check]"]], "list[Check]"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that a search needs, whether it is there, and what to do where it is not."""

    name: str
    ok: bool
    detail: str
    mend: str = ""  # empty where all is well


def run_checks(
    *,
    store: str,
    data: Sequence[Params] = (Params(name="digits"),),
    tracking: Callable[[], object] | None = None,
    on_worker: RunOnWorker | None = None,
) -> list[Check]:
    """Check everything, and go on after a failure.

    Args:
        store: URI of the store; it is made where it is not there, as a search would do.
        data: data sets to load.
        tracking: raises where MLflow does not answer; None leaves it out.
        on_worker: starts or reaches Ray and runs a function on a worker of it; None leaves it out.
    """
    checks = [python_check(sys.version_info[:2]), *node_checks(), store_check(store), shm_check(Path(SHM))]
    checks += [data_check(params) for params in data]
    if tracking is not None:
        checks.append(tracking_check(tracking))
    if on_worker is not None:
        checks += worker_checks(on_worker)
    return checks


def node_checks() -> list[Check]:
    """Check what every machine of a search needs: its libraries and its GPUs."""
    return [*(library_check(name, floor) for name, floor in FLOORS.items()), torch_pair_check(), gpu_check()]


def python_check(version: tuple[int, int]) -> Check:
    """Check the interpreter's version, given as (major, minor)."""
    wanted = "{}.{}".format(*PYTHON_FLOOR)
    ok = version >= PYTHON_FLOOR
    mend = "" if ok else f"make the virtual environment with Python {wanted} or later"
    return Check(name="python", ok=ok, detail="{}.{}, needs {} or later".format(*version, wanted), mend=mend)


def library_check(name: str, floor: str) -> Check:
    """Check that a library can be imported and is not older than `floor`."""

    def probe() -> str:
        importlib.import_module(MODULES.get(name, name))
        version = importlib.metadata.version(name)
        if not at_least(version, floor):
            raise GansearchError(f"{version} is older than {floor}")
        return f"{version}, needs {floor} or later"

    return _check(name, probe, f"pip install '{name}>={floor}'")


def at_least(version: str, floor: str) -> bool:
    """Compare two releases by their numbers; a suffix such as "+cu130" or "rc1" is left out."""

    def numbers(text: str) -> list[int]:
        release = re.match(r"\d+(\.\d+)*", text)
        return [int(part) for part in release.group().split(".")] if release else []

    have, want = numbers(version), numbers(floor)
    return have + [0] * (len(want) - len(have)) >= want


def torch_pair_check() -> Check:
    """Check that torchvision's compiled operators belong to the torch that is installed."""

    def probe() -> str:
        import torch
        import torchvision

        boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        kept = torchvision.ops.nms(boxes, torch.ones(1), 0.5)
        return f"torch {torch.__version__} and torchvision {torchvision.__version__} work together ({len(kept)} box)"

    return _check("torch and torchvision", probe, "install the two from one index, in one command, as a released pair")


def gpu_check() -> Check:
    """Check that torch sees the GPUs of a machine that has an NVIDIA driver; a machine without one is fine."""

    def probe() -> str:
        import torch

        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        if not names and Path("/proc/driver/nvidia/version").exists() and torch.version.cuda is None:
            raise GansearchError(f"this machine has an NVIDIA driver, but torch {torch.__version__} is built for CPUs")
        return ", ".join(names) or "none seen: trains on the CPU"

    return _check("gpu", probe, "install a torch that is built for this machine's CUDA driver")


def store_check(uri: str) -> Check:
    """Check that the store takes and gives back a blob, and that its disk has room."""

    def probe() -> str:
        from pipeline.store import open_store

        store = open_store(uri)
        digest = store.put(b"written by gansearch doctor")
        store.get(digest)
        store.discard(digest)
        folder = getattr(store, "path", None)
        if folder is None:
            return f"{uri} can be written"
        free = shutil.disk_usage(folder).free
        if free < DISK_FLOOR:
            raise GansearchError(f"{folder} has {_bytes(free)} free, and a study wants {_bytes(DISK_FLOOR)}")
        return f"{folder} can be written, {_bytes(free)} free"

    return _check("store", probe, "free some space, or name another place with --store")


def shm_check(folder: Path) -> Check:
    """Check that shared memory holds Ray's object store."""

    def probe() -> str:
        if not folder.exists():
            return f"no {folder} here: Ray uses the disk"
        total = shutil.disk_usage(folder).total
        if total < SHM_FLOOR:
            raise GansearchError(f"{folder} holds {_bytes(total)}, and Ray wants {_bytes(SHM_FLOOR)}")
        return f"{folder} holds {_bytes(total)}"

    return _check("shared memory", probe, "start the container with --shm-size=1g")


def data_check(params: Params) -> Check:
    """Check that a data set loads."""

    def probe() -> str:
        from trainers import data

        dataset: Any = data.load(params)
        return f"{len(dataset.train)} train and {len(dataset.held_out)} held-out samples of shape {dataset.shape}"

    return _check(f"data {params.name}", probe, "put its files where data.root says, or set data.download=true")


def tracking_check(probe: Callable[[], object]) -> Check:
    """Check that MLflow answers; `probe` raises where it does not."""

    def answered() -> str:
        probe()
        return "answers"

    return _check("mlflow", answered, "start the server, or leave --tracking-uri out to use the store")


def worker_checks(on_worker: RunOnWorker) -> list[Check]:
    """Check that Ray answers, and that a worker has what this machine has."""
    found: list[Check] = []

    def probe() -> str:
        found.extend(on_worker(node_checks))
        return "a worker answers"

    ray = _check("ray workers", probe, "try without --address; Ray's own logs say more")
    return [ray, *(replace(check, name=f"worker: {check.name}") for check in found)]


def _check(name: str, probe: Callable[[], str], mend: str) -> Check:
    """Return what `probe` says; whatever it raises is the failure to be shown."""
    try:
        return Check(name=name, ok=True, detail=probe())
    except GansearchError as error:
        return Check(name=name, ok=False, detail=str(error), mend=mend)
    except Exception as error:
        return Check(name=name, ok=False, detail=sentence(error), mend=mend)


def _bytes(number: int) -> str:
    return f"{number / 2**30:.2f} GiB"
