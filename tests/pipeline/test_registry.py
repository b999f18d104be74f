"""Every gate of the registry can refuse; names and aliases are checked before anything is asked."""

import numpy as np
import pytest

from pipeline import registry
from pipeline.book import Book
from pipeline.projection import ModelVersion
from pipeline.records import TrialState
from tests.fakes import shown
from tests.fakes.memory_store import MemoryStore
from trainers.errors import ConfigError, NotGoodEnough


class NoRegistrar:
    """A registrar of which nothing but the champion may be asked."""

    tracking_uri = "memory://"

    def __init__(self, champion: ModelVersion | None = None) -> None:
        self.champion = champion

    def version_by_alias(self, name, alias):
        assert (name, alias) == ("gan", "champion")
        return self.champion

    def log_generator(self, book, trial):
        raise AssertionError("nothing may be logged")

    def drop_generator(self, book, trial):
        raise AssertionError("nothing may be removed")

    def create_version(self, book, trial, model_id, name, gates):
        raise AssertionError("nothing may be published")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def book_with(store: MemoryStore, *states: TrialState) -> Book:
    trials = [record for number, state in enumerate(states) for record in shown.trial(store, number, state)]
    return shown.book_of([shown.study(store), *trials])


def version(score: float, metric: str = shown.METRIC, key: str = "other/1") -> ModelVersion:
    tags = {"gansearch.trial_key": key, "gansearch.score": repr(score), "gansearch.metric": metric}
    return ModelVersion(version=4, tags=tags)


def refused(error: pytest.ExceptionInfo[registry.GateRefused]) -> list[str]:
    return [gate["gate"] for gate in error.value.gates if not gate["passed"]]


def try_out(store, book, champion=None, trial=None, alias="champion"):
    registrar = NoRegistrar(champion)
    return registry.register(registrar, book, store, trial, name="gan", alias=alias, dry_run=True)


def test_a_good_trial_passes_every_gate_and_a_dry_run_registers_nothing(store):
    result = try_out(store, book_with(store, TrialState.COMPLETED))
    assert (result["model"], result["version"], result["alias"]) == ("gan", None, "champion")
    assert [gate["gate"] for gate in result["gates"]] == ["completed", "stable", "finite", "better", "draws"]
    assert all(gate["passed"] and gate["detail"] for gate in result["gates"])


def test_a_diverged_trial_is_refused_with_its_event(store):
    book = book_with(store, TrialState.DIVERGED)
    with pytest.raises(registry.GateRefused, match="exploding_gradient at step 73") as error:
        try_out(store, book, trial=book.trials[0])
    assert refused(error) == ["completed", "stable"]
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("champion", "passes", "detail"),
    [
        (None, True, "no champion yet"),
        (version(5.1), True, "5.0 against version 4's 5.1"),
        (version(5.0), False, "5.0 against version 4's 5.0"),
        (version(4.9), False, "5.0 against version 4's 4.9"),
        (version(4.9, metric="mixture_kl"), True, "not compared"),
        (version(5.0, key="u1/0"), True, "the champion already, as version 4"),
        (ModelVersion(version=4, tags={}), True, "not compared"),
    ],
)
def test_a_trial_must_beat_a_champion_that_can_be_compared(store, champion, passes, detail):
    book = book_with(store, TrialState.COMPLETED)
    gate = registry.better_gate(book.study, book.trials[0], champion)
    assert gate["passed"] is passes
    assert detail in gate["detail"]


def test_a_worse_trial_is_refused(store):
    with pytest.raises(registry.GateRefused) as error:
        try_out(store, book_with(store, TrialState.COMPLETED), champion=version(4.9))
    assert refused(error) == ["better"]


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf")])
def test_a_generator_that_draws_nan_is_refused(store, spoilt):
    book = book_with(store, TrialState.COMPLETED)
    result = book.trials[0].segments[-1].result
    bad = result.model_copy(update={"generator": store.put(shown.weights(0, 1, spoil=spoilt))})
    book.trials[0].segments[-1] = book.trials[0].segments[-1].model_copy(update={"result": bad})
    with pytest.raises(registry.GateRefused) as error:
        try_out(store, book)
    assert refused(error) == ["draws"]


def test_a_generator_that_is_gone_is_refused(store):
    book = book_with(store, TrialState.COMPLETED)
    del store.blobs[book.trials[0].best.result.generator]
    with pytest.raises(registry.GateRefused, match="missing") as error:
        try_out(store, book)
    assert refused(error) == ["draws"]


def test_samples_of_another_shape_are_refused():
    gate = registry.samples_gate("draws", np.zeros((7, 2), np.float32), (1, 8, 8))
    assert gate == {"gate": "draws", "passed": False, "detail": "samples must be (1, 8, 8), but are (2,)"}


def test_without_a_completed_trial_there_is_nothing_to_register(store):
    with pytest.raises(NotGoodEnough, match="no trial is completed"):
        try_out(store, book_with(store, TrialState.PRUNED))


@pytest.mark.parametrize("alias", ["latest", "Latest", "v1", "V22", "1st", "", "a b", "champion@2"])
def test_an_alias_that_mlflow_reserves_or_refuses_is_refused(store, alias):
    with pytest.raises(ConfigError, match="--alias must begin with a letter"):
        try_out(store, book_with(store, TrialState.COMPLETED), alias=alias)


def test_an_alias_is_kept_in_lower_case(store):
    assert try_out(store, book_with(store, TrialState.COMPLETED), alias="Champion")["alias"] == "champion"


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "../x", "-x", "x" * 129, "a'b"])
def test_a_name_that_cannot_be_kept_is_refused(store, name):
    book = book_with(store, TrialState.COMPLETED)
    with pytest.raises(ConfigError, match="--name must be"):
        registry.register(NoRegistrar(), book, store, None, name=name, alias="champion", dry_run=True)
