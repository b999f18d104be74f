"""What the commands do that write beside a search: register and sync; imports no MLflow before it must."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from pipeline.book import Trial
from pipeline.ledger import Ledger
from pipeline.place import Place, open_study
from pipeline.records import RegistrationRecord
from pipeline.safe_text import redact
from trainers.errors import IntegrityError, NotGoodEnough, Unreachable

Say = Callable[[str], None]


def register(
    place: Place, text: str | None, *, name: str | None, alias: str, dry_run: bool, say: Say = lambda _: None
) -> tuple[dict[str, Any], NotGoodEnough | None]:
    """Register a trial's generator; return the document to print, and the refusal if a gate was not passed.

    The alias follows the record, so it never names what the ledger does not know.

    Args:
        place: where the study is.
        text: a trial; None is the best one.
        name: of the registered model; None is the study's.
        alias: to give.
        dry_run: only tell what the gates say.
        say: told one line for the user.

    Raises:
        NotGoodEnough: there is nothing to register.
        StateConflict: a search is running on the study.
    """
    from pipeline import registry

    study = open_study(place)
    tracker = study.tracker()
    model = name or study.name
    with ExitStack() as stack:
        # Telling what the gates say needs no study of one's own: it may be in use, or on a disk that is only read.
        ledger = None if dry_run else stack.enter_context(Ledger.open(study.store, study.name, say=say))
        book = study.book if ledger is None else ledger.book
        trial = book.best if text is None else book.trials[study.trial(text).number]
        options: dict[str, Any] = {"name": model, "alias": alias, "dry_run": dry_run, "say": say}
        try:
            done = registry.register(tracker, book, study.store, trial, **options)
        except registry.GateRefused as refusal:
            return {"model": model, "version": None, "alias": alias, "gates": refusal.gates}, refusal
        if ledger is not None and trial is not None and done["version"] is not None:
            record = _record(ledger, trial, done)
            tracker.set_alias(model, record.alias, record.version)
            if (broken := tracker.show_registrations(ledger.book)) is not None:
                say(f"another model is not shown: {broken}")
        return done, None


def _record(ledger: Ledger, trial: Trial, done: dict[str, Any]) -> RegistrationRecord:
    """Append a registration, unless the newest of its alias says the same already, and return it."""
    record = RegistrationRecord(
        at=time.time(),
        trial=trial.number,
        run_id=trial.run_id or "",
        model=done["model"],
        version=done["version"],
        alias=done["alias"],
        gates=tuple(done["gates"]),
    )
    if not _known(ledger, record):
        ledger.append(record)
    return record


def _known(ledger: Ledger, record: RegistrationRecord) -> bool:
    """Whether the newest record of the alias says the same already."""
    same_alias = [r for r in ledger.book.registrations if (r.model, r.alias) == (record.model, record.alias)]
    return bool(same_alias) and (same_alias[-1].trial, same_alias[-1].version) == (record.trial, record.version)


def sync(place: Place, say: Say) -> dict[str, Any]:
    """Show all that the ledger holds, where it is shown, and return the document to print.

    Args:
        place: where the study is.
        say: told one line for the user.

    Raises:
        StateConflict: a search is running on the study, and shows it.
        Unreachable: MLflow, or Optuna's database, does not answer, or fails again and again.
        IntegrityError: a blob is missing or corrupt; all else is shown.
    """
    from pipeline.projection import outcome_of
    from pipeline.projectors import Projectors
    from pipeline.trackers import open_trackers

    study = open_study(place)
    with Ledger.open(study.store, study.name, say=say) as ledger:
        begun, uri, check = ledger.book.begun, study.tracking_uri, ledger.check
        trackers = open_trackers(ledger.book.config, study.store, study.name, uri, begun.uid, taken_over=check)
        say(f"showing {len(ledger.records)} records at {redact(trackers[0].tracking_uri)}")
        projectors = Projectors(ledger.records, trackers, check)
        unsynced = projectors.show_now(outcome_of(ledger.book))
        if projectors.conflict is not None:
            raise projectors.conflict
        if runs := projectors.drain():
            ledger.append(*runs)
    if projectors.integrity is not None:
        raise IntegrityError(f"{unsynced} records could not be shown whole: {projectors.integrity}")
    if unsynced:
        raise Unreachable(f"{unsynced} records are not shown yet: {projectors.failure}; run `gansearch sync` again")
    return {"study": study.name, "unsynced": 0, "tracking_uri": redact(trackers[0].tracking_uri)}
