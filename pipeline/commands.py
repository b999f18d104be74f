"""What the commands do that read a study; imports neither torch, ray nor mlflow before it must."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from pipeline.book import Book, Trial
from pipeline.ledger import Ledger, read_book, resolve_study, study_names
from pipeline.records import RegistrationRecord
from pipeline.store import DiskStore, open_store
from trainers.config import TrainConfig
from trainers.errors import ConfigError, NotGoodEnough, nearest
from trainers.registry import Kind, known

if TYPE_CHECKING:
    from pipeline.artifacts import RunBundle
    from pipeline.mlflow_store import Tracker
    from trainers.loop import Segment

DEFAULT_STORE = "./gansearch-store"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a study is, as the options of a command say it."""

    store: str | None = None
    study: str | None = None
    tracking_uri: str | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study that was opened for reading."""

    name: str
    store: DiskStore
    book: Book
    tracking_uri: str | None

    def trial(self, text: str) -> Trial:
        """Return a trial by its number or its MLflow run id.

        Raises:
            ConfigError: there is no such trial; the message says which there are.
        """
        trials = self.book.trials
        if text.isdecimal() and int(text) in trials:
            return trials[int(text)]
        for trial in trials.values():
            if trial.run_id == text:
                return trial
        there = f"0 to {len(trials) - 1}" if trials else "none yet"
        hint = nearest(text, [t.run_id for t in trials.values() if t.run_id]) if not text.isdecimal() else ""
        raise ConfigError(f"study {self.name!r} has no trial {text!r}{hint} (trials: {there}; `gansearch trials`)")

    def tracker(self) -> Tracker:
        """Return the study in MLflow, once MLflow has answered."""
        from pipeline.mlflow_store import Tracker

        tracker = Tracker(self.tracking_uri, self.store, self.name)
        tracker.check()
        return tracker


def open_study(place: Place) -> Study:
    """Open a study for reading.

    Raises:
        Unreachable: the store is not there.
        ConfigError: the study is not in it, or none was named where there are several.
    """
    store = open_store(place.store or DEFAULT_STORE, create=False)
    name = resolve_study(store, place.study)
    book = read_book(store, name)
    return Study(name=name, store=store, book=book, tracking_uri=place.tracking_uri or book.config.get("tracking_uri"))


def bundle(place: Place, trial: str) -> RunBundle:
    """Return a recorded trial from the store, or, by its run id, from MLflow alone.

    Raises:
        ConfigError, UserError: there is no such trial, or it has trained nothing.
    """
    looks_like_run = re.fullmatch(r"[0-9a-f]{32}", trial) is not None
    if place.tracking_uri and looks_like_run and not Path(place.store or DEFAULT_STORE).exists():
        from pipeline.mlflow_store import read_run

        return read_run(place.tracking_uri, trial)
    from pipeline.rerun import from_store

    study = open_study(place)
    return from_store(study.book, study.store, study.trial(trial).number)


def alone(study: Study, trial: Trial) -> str:
    """Return a search file that trains this trial's configuration alone."""
    config = trial.spec.config.model_dump(mode="json", exclude={"seed"})
    branch = trial.spec.params.get("space", study.book.config.get("space"))
    own = {"study": f"{study.name}-trial-{trial.number}", "space": branch, "trials": 1, "workers": 1}
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


def register(
    place: Place, text: str | None, *, name: str | None, alias: str, dry_run: bool
) -> tuple[dict[str, Any], NotGoodEnough | None]:
    """Register a trial's generator; return the document to print, and the refusal if a gate was not passed.

    Raises:
        NotGoodEnough: there is nothing to register.
        StateConflict: a search is running on the study.
    """
    from pipeline import registry

    study = open_study(place)
    tracker = study.tracker()
    model = name or study.name
    with Ledger.open(study.store, study.name) as ledger:
        trial = None if text is None else study.trial(text)
        try:
            done = registry.register(tracker, ledger.book, study.store, trial, name=model, alias=alias, dry_run=dry_run)
        except registry.GateRefused as refusal:
            return {"model": model, "version": None, "alias": alias, "gates": refusal.gates}, refusal
        chosen = trial or ledger.book.best
        if chosen is not None and done["version"] is not None:
            ledger.append(
                RegistrationRecord(
                    at=time.time(),
                    trial=chosen.number,
                    run_id=chosen.run_id or "",
                    model=model,
                    version=done["version"],
                    alias=done["alias"],
                    gates=tuple(done["gates"]),
                )
            )
        return done, None


