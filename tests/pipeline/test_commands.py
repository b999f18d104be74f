"""What the commands do: find a trial, write it down so that it trains alone, vary it, list what there is."""

import pytest
import yaml
from PIL import Image

from pipeline import commands
from pipeline.book import Book
from pipeline.commands import Place, Study, alone, catalogue, open_study, varied
from pipeline.config import SearchConfig, first_params, load, search_space, train_config, trial_seed
from pipeline.ledger import Ledger
from pipeline.ports import Job
from pipeline.records import SegmentRecord, TrialRecord, TrialSpec, TrialState
from pipeline.store import open_store
from pipeline.worker import Worker
from search_spaces import CLASSIC, Choice, Float, Space, Union, defaults, known_spaces
from tests.fakes import journal, shown
from trainers.config import TrainConfig
from trainers.errors import ConfigError, Unreachable
from trainers.registry import known

RUN = "0123456789abcdef0123456789abcdef"

OWN = Union(
    name="own",
    summary="two kinds of our own",
    source="none",
    spaces=(
        Space(name="slow", summary="s", source="s", fixed={"objective": "wasserstein", "clip": 0.01},
              dims=(Float("optim.lr_d", 1e-5, 1e-3, log=True),), default={"optim.lr_d": 1e-4}),
        Space(name="quick", summary="s", source="s", fixed={"objective": "non_saturating"},
              dims=(Choice("n_critic", (1, 5)),), default={"n_critic": 1}),
    ),
)  # fmt: skip


def a_study(search, count=3):
    """A study whose trials were asked for as a search does it."""
    book = Book()
    book.apply(journal.study(study=search.study, config=search.model_dump(mode="json")))
    wanted = first_params(search)
    for number in range(count):
        params = wanted[number % len(wanted)]
        config = train_config(search, params, trial_seed(search.seed, number))
        book.apply(TrialRecord(at=1.0, spec=TrialSpec(number=number, key=f"u/{number}", params=params, config=config)))
    return Study(name=search.study, store=None, book=book, tracking_uri=None)


def search(*sets):
    return load(sets=["study=mine", "data=ring8", "steps=40", "segment_steps=20", *sets])


# -- which trial -------------------------------------------------------------------------------------------------------


def test_a_trial_is_found_by_its_number_and_by_its_run():
    study = a_study(search())
    study.book.apply(journal.run(2, RUN))
    assert study.trial("1").number == 1
    assert study.trial(RUN).number == 2


@pytest.mark.parametrize("text", ["3", "-1", "first", "", "1.0", "²"])
def test_an_unknown_trial_says_which_there_are(text):
    with pytest.raises(ConfigError) as caught:
        a_study(search()).trial(text)
    assert str(caught.value) == f"study 'mine' has no trial {text!r} (trials: 0 to 2; `gansearch trials`)"


def test_a_misspelt_run_names_the_nearest_one():
    study = a_study(search())
    study.book.apply(journal.run(0, RUN))
    with pytest.raises(ConfigError, match=f"did you mean '{RUN}'"):
        study.trial(RUN[:-1] + "e")


def test_a_study_without_trials_says_so():
    with pytest.raises(ConfigError, match="trials: none yet"):
        a_study(search(), count=0).trial("0")


# -- alone -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sets",
    [
        (),
        ("network.width=64", "latent.prior=uniform", "n_critic=2", "checkpoint_every=3"),
        ("penalty=gradient", "penalty.lambda=3", "stability.exploding_gradient.threshold=7"),
        ("space=wgan", "optim.name=rmsprop", "data=digits", "network=dcgan", "metrics=[frechet]"),
        ("stability.non_finite.action=off", "updates=simultaneous", "n_critic=1", "ema=0", "optim.beta1_g=0.1"),
        ("space=tests.pipeline.test_commands:OWN",),
    ],
)
def test_what_trains_a_trial_alone_is_a_search_file_with_its_configuration(sets, tmp_path):
    study = a_study(search(*sets))
    for trial in study.book.trials.values():
        file = tmp_path / f"{trial.number}.yaml"
        file.write_text(alone(study, trial))
        loaded = load(file)
        assert (loaded.study, loaded.trials, loaded.workers) == (f"mine-trial-{trial.number}", 1, 1)
        assert not loaded.halving.enabled
        again = train_config(loaded, first_params(loaded)[0], trial.spec.config.seed)
        assert again == trial.spec.config


