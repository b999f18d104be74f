"""What the commands do that read a study; imports neither torch, ray nor mlflow before it must."""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import yaml

from pipeline.book import Trial
from pipeline.ledger import study_names
from pipeline.place import DEFAULT_STORE, Place, Study, open_study, tracking_uri
from pipeline.safe_text import redact
from pipeline.store import DiskStore, open_store
from trainers.config import TrainConfig
from trainers.errors import ConfigError, IntegrityError, Unreachable
from trainers.registry import Kind, Variant, known

if TYPE_CHECKING:
    from pipeline.artifacts import RunBundle
    from trainers.loop import Segment


def needed_options(store: str, study: str) -> str:
    """Return the options without which a next command would not find this study: empty, or beginning with a space."""
    options = "" if Path(store).resolve() == Path(DEFAULT_STORE).resolve() else f" --store {shlex.quote(store)}"
    return options if study_names(open_store(store, create=False)) == [study] else f"{options} --study {study}"


def bundle(place: Place, trial: str) -> RunBundle:
    """Return a recorded trial from the store, or, by its run id, from MLflow alone.

    Raises:
        ConfigError, UserError: there is no such trial, or it has trained nothing.
    """
    looks_like_run = re.fullmatch(r"[0-9a-f]{32}", trial) is not None
    if place.tracking_uri and looks_like_run and not _holds(place, trial):
        from pipeline.mlflow_store import read_run

        return read_run(place.tracking_uri, trial)
    from pipeline.rerun import from_store

    study = open_study(place)
    return from_store(study.book, study.store, study.trial(trial).number)


def _holds(place: Place, run_id: str) -> bool:
    """Whether the store that a place names is there and has a study that knows the run."""
    try:
        open_study(place).trial(run_id)
    except (ConfigError, Unreachable):
        return False
    return True


def alone(study: Study, trial: Trial) -> str:
    """Return a search file that trains this trial's configuration alone."""
    config = trial.spec.config.model_dump(mode="json", exclude={"seed"})
    # The study's space, in which these values leave the trial's branch: a branch of a user's own has no name elsewhere.
    space = study.book.config.get("space", trial.spec.params.get("space"))
    own = {"study": f"{study.name}-trial-{trial.number}", "space": space, "trials": 1, "workers": 1}
    text: str = yaml.safe_dump({**own, "halving": {"enabled": False}, **config}, sort_keys=False)
    return f"# For the same bits: gansearch rerun {trial.number} --study {study.name}\n{text}"


def varied(config: TrainConfig, sets: list[str], steps: int | None, device: str | None) -> TrainConfig:
    """Return a recorded configuration with the user's changes.

    Raises:
        ConfigError: a change cannot be meant.
    """
    from pipeline.config import vary_training

    return vary_training(config, sets, {"steps": steps, "device": device})


def train_again(
    recorded: RunBundle, config: TrainConfig, *, verify: bool, out: Path | None, say: Callable[[str], None]
) -> tuple[dict[str, Any], bool]:
    """Train a recorded trial, or a variation of it, and return the document to print and whether it must not differ.

    Args:
        recorded: the trial.
        config: what to train.
        verify: compare every recorded step.
        out: folder for samples and weights.
        say: told one line a segment.
    """
    from pipeline import rerun

    keep = rerun.keeper(out, config)

    def watch(segment: Segment) -> None:
        keep(segment)
        say(f"step {segment.stop}: {', '.join(f'{name} {value:.4g}' for name, value in segment.scores.items())}")

    if verify:
        found = rerun.verify(recorded, config, watch)
        for line in rerun.environment_difference(recorded.environment, found.environment):
            say(line)
        return found.document(), found.identical is False
    segments = rerun.train_here(recorded, config, watch)
    last = segments[-1]
    return {
        "trial": recorded.spec.number,
        "steps": last.stop,
        "scores": [{"step": segment.stop, **segment.scores} for segment in segments],
        "events": [event.model_dump(mode="json") for segment in segments for event in segment.events],
        "out": None if out is None else str(out),
    }, False


def sample(
    place: Place, model: str, *, n: int, seed: int, out: Path, say: Callable[[str], None] = lambda _: None
) -> None:
    """Draw from a registered model (`models:/...`) or a trial's best generator, and write a picture.

    Args:
        place: where the study is.
        model: a model's URI, or a trial.
        n: samples, at least 1.
        seed: at least 0.
        out: the picture.
        say: told when a trial is trained again, whose weights were collected.

    Raises:
        ConfigError: there is no such trial, its samples cannot be drawn, or the picture cannot be written there.
        NotGoodEnough: the trial has no generator.
    """
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out must end in .png, but got --out {out}")
    if not out.parent.is_dir():
        raise ConfigError(f"--out must lie in a folder that is there, but {out.parent} is not")
    from trainers.generate import load_generator
    from trainers.generate import sample as draw_from
    from trainers.picture import centres_of, write_png

    centres = None
    if model.startswith("models:/"):
        from pipeline.models import draw

        samples = draw(model, tracking_uri(place), n, seed)
    else:
        config, shape, weights = _generator(place, model, say)
        samples, centres = draw_from(load_generator(config, shape, weights), config, n, seed), centres_of(config)
    try:
        drawn = write_png(samples, out, centres)
    except OSError as error:
        raise ConfigError(f"--out must be a file that can be written, but got --out {out}: {error.strerror}") from error
    if not drawn:
        size = list(samples.shape[1:])
        raise ConfigError(f"only points and images can be drawn, but samples of {model} have the shape {size}")