def sample(place: Place, model: str, *, n: int, seed: int, out: Path) -> None:
    """Draw from a registered model (`models:/...`) or a trial's best generator, and write a picture.

    Raises:
        ConfigError: there is no such trial, it has no generator, or the picture cannot be written there.
    """
    from trainers.generate import load_generator, write_png
    from trainers.generate import sample as draw_from

    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out must end in .png, but got --out {out}")
    if not out.parent.is_dir():
        raise ConfigError(f"--out must lie in a folder that is there, but {out.parent} is not")
    if model.startswith("models:/"):
        from pipeline.models import draw

        samples = draw(model, tracking_uri(place), n, seed)
    else:
        from pipeline.projection import trial_generator

        study = open_study(place)
        trial = study.trial(model)
        digest, shape = trial_generator(study.book, trial)
        config = trial.spec.config
        samples = draw_from(load_generator(config, shape, study.store.get(digest)), config, n, seed)
    write_png(samples, out)


def tracking_uri(place: Place) -> str:
    """Return where MLflow is: as the option says, else as the only study does, else the store's own file."""
    if place.tracking_uri is not None:
        return place.tracking_uri
    store = open_store(place.store or DEFAULT_STORE, create=False)
    configs = [read_book(store, name).config for name in study_names(store)]
    uris = {str(config["tracking_uri"]) for config in configs if config.get("tracking_uri")}
    if len(uris) > 1:
        raise ConfigError(f"--tracking-uri must be given: the studies in {store.uri} use {', '.join(sorted(uris))}")
    return uris.pop() if uris else f"sqlite:///{store.path}/mlflow.db"


def serve_ui(place: Place, port: int, say: Callable[[str], None]) -> int:
    """Run MLflow's UI on 127.0.0.1 until it is ended, and return its exit code."""
    from pipeline.mlflow_process import ui_command

    uri = tracking_uri(place)
    if uri.startswith("http"):
        say(f"the runs are at {uri}: open it in a browser")
        return 0
    store = open_store(place.store or DEFAULT_STORE, create=False)
    say(f"MLflow's UI is at http://127.0.0.1:{port} until Ctrl-C")
    return subprocess.run(ui_command(uri, store.path / "mlartifacts", port), check=False).returncode  # noqa: S603


def catalogue(kind: str) -> list[dict[str, str]]:
    """Return name and summary of everything of a kind, as `gansearch list` names the kinds."""
    if kind == "spaces":
        from search_spaces import known_spaces

        return [{"name": space.name, "summary": space.summary} for space in known_spaces()]
    singular: dict[str, Kind] = {"penalties": "penalty", "data": "data"}
    found = known(singular.get(kind, cast("Kind", kind.removesuffix("s"))))
    return [{"name": variant.name, "summary": variant.summary} for variant in found]


def examine(place: Place, address: str | None) -> list[dict[str, Any]]:
    """Check what a search needs, here and on a worker, and return a row a check."""
    from pipeline import doctor

    store = place.store or DEFAULT_STORE

    def tracking() -> None:
        from pipeline.mlflow_store import Tracker

        Tracker(place.tracking_uri, open_store(store), "doctor").check()

    def on_worker(function: Callable[[], list[doctor.Check]]) -> list[doctor.Check]:
        from pipeline.ray_executor import RayExecutor

        executor = RayExecutor(open_store(store).uri, 1, address=address)
        try:
            found: list[doctor.Check] = executor.call(function)
            return found
        finally:
            executor.close()

    return [asdict(check) for check in doctor.run_checks(store=store, tracking=tracking, on_worker=on_worker)]