def test_what_trains_a_trial_alone_says_how_to_get_the_same_bits():
    study = a_study(search())
    text = alone(study, study.book.trials[1])
    assert text.splitlines()[0] == "# For the same bits: gansearch rerun 1 --study mine"
    assert "seed" not in yaml.safe_load(text)


# -- varied ------------------------------------------------------------------------------------------------------------


BASE = train_config(SearchConfig(), defaults(CLASSIC)[2], 5)


def test_without_a_change_a_trial_is_the_same():
    assert varied(BASE, [], None, None) == BASE


def test_changes_are_in_the_words_of_a_search():
    sets = ["penalty.lambda=3", "optim.lr_d=0.5", "stability.non_finite.action=warn", "network={name: mlp, width: 7}"]
    found = varied(BASE, sets, 70, "cpu")
    assert (found.penalty.lambda_, found.optim.lr_d, found.steps, found.device) == (3.0, 0.5, 70, "cpu")
    assert (found.stability["non_finite"].action, found.network.width) == ("warn", 7)
    assert (found.seed, found.n_critic, found.optim.lr_g) == (5, BASE.n_critic, BASE.optim.lr_g)


def test_another_variant_leaves_the_old_ones_parameters_behind():
    assert varied(BASE, ["penalty=none"], None, None).penalty.model_dump() == {"name": "none", "every": 1}
    assert varied(BASE, ["network=dcgan"], None, None).network.features == 32


def test_the_seed_may_be_varied():
    assert varied(BASE, ["seed=6"], None, None) == BASE.model_copy(update={"seed": 6})


@pytest.mark.parametrize(
    ("sets", "steps", "message"),
    [
        (["n_critic=0"], None, "n_critic must be .*1.* but got n_critic=0"),
        (["optim.lr=1"], None, r"optim\.lr\b"),
        (["network=resnet18"], None, "unknown network 'resnet18'"),
        (["network.widht=3"], None, r"network\.widht"),
        (["n_critic"], None, "--set must be KEY=VALUE, but got --set n_critic"),
        ([], 0, "steps must be .*1.* but got steps=0"),
    ],
)
def test_a_change_that_cannot_be_meant_is_refused_with_its_rule(sets, steps, message):
    with pytest.raises(ConfigError, match=message):
        varied(BASE, sets, steps, None)


def test_a_device_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match=r"device must be .*cuda.* but got device=abacus"):
        varied(BASE, [], None, "abacus")


# -- a study on a disk -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A study with one trial that was trained for real, and its store."""
    folder = tmp_path_factory.mktemp("store")
    store = open_store(folder)
    small = search("network.width=8", "network.depth=1", "batch_size=8", "evaluation.samples=40", "device=cpu")
    trial = a_study(small, count=1).book.trials[0]
    worker = Worker(store.uri)
    prepared = worker.prepare(trial.spec.config)
    results = [worker.start(Job(spec=trial.spec, attempt=0, checkpoint=None, extractor=None)), worker.advance()]
    with Ledger.open(store, "mine") as ledger:
        config = small.model_dump(mode="json")
        ledger.append(journal.study(study="mine", config=config, metric=prepared.metric, data=prepared.data))
        ledger.append(TrialRecord(at=1.0, spec=trial.spec), journal.attempt(0))
        for index, result in enumerate(results):
            ledger.append(SegmentRecord(at=2.0, trial=0, attempt=0, index=index, result=result))
        ledger.append(journal.decision(0, TrialState.COMPLETED, score=results[1].score, best_index=1))
    return Place(store=str(folder))


def test_the_only_study_of_a_store_is_opened(place):
    study = open_study(place)
    assert (study.name, study.trial("0").steps, study.tracking_uri) == ("mine", 40, None)
    assert open_study(Place(store=place.store, tracking_uri="http://x")).tracking_uri == "http://x"


def test_a_store_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(Unreachable, match="there is no store"):
        open_study(Place(store=str(tmp_path / "none")))
    assert not (tmp_path / "none").exists()


def test_a_recorded_trial_is_verified(place):
    recorded = commands.bundle(place, "0")
    said = []
    document, failed = commands.train_again(recorded, recorded.spec.config, verify=True, out=None, say=said.append)
    assert (document["identical"], document["steps_compared"], failed) == (True, 40, False)
    assert [line.split(":")[0] for line in said] == ["step 20", "step 40"]