def _generator(
    place: Place, text: str, say: Callable[[str], None], seen: str = ""
) -> tuple[TrainConfig, tuple[int, ...], bytes]:
    """Return a trial's configuration, the shape of a sample and its best generator.

    A search that runs removes a generator once the trial has a better one: the study is read again where that
    happened since it was read, which `seen` tells, the generator that was missing.
    """
    from pipeline.projection import trial_generator
    from pipeline.rerun import weights_of

    study = open_study(place)
    trial = study.trial(text)
    digest, shape = trial_generator(study.book, trial)
    try:
        return trial.spec.config, shape, weights_of(study.book, study.store, trial, say)
    except IntegrityError:
        if digest == seen:
            raise
    return _generator(place, text, say, digest)


def serve_ui(place: Place, port: int, say: Callable[[str], None]) -> int:
    """Run MLflow's UI on 127.0.0.1 until Ctrl-C or SIGTERM, and return its exit code; no process of it stays.

    Raises:
        Unreachable: the port is in use, or the server ends before it answers.
    """
    from pipeline.mlflow_process import ui_command

    uri = tracking_uri(place)
    if uri.startswith("http"):
        say(f"the runs are at {redact(uri)}: open it in a browser")
        return 0
    store = open_store(place.store or DEFAULT_STORE, create=False)
    _refuse_taken(port)
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}  # else eight processes for nothing
    folder = store.path if isinstance(store, DiskStore) else Path.cwd()
    command = ui_command(uri, folder / "mlartifacts", port)
    server = subprocess.Popen(command, env=env, start_new_session=True)  # noqa: S603 - our own command
    caught: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        caught.append(number)
        server.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    url = f"http://127.0.0.1:{port}"
    if answered := _comes_up(server, f"{url}/health"):
        say(f"MLflow's UI is at {url} until Ctrl-C")
    code = server.wait()
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)  # MLflow's server leaves processes behind where it is ended
    if not caught and not answered:
        raise Unreachable(f"MLflow's server ended with code {code} before it answered; its own lines above say why")
    return 128 + caught[0] if caught else code


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was in use just now is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be listened on ({error.strerror})"
            raise Unreachable(f"port {port} {why}; name another with --port") from error


def _comes_up(server: subprocess.Popen[bytes], url: str) -> bool:
    """Wait until a server answers, and return True, or until it has ended."""
    here = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to this machine
    while server.poll() is None:
        with suppress(OSError), here.open(url, timeout=5):
            return True
        time.sleep(0.2)
    return False


def catalogue(kind: str) -> list[dict[str, str]]:
    """Return name and summary of everything of a kind, as `gansearch list` names the kinds."""
    if kind == "spaces":
        from search_spaces import known_spaces

        return [{"name": space.name, "summary": space.summary} for space in known_spaces()]
    singular: dict[str, Kind] = {"penalties": "penalty", "data": "data"}
    found = known(singular.get(kind, cast("Kind", kind.removesuffix("s"))))
    return [{"name": variant.name, "summary": _summary(variant)} for variant in found]


def _summary(variant: Variant) -> str:
    """Return what a variant is; of a detector also what it does by default, and over how many steps."""
    if variant.kind != "detector":
        return variant.summary
    default = variant.load_params().model_validate({"name": variant.name}).model_dump()
    return f"{variant.summary} ({default['action']}; threshold {default['threshold']:g}, window {default['window']})"


def examine(place: Place, address: str | None) -> list[dict[str, Any]]:
    """Check what a search needs, here and on a worker, and return a row a check."""
    from pipeline import doctor

    store = place.store or DEFAULT_STORE

    def tracking() -> None:
        from pipeline.mlflow_store import MlflowTracker

        MlflowTracker(place.tracking_uri, open_store(store), "doctor").check()

    def on_worker(function: Callable[[], list[doctor.Check]]) -> list[doctor.Check]:
        from pipeline.ray_executor import RayExecutor

        executor = RayExecutor(open_store(store).uri, 1, address=address)
        try:
            found: list[doctor.Check] = executor.call(function)
            return found
        finally:
            executor.close()

    return [asdict(check) for check in doctor.run_checks(store=store, tracking=tracking, on_worker=on_worker)]
