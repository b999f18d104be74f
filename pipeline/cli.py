"""The command line; the only file that imports typer.

Every command prints data on stdout and talk on stderr. Heavy libraries are imported by the commands that need them.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import typer

from trainers.errors import GansearchError, NotGoodEnough, UserError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Search GAN hyper-parameters, see why trainings fail, register the best generators.",
)
config_app = typer.Typer(no_args_is_help=True, help="The resolved config, a check, the JSON schema.")
app.add_typer(config_app, name="config")

Format = Literal["table", "json"]
FormatOption = Annotated[Format, typer.Option("--format", help="What stdout holds.")]
StoreOption = Annotated[str | None, typer.Option("--store", help="Directory of the studies [./gansearch-store].")]
StudyOption = Annotated[str | None, typer.Option("--study", help="Name of the study [the only one].")]
TrackingOption = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow [the store's own SQLite file].")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A dotted key; repeatable.")]
FileArgument = Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A search file (YAML).")]
TrialArgument = Annotated[str, typer.Argument(metavar="TRIAL", help="A number, or an MLflow run id.")]


def main() -> None:
    """Run the command line; errors that are meant for a person end with their exit code and no traceback."""
    try:
        app()
    except GansearchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _print(document: Any) -> None:
    json.dump(document, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


class _Stop:
    """Ctrl-C and SIGTERM: once suspends the search, Ctrl-C twice ends at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._caught)

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            raise KeyboardInterrupt
        self.signal = number
        print("stopping: what is being trained is kept, and the same command goes on with it", file=sys.stderr)

    @property
    def exit_code(self) -> int:
        return 0 if self.signal is None else 128 + self.signal


@app.command()
def search(
    file: FileArgument = None,
    study: StudyOption = None,
    space: Annotated[str | None, typer.Option(help="What is searched; see `gansearch list spaces`.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set; see `gansearch list data`.")] = None,
    trials: Annotated[int | None, typer.Option(help="Finished trials in total; more extend a finished study.")] = None,
    steps: Annotated[int | None, typer.Option(help="Discriminator updates a trial.")] = None,
    workers: Annotated[int | None, typer.Option(help="Trainings at the same time.")] = None,
    seed: Annotated[int | None, typer.Option(help="Everything random follows from it.")] = None,
    max_hours: Annotated[float | None, typer.Option(help="Then suspend; the same command resumes.")] = None,
    sets: SetOption = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster, such as auto [Ray starts here].")] = None,
    allow_drift: Annotated[bool, typer.Option(help="Go on though config, code or versions differ.")] = False,
    store: StoreOption = None,
    tracking_uri: TrackingOption = None,
    format_: FormatOption = "table",
) -> None:
    """Create or resume a study and run it to its budget."""
    from pipeline import config as configs

    options = {
        "study": study,
        "space": space,
        "data": data,
        "trials": trials,
        "steps": steps,
        "workers": workers,
        "seed": seed,
        "max_hours": max_hours,
        "store": store,
        "tracking_uri": tracking_uri,
    }
    config = configs.load(file, sets or [], options)
    _run_search(config, address, allow_drift=allow_drift, as_json=format_ == "json")


def _run_search(config: Any, address: str | None, *, allow_drift: bool, as_json: bool) -> None:
    from pipeline import view
    from pipeline.launch import Driver, launch
    from pipeline.stdout import stdout_to_stderr

    stop = _Stop()
    with stdout_to_stderr() as out:
        with view.Progress(total=config.trials) as progress:
            driver = Driver(
                address=address,
                allow_drift=allow_drift,
                should_stop=lambda: stop.signal is not None,
                watch=progress.watch,
                say=progress.say,
            )
            result = launch(config, driver)
        if as_json:
            json.dump(result.document(), out, indent=2)
            out.write("\n")
        else:
            view.print_result(result, out, _options(config.store, config.study))
    if stop.exit_code and not result.finished:
        sys.exit(stop.exit_code)
    if result.finished and result.book.best is None:
        raise NotGoodEnough("no trial is completed; `gansearch trials` shows what became of each")


def _options(store: str, study: str) -> str:
    from pipeline.commands import DEFAULT_STORE, Place, open_study

    needed = "" if Path(store).resolve() == Path(DEFAULT_STORE).resolve() else f" --store {store}"
    with suppress(UserError):
        open_study(Place(store=store))
        return needed
    return f"{needed} --study {study}"


@app.command()
def trials(
    store: StoreOption = None,
    study: StudyOption = None,
    tracking_uri: TrackingOption = None,
    format_: FormatOption = "table",
) -> None:
    """Show one row a trial."""
    from pipeline import view
    from pipeline.commands import Place, open_study

    opened = open_study(Place(store=store, study=study, tracking_uri=tracking_uri))
    rows = [view.trial_row(trial) for trial in opened.book.trials.values()]
    if format_ == "json":
        uri = opened.tracking_uri or f"sqlite:///{Path(opened.store.uri) / 'mlflow.db'}"
        _print({"schema": 1, "study": opened.name, "tracking_uri": uri, "trials": rows})
    else:
        view.print_table(rows, sys.stdout)


@app.command()
def show(
    trial: TrialArgument,
    config: Annotated[bool, typer.Option("--config", help="Print a search file that trains it alone.")] = False,
    store: StoreOption = None,
    study: StudyOption = None,
    format_: FormatOption = "table",
) -> None:
    """Show one trial whole: config, scores by step, events with their evidence, artifacts."""
    from pipeline import view
    from pipeline.commands import Place, alone, open_study

    opened = open_study(Place(store=store, study=study))
    found = opened.trial(trial)
    if config:
        sys.stdout.write(alone(opened, found))
    elif format_ == "json":
        _print({"schema": 1, "study": opened.name, **view.trial_story(found)})
    else:
        view.print_yaml(view.trial_story(found), sys.stdout)


