"""What MLflow shall hold: names, parameters, tags, metrics and files, from records alone."""

import io
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline import artifacts, projection
from pipeline.records import SegmentRecord, TrialRecord, TrialSpec, TrialState
from tests.fakes import shown
from tests.fakes.memory_store import MemoryStore
from trainers.errors import UserError
from trainers.history_file import from_bytes
from trainers.stability.events import Event


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def files_of(book, trial, store):
    stored = artifacts.stored_files(book, trial, store)
    return artifacts.trial_files(book, trial) | {path: make() for path, make in stored.items()}


def spec_of(**params) -> TrialSpec:
    return TrialSpec(number=17, key="u/17", params=params, config=shown.CONFIG)


def test_a_configuration_is_flattened_by_dotted_key():
    given = {"a": 1, "b": {"c": 2e-4, "d": {"e": "text"}}, "f": [1, "x"], "g": None, "h": True, "i": {}}
    assert projection.flatten(given) == {
        "a": "1",
        "b.c": "0.0002",
        "b.d.e": "text",
        "f": '[1, "x"]',
        "g": "null",
        "h": "true",
    }


def test_a_trials_parameters_are_its_whole_configuration_and_the_space_branch():
    params = projection.trial_params(spec_of(space="wgan_gp"))
    assert params["space"] == "wgan_gp"
    assert params["network.width"] == "16"
    assert params["stability.non_finite.window"] == "1"
    assert params["data.name"] == "digits"
    assert all(isinstance(value, str) and len(value) < 6000 for value in params.values())


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"space": "wgan_gp", "optim.lr_d": 2e-4, "penalty.lambda": 9.1}, "017 wgan_gp lr_d=2e-4 lambda=9.1"),
        ({"n_critic": 5, "ema": 0.99}, "017 non_saturating n_critic=5 ema=0.99"),
        ({}, "017 non_saturating"),
        ({"optim.lr_d": 0.0123456, "optim.beta1": 0.0}, "017 non_saturating lr_d=0.0123 beta1=0"),
    ],
)
def test_a_runs_name_is_short_and_telling(params, name):
    assert projection.run_name(spec_of(**params)) == name


def test_a_long_name_is_cut():
    assert len(projection.run_name(spec_of(**{"space": "x" * 500}))) == 120


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("http://me:secret@host:5000/a", "http://***@host:5000/a"),
        ("postgresql://token@db/x", "postgresql://***@db/x"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("me@example.org", "me@example.org"),
    ],
)
def test_no_url_keeps_its_password(url, safe):
    assert projection.redact({"a": [url]}) == {"a": [safe]}


def test_a_studys_parameters_and_file_hold_no_password(store):
    book = shown.book_of([shown.study(store)])
    assert "secret" not in json.dumps(projection.study_params(book))
    assert b"secret" not in artifacts.study_files(book)["config.json"]


def test_a_segments_metrics_are_mean_max_and_last_of_each_signal(store):
    record = SegmentRecord(at=1.0, trial=0, attempt=0, index=1, result=shown.segment(store, 0, 1, 5.0))
    metrics = projection.segment_metrics(from_bytes(store.get(record.result.history)), record)
    assert metrics == {
        "d_loss/mean": 75.5,
        "d_loss/max": 100.0,
        "d_loss/last": 100.0,
        "g_loss/mean": 77.5,
        "g_loss/max": 100.0,
        "g_loss/last": 100.0,
        "grad_norm_d/mean": 1.0,
        "grad_norm_d/max": 1.0,
        "grad_norm_d/last": 1.0,
        "non_finite/grad_norm_d": 5.0,
        f"score/{shown.METRIC}": 5.0,
        "extra/confidence": 0.9,
        "seconds": 1.5,
    }


@given(st.lists(st.floats(width=32) | st.none(), min_size=1, max_size=20))
def test_no_metric_is_ever_nan_or_infinite(values):
    store = MemoryStore()
    record = SegmentRecord(at=1.0, trial=0, attempt=0, index=0, result=shown.segment(store, 0, 0, 5.0))
    table = pa.table({"step": range(len(values)), "signal": pa.array(values, pa.float32(), from_pandas=False)})
    metrics = projection.segment_metrics(table, record)
    assert all(math.isfinite(value) for value in metrics.values())
    broken = sum(value is not None and not math.isfinite(value) for value in values)
    assert metrics.get("non_finite/signal", 0) == broken
    assert ("signal/mean" in metrics) == any(value is not None and math.isfinite(value) for value in values)


