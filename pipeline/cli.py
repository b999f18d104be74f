"""The command line; the only file that imports typer. Heavy libraries are imported by the commands that need them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.emit import Format, emit
from pipeline.safe_text import redact, visible
from pipeline.stdout import safe_streams, stdout_to_stderr
from pipeline.working_folder import use_working_folder
from trainers.errors import GansearchError, NotGoodEnough

HELP = "Search GAN hyper-parameters, see why trainings fail, register the best generators."
# Without rich's markup, which would take "[the only one]" for a colour.
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help=HELP)
config_app = typer.Typer(no_args_is_help=True, help="The resolved config, a check, the JSON schema.")
app.add_typer(config_app, name="config")

FormatOption = Annotated[Format, typer.Option("--format", help="What stdout holds.")]
StoreOption = Annotated[str | None, typer.Option("--store", help="Directory of the studies [./gansearch-store].")]
StudyOption = Annotated[str | None, typer.Option("--study", help="Name of the study [the only one].")]
TrackingOption = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow [the store's own SQLite file].")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A dotted key; repeatable.")]
FileArgument = Annotated[Path | None, typer.Argument(metavar="FILE", help="A search file (YAML).")]
# Options of `search` that are keys of its configuration.
CONFIG_OPTIONS = ("study", "space", "data", "trials", "steps", "workers", "seed", "max_hours", "store", "tracking_uri")
TrialArgument = Annotated[str, typer.Argument(metavar="TRIAL", help="A number, or an MLflow run id.")]


def _say(line: str) -> None:
    print(visible(redact(line)), file=sys.stderr)


def main() -> None:
    """Run the command line; errors that are meant for a person end with their exit code and no traceback."""
    try:
        with safe_streams():
            use_working_folder()
            app()
    except GansearchError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)


@app.command()
def search(
    context: typer.Context,
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
    allow_drift: Annotated[bool, typer.Option("--allow-drift", help="Go on though config or versions differ.")] = False,
    store: StoreOption = None,
    tracking_uri: TrackingOption = None,
    format_: FormatOption = "table",
) -> None:
    """Create or resume a study and run it to its budget."""
    from pipeline import config as configs
    from pipeline import view
    from pipeline.commands import needed_options
    from pipeline.launch import Driver, launch
    from pipeline.ports import StoppedError
    from pipeline.signals import StopRequest

    config = configs.load(file, sets or [], {key: context.params[key] for key in CONFIG_OPTIONS})
    with stdout_to_stderr() as out:
        with view.Progress() as progress:
            stop = StopRequest(progress.say_at_once)
            driver = Driver(
                address=address,
                allow_drift=allow_drift,
                should_stop=lambda: stop.made,
                abandon=lambda: stop.hurry,
                patience=lambda: stop.patience,
                uninterrupted=stop.uninterrupted,
                watch=progress.watch,
                say=progress.say,
            )
            try:
                result = launch(config, driver)
            except StoppedError as stopped:
                progress.say(str(stopped))
                sys.exit(stop.exit_code)
        options = needed_options(config.store, config.study)
        emit(format_, result.document(), lambda to: view.print_result(result, to, options), out)
    if stop.made and not result.finished:
        sys.exit(stop.exit_code)
    if result.finished and result.book.best is None:
        raise NotGoodEnough("no trial is completed; `gansearch trials` shows what became of each")


@app.command()
def trials(
    store: StoreOption = None,
    study: StudyOption = None,
    tracking_uri: TrackingOption = None,
    event: Annotated[str | None, typer.Option(metavar="KIND", help="Only those that had such an event.")] = None,
    format_: FormatOption = "table",
) -> None:
    """Show one row a trial."""
    from pipeline import view
    from pipeline.place import Place, open_study, own_tracking_uri

    opened = open_study(Place(store=store, study=study, tracking_uri=tracking_uri))
    document = {"study": opened.name, "tracking_uri": redact(opened.tracking_uri or own_tracking_uri(opened.store))}
    rows = view.trial_rows(opened.book.trials.values(), event)
    emit(format_, document | {"trials": rows}, lambda to: view.print_table(rows, to, event and f"no trial had {event}"))


@app.command()
def show(
    trial: TrialArgument,
    config: Annotated[bool, typer.Option("--config", help="Print a search file that trains it alone.")] = False,
    store: StoreOption = None,
    study: StudyOption = None,
    tracking_uri: TrackingOption = None,
    format_: FormatOption = "table",
) -> None:
    """Show one trial whole: config, scores by step, events with their evidence, artifacts."""
    from pipeline import view
    from pipeline.commands import alone
    from pipeline.place import Place, open_study

    opened = open_study(Place(store=store, study=study, tracking_uri=tracking_uri))
    found = opened.trial(trial)
    if config:
        sys.stdout.write(alone(opened, found))
    else:
        document = {"study": opened.name, **view.trial_story(found)}
        emit(format_, document, lambda to: view.print_story(opened.book, found, document, to))


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
    from pipeline.place import Place

    with stdout_to_stderr() as stdout:  # a user's module may print
        recorded = commands.bundle(Place(store=store, study=study, tracking_uri=tracking_uri), trial)
        changed = commands.varied(recorded.spec.config, sets or [], steps, device)
        document, differs = commands.train_again(recorded, changed, verify=verify, out=out, say=_say)
        emit(format_, document, out=stdout)
    if differs:
        raise NotGoodEnough(f"trial {document['trial']} trained again differs from what was recorded")


@app.command()
def register(
    trial: Annotated[str | None, typer.Argument(metavar="TRIAL", help="A number or run id [the best].")] = None,
    name: Annotated[str | None, typer.Option(help="Registered model [the study's name].")] = None,
    alias: Annotated[str, typer.Option(help="Alias that the new version takes.")] = "champion",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what the gates say.")] = False,
    store: StoreOption = None,
    study: StudyOption = None,
    tracking_uri: TrackingOption = None,
    format_: FormatOption = "table",
) -> None:
    """Register a trial's generator in MLflow, if it passes the gates."""
    from pipeline import upkeep, view
    from pipeline.place import Place

    place = Place(store=store, study=study, tracking_uri=tracking_uri)
    with stdout_to_stderr() as stdout:
        document, refusal = upkeep.register(place, trial, name=name, alias=alias, dry_run=dry_run, say=_say)
        emit(format_, document, lambda to: view.print_registration(document, to), stdout)
    if refusal is not None:
        raise refusal