@app.command()
def rerun(
    trial: TrialArgument,
    verify: Annotated[bool, typer.Option("--verify", help="Compare every recorded step.")] = False,
    sets: SetOption = None,
    steps: Annotated[int | None, typer.Option(help="Train so many steps instead.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for samples and weights.")] = None,
    store: StoreOption = None,
    study: StudyOption = None,
    tracking_uri: TrackingOption = None,
    format_: FormatOption = "table",
) -> None:
    """Train a trial again here, without Ray; the study is never changed."""
    from pipeline import commands

    place = commands.Place(store=store, study=study, tracking_uri=tracking_uri)
    recorded = commands.bundle(place, trial)
    changed = commands.varied(recorded.spec.config, sets or [], steps, device)
    document, differs = commands.train_again(recorded, changed, verify=verify, out=out, say=_say)
    if format_ == "json":
        _print(document)
    else:
        _yaml(document)
    if differs:
        raise NotGoodEnough(f"trial {document['trial']} trained again differs from what was recorded")


@app.command()
def register(
    trial: Annotated[str | None, typer.Argument(metavar="[TRIAL]", help="A number or run id [the best].")] = None,
    name: Annotated[str | None, typer.Option(help="Registered model [the study's name].")] = None,
    alias: Annotated[str, typer.Option(help="Alias that the new version takes.")] = "champion",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what the gates say.")] = False,
    store: StoreOption = None,
    study: StudyOption = None,
    tracking_uri: TrackingOption = None,
    format_: FormatOption = "table",
) -> None:
    """Register a trial's generator in MLflow, if it passes the gates."""
    from pipeline import commands, view
    from pipeline.stdout import stdout_to_stderr

    place = commands.Place(store=store, study=study, tracking_uri=tracking_uri)
    with stdout_to_stderr() as stdout:
        document, refusal = commands.register(place, trial, name=name, alias=alias, dry_run=dry_run)
        if format_ == "json":
            json.dump(document, stdout, indent=2)
            stdout.write("\n")
        else:
            view.print_table(document["gates"], stdout)
            print(f"{document['model']} version {document['version']} @{document['alias']}", file=stdout)
    if refusal is not None:
        raise refusal


@app.command()
def sample(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="models:/NAME@ALIAS, or a trial.")],
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Samples.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same samples.")] = 0,
    out: Annotated[Path, typer.Option(help="Picture to write (.png).")] = Path("samples.png"),
    store: StoreOption = None,
    study: StudyOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Draw from a registered model or a trial, and write a picture."""
    from pipeline import commands
    from pipeline.stdout import stdout_to_stderr

    place = commands.Place(store=store, study=study, tracking_uri=tracking_uri)
    with stdout_to_stderr() as stdout:
        commands.sample(place, model, n=n, seed=seed, out=out)
        print(out, file=stdout)


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    store: StoreOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Open MLflow's UI on the store, for this machine alone, until Ctrl-C."""
    from pipeline import commands

    sys.exit(commands.serve_ui(commands.Place(store=store, tracking_uri=tracking_uri), port, _say))


@app.command()
def doctor(
    store: StoreOption = None,
    tracking_uri: TrackingOption = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster to check [Ray starts here].")] = None,
    format_: FormatOption = "table",
) -> None:
    """Check what a search needs, from a worker too; each failure names its mend."""
    from pipeline import commands, view
    from pipeline.stdout import stdout_to_stderr

    with stdout_to_stderr() as stdout:
        rows = commands.examine(commands.Place(store=store, tracking_uri=tracking_uri), address)
        if format_ == "json":
            json.dump({"schema": 1, "checks": rows}, stdout, indent=2)
            stdout.write("\n")
        else:
            view.print_table(rows, stdout)
    if not all(row["ok"] for row in rows):
        sys.exit(4)


ListKind = Literal["spaces", "data", "objectives", "penalties", "networks", "detectors", "metrics"]


@app.command("list")
def list_(kind: Annotated[ListKind, typer.Argument()], format_: FormatOption = "table") -> None:
    """Show what there is of a kind, one line each."""
    from pipeline import view
    from pipeline.commands import catalogue

    rows = catalogue(kind)
    if format_ == "json":
        _print({kind: rows})
    else:
        view.print_table(rows, sys.stdout)


@config_app.command("show")
def config_show(file: FileArgument = None, sets: SetOption = None, format_: FormatOption = "table") -> None:
    """Print every key with its value, and what the space searches."""
    from pipeline import config as configs

    _either(format_, configs.resolved(configs.load(file, sets or [])))


@config_app.command("validate")
def config_validate(file: FileArgument = None, sets: SetOption = None, format_: FormatOption = "table") -> None:
    """Check a search file without running anything."""
    from pipeline import config as configs

    loaded = configs.load(file, sets or [])
    if format_ == "json":
        _print({"schema": 1, "valid": True, "study": loaded.study})
    else:
        print(f"{file or 'the default search'} is valid: study {loaded.study}, {loaded.trials} trials")


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of a search file, for an editor."""
    from pipeline.config_schema import schema

    _print(schema())


def _either(format_: Format, document: Any) -> None:
    emit: Callable[[Any], None] = _print if format_ == "json" else _yaml
    emit(document)


def _yaml(document: Any) -> None:
    from pipeline import view

    view.print_yaml(document, sys.stdout)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