def test_tags_tell_state_event_attempts_and_losses(store):
    records = [shown.study(store), *shown.trial(store, 0, TrialState.DIVERGED)]
    book = shown.book_of(records)
    tags = projection.trial_tags(book, book.trials[0])
    assert tags["gansearch.state"] == "diverged"
    assert (tags["gansearch.event"], tags["gansearch.event_step"]) == ("exploding_gradient", "73")
    assert tags["gansearch.attempts"] == "1"
    assert tags["mlflow.note.content"] == f"it is diverged {shown.EVENT.message}"
    assert "gansearch.mixed" not in tags


def warned(store, number, *kinds):
    """The records of a completed trial whose first segment has events that only warn, two of each kind."""
    records = shown.trial(store, number)
    events = [
        Event(kind=kind, step=step, severity=0.3, action="warn", message="oh")
        for step, kind in enumerate((*kinds, *kinds), start=7)
    ]
    return [
        record.model_copy(update={"result": record.result.model_copy(update={"events": tuple(events)})})
        if isinstance(record, SegmentRecord) and record.index == 0
        else record
        for record in records
    ]


def test_the_first_event_is_told_though_it_ended_nothing(store):
    book = shown.book_of(
        [shown.study(store), *warned(store, 0, "oscillation", "mode_dropping"), *shown.trial(store, 1)]
    )
    tags = projection.trial_tags(book, book.trials[0])
    names = ("first_event", "first_event_step", "first_event_action", "events")
    assert [tags[f"gansearch.{name}"] for name in names] == ["oscillation", "7", "warn", "mode_dropping,oscillation"]
    assert "gansearch.event" not in tags
    assert not any("event" in key for key in projection.trial_tags(book, book.trials[1]))


def test_the_parent_counts_the_trials_that_had_each_kind_of_event(store):
    trials = [
        *warned(store, 0, "oscillation", "exploding_gradient"),
        *warned(store, 1, "oscillation"),
        *shown.trial(store, 2, TrialState.DIVERGED),
    ]
    book = shown.book_of([shown.study(store), *trials])
    assert projection.event_counts(book) == {"exploding_gradient": (1, 2), "oscillation": (0, 2)}
    tags = projection.study_tags(book, "finished")
    assert tags["gansearch.events.oscillation"] == "2"
    assert "| exploding_gradient | 1 | 2 |" in projection.study_note(book, "finished")


def test_of_a_layers_signals_the_mean_alone_is_a_metric(store):
    record = shown.trial(store, 0)[2]
    table = pa.table({"step": [1, 2], "grad_norm_d.3": [1.0, 3.0], "grad_norm_d": [1.0, 3.0]})
    metrics = projection.segment_metrics(table, record)
    assert {key: value for key, value in metrics.items() if "norm" in key} == {
        "grad_norm_d.3/mean": 2, "grad_norm_d/mean": 2, "grad_norm_d/max": 3, "grad_norm_d/last": 3
    }  # fmt: skip


def test_a_trial_that_has_ended_has_pictures_of_its_first_events(store):
    kinds = [f"kind_{number}" for number in range(5)]
    book = shown.book_of([shown.study(store), *warned(store, 0, *kinds)])
    files = files_of(book, book.trials[0], store)
    assert [path for path in files if path.startswith("events/")] == [
        f"events/{step:06d}-{kind}.png" for step, kind in zip(range(7, 13), (*kinds, kinds[0]), strict=True)
    ]
    assert files["events/000007-kind_0.png"].startswith(b"\x89PNG")


def test_a_trial_that_went_on_elsewhere_is_marked(store):
    records = shown.trial(store, 0)
    other = records[3].result.model_copy(update={"environment": shown.HERE.model_copy(update={"cpu": "AVX512"})})
    records[3] = records[3].model_copy(update={"result": other})
    book = shown.book_of([shown.study(store), *records])
    assert projection.trial_tags(book, book.trials[0])["gansearch.mixed"] == "true"


def test_the_studys_note_has_outcome_counts_and_best_trials(store):
    trials = [*shown.trial(store, 0, score=7.0), *shown.trial(store, 1, score=4.0)]
    book = shown.book_of([shown.study(store), *trials])
    note = projection.study_note(book, "finished")
    assert "**digits** is finished: 2 completed, 0 pruned, 0 diverged, 0 failed" in note
    assert note.index("001 wgan_gp") < note.index("000 wgan_gp")
    assert "No trial is completed" in projection.study_note(shown.book_of([shown.study(store)]), "running")


def test_pictures_have_names_that_depend_on_their_content_alone(store):
    result = shown.segment(store, 0, 0, 5.0)
    record = SegmentRecord(at=1001.1234, trial=0, attempt=0, index=0, result=result)
    files = artifacts.sample_images(store, record)
    assert files == artifacts.sample_images(store, record)
    stem = "images/samples+step+50+timestamp+1001123+"
    digest = result.samples
    unique = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
    assert list(files) == [f"{stem}{unique}.png", f"{stem}{unique}+compressed.webp"]
    png, webp = (Image.open(io.BytesIO(data)) for data in files.values())
    assert (png.format, webp.format) == ("PNG", "WEBP")
    assert max(webp.size) == 256