def test_a_verified_difference_must_not_be(place):
    recorded = commands.bundle(place, "0")
    other = recorded.spec.config.model_copy(update={"seed": 1})
    document, failed = commands.train_again(recorded, other, verify=True, out=None, say=lambda line: None)
    assert (document["identical"], failed) == (False, True)


def test_a_variation_is_trained_and_kept(place, tmp_path):
    recorded = commands.bundle(place, "0")
    config = varied(recorded.spec.config, ["optim.lr_d=0.01"], 30, None)
    out = tmp_path / "out"
    document, failed = commands.train_again(recorded, config, verify=False, out=out, say=lambda line: None)
    assert (document["trial"], document["steps"], document["out"], failed) == (0, 30, str(out), False)
    assert [row["step"] for row in document["scores"]] == [20, 30]
    assert TrainConfig.model_validate(yaml.safe_load((out / "config.yaml").read_text())) == config


def test_a_trials_generator_draws_a_picture_that_its_seed_decides(place, tmp_path):
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        commands.sample(place, "0", n=20, seed=seed, out=tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert a == b != c
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (512, 512)


@pytest.mark.parametrize(("name", "rule"), [("a.jpg", "must end in .png"), ("none/a.png", "must lie in a folder")])
def test_a_picture_must_have_a_place(place, tmp_path, name, rule):
    with pytest.raises(ConfigError, match=rule):
        commands.sample(place, "0", n=1, seed=1, out=tmp_path / name)


def test_samples_that_cannot_be_drawn_are_refused(tmp_path):
    store = open_store(tmp_path / "store")
    study = shown.study(store)
    series = study.model_copy(update={"data": study.data | {"shape": [1, 64]}})  # as many numbers as its images have
    with Ledger.open(store, "digits") as ledger:
        ledger.append(series, *shown.trial(store, 0))
    with pytest.raises(ConfigError, match=r"only points and images .* samples of 0 have the shape \[1, 64\]"):
        commands.sample(Place(store=store.uri), "0", n=4, seed=1, out=tmp_path / "a.png")


def test_mlflow_is_where_the_option_or_the_study_or_the_store_says(place, tmp_path):
    assert commands.tracking_uri(Place(store=place.store, tracking_uri="http://x")) == "http://x"
    assert commands.tracking_uri(place) == f"sqlite:///{place.store}/mlflow.db"
    store = open_store(tmp_path)
    for name, uri in (("a", "http://a"), ("b", "http://b")):
        with Ledger.open(store, name) as ledger:
            config = SearchConfig(study=name, tracking_uri=uri).model_dump(mode="json")
            ledger.append(journal.study(study=name, config=config))
        if name == "a":
            assert commands.tracking_uri(Place(store=str(tmp_path))) == "http://a"
    with pytest.raises(ConfigError, match=r"--tracking-uri must be given: .* http://a, http://b"):
        commands.tracking_uri(Place(store=str(tmp_path)))


# -- what there is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "variant"),
    [
        ("data", "data"),
        ("objectives", "objective"),
        ("penalties", "penalty"),
        ("networks", "network"),
        ("detectors", "detector"),
        ("metrics", "metric"),
    ],
)
def test_a_catalogue_lists_every_variant_of_its_kind(kind, variant):
    rows = catalogue(kind)
    assert [row["name"] for row in rows] == [row.name for row in known(variant)]
    assert rows
    assert all(tuple(row) == ("name", "summary") and row["summary"] for row in rows)


def test_a_detector_says_what_it_does_by_default():
    found = {row["name"]: row["summary"] for row in catalogue("detectors")}
    assert found["d_loss_zero"].endswith(" (stop; threshold 0.001, window 200)")
    assert found["oscillation"].endswith(" (warn; threshold 0.7, window 400)")


def test_a_catalogue_lists_every_space():
    assert [row["name"] for row in catalogue("spaces")] == [space.name for space in known_spaces()]
    assert all(row["summary"] for row in catalogue("spaces"))


def test_the_searched_space_of_what_is_alone_has_nothing_left_to_search(tmp_path):
    study = a_study(search())
    file = tmp_path / "f.yaml"
    file.write_text(alone(study, study.book.trials[0]))
    assert [branch.dims for branch in search_space(load(file)).branches] == [()]