@app.command()
def sample(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="models:/NAME@ALIAS, or a trial.")],
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Samples.")] = 64,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same samples.")] = 0,
    out: Annotated[Path, typer.Option(help="Picture to write (.png).")] = Path("samples.png"),
    store: StoreOption = None,
    study: StudyOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Draw from a registered model or a trial, and write a picture."""
    from pipeline import commands
    from pipeline.place import Place

    place = Place(store=store, study=study, tracking_uri=tracking_uri)
    with stdout_to_stderr() as stdout:
        commands.sample(place, model, n=n, seed=seed, out=out, say=_say)
        print(out, file=stdout)


@app.command()
def sync(
    store: StoreOption = None,
    study: StudyOption = None,
    tracking_uri: TrackingOption = None,
    format_: FormatOption = "table",
) -> None:
    """Bring MLflow up to date with the ledger, or make its runs and models anew from it."""
    from pipeline import upkeep
    from pipeline.place import Place

    with stdout_to_stderr() as stdout:
        document = upkeep.sync(Place(store=store, study=study, tracking_uri=tracking_uri), _say)
        emit(format_, document, out=stdout)


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="On this machine.")] = 5000,
    store: StoreOption = None,
    study: StudyOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Open MLflow's UI on the store, for this machine alone, until Ctrl-C."""
    from pipeline import commands
    from pipeline.place import Place

    sys.exit(commands.serve_ui(Place(store=store, study=study, tracking_uri=tracking_uri), port, _say))


@app.command()
def doctor(
    store: StoreOption = None,
    tracking_uri: TrackingOption = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster to check [Ray starts here].")] = None,
    format_: FormatOption = "table",
) -> None:
    """Check what a search needs, from a worker too; each failure names its mend."""
    from pipeline import commands, view
    from pipeline.place import Place

    with stdout_to_stderr() as stdout:
        rows = commands.examine(Place(store=store, tracking_uri=tracking_uri), address)
        emit(format_, {"checks": rows}, lambda to: view.print_table(rows, to), stdout)
    if not all(row["ok"] for row in rows):
        sys.exit(4)


ListKind = Literal["spaces", "data", "objectives", "penalties", "networks", "detectors", "metrics"]


@app.command("list")
def list_(kind: Annotated[ListKind, typer.Argument()], format_: FormatOption = "table") -> None:
    """Show what there is of a kind, one line each."""
    from pipeline import view
    from pipeline.commands import catalogue

    rows = catalogue(kind)
    emit(format_, {kind: rows}, lambda to: view.print_table(rows, to))


@config_app.command("show")
def config_show(file: FileArgument = None, sets: SetOption = None, format_: FormatOption = "table") -> None:
    """Print every key with its value, and what the space searches."""
    from pipeline import config as configs

    emit(format_, configs.resolved(configs.load(file, sets or [])))


@config_app.command("validate")
def config_validate(file: FileArgument = None, sets: SetOption = None, format_: FormatOption = "table") -> None:
    """Check a search file without running anything."""
    from pipeline import config as configs

    emit(format_, {"valid": True, "study": configs.load(file, sets or []).study})


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of a search file, for an editor."""
    from pipeline.config_schema import schema

    json.dump(schema(), sys.stdout, indent=2)


if __name__ == "__main__":
    main()