def test_points_become_a_picture_too(store):
    points = store.put(shown.npy(np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)))
    result = shown.segment(store, 0, 0, 5.0).model_copy(update={"samples": points})
    record = SegmentRecord(at=1.0, trial=0, attempt=0, index=0, result=result)
    png = next(iter(artifacts.sample_images(store, record).values()))
    assert np.asarray(Image.open(io.BytesIO(png))).min() == 0


def test_a_segment_without_samples_has_no_pictures(store):
    result = shown.segment(store, 0, 0, 5.0).model_copy(update={"samples": None})
    assert artifacts.sample_images(store, SegmentRecord(at=1.0, trial=0, attempt=0, index=0, result=result)) == {}


@pytest.mark.parametrize("shape", [(4, 1, 64), (4, 5, 8, 8)])
def test_samples_that_cannot_be_drawn_have_no_pictures(store, shape):
    samples = store.put(shown.npy(np.zeros(shape, dtype=np.float32)))
    result = shown.segment(store, 0, 0, 5.0).model_copy(update={"samples": samples})
    assert artifacts.sample_images(store, SegmentRecord(at=1.0, trial=0, attempt=0, index=0, result=result)) == {}


def test_a_trials_files_give_the_trial_back(store):
    records = [shown.study(store), *shown.trial(store, 0)]
    book = shown.book_of(records)
    trial = book.trials[0]
    bundle = artifacts.read_bundle("r", files_of(book, trial, store))
    assert isinstance(records[1], TrialRecord)
    assert bundle.spec == records[1].spec
    assert list(bundle.spec.params) == list(trial.spec.params)
    assert bundle.environment == shown.HERE
    assert bundle.data == book.study.data
    assert bundle.extractor == b"extractor"
    assert bundle.history["step"].to_pylist() == list(range(1, 101))
    assert list(bundle.scores_by_step[100].items()) == [(shown.METRIC, 5.0), ("confidence", 0.9)]


def test_what_ended_a_trial_has_a_figure_and_each_kind_before_repeats(store):
    book = shown.book_of([shown.study(store), *shown.trial(store, 0, TrialState.DIVERGED)])
    trial = book.trials[0]
    static = shown.EVENT.model_copy(update={"kind": "warned_of_something", "step": 0, "action": "warn"})
    again = [shown.EVENT.model_copy(update={"kind": "oscillation", "step": s, "action": "warn"}) for s in range(1, 12)]
    rare = shown.EVENT.model_copy(update={"kind": "det:MINE", "step": 70, "action": "warn"})
    told = trial.segments[0].result.model_copy(update={"events": (static, *again, rare)})
    trial.segments[0] = trial.segments[0].model_copy(update={"result": told})
    drawn = [name for name in artifacts.stored_files(book, trial, store) if name.startswith("events/")]
    assert drawn[:3] == [
        "events/000073-exploding_gradient.png",
        "events/000001-oscillation.png",
        "events/000070-det.MINE.png",
    ]
    assert len(drawn) == artifacts.FIGURES


def test_a_note_says_a_sentence_once(store):
    book = shown.book_of([shown.study(store), *shown.trial(store, 0, TrialState.DIVERGED)])
    trial = book.trials[0]
    trial.decision = trial.decision.model_copy(update={"reason": trial.event.message})
    note = projection.trial_tags(book, trial)[projection.NOTE]
    assert note.count("gradient norm was above") == 1


def test_the_event_table_has_mlflows_layout(store):
    book = shown.book_of([shown.study(store), *shown.trial(store, 0, TrialState.DIVERGED)])
    table = json.loads(files_of(book, book.trials[0], store)["events.json"])
    assert table["columns"] == ["kind", "step", "severity", "action", "message", "evidence"]
    assert len(table["data"]) == 1, "the event of the decision and of its segment are one"
    assert json.loads(table["data"][0][-1]) == {"grad_norm_d": "inf", "threshold": 100.0}


def test_a_trial_without_a_step_has_files_but_cannot_be_rerun_from_them(store):
    book = shown.book_of([shown.study(store), *shown.trial(store, 0, TrialState.FAILED, segments=0)])
    files = files_of(book, book.trials[0], store)
    assert files["traceback.txt"] == b"Traceback: boom"
    with pytest.raises(UserError, match=r"run r has no environment.json, history.parquet"):
        artifacts.read_bundle("r", files)


def test_a_strangers_files_are_refused(store):
    with pytest.raises(UserError, match="run r is not a trial of this software"):
        artifacts.read_bundle("r", dict.fromkeys(artifacts.NEEDED, b"{}"))
