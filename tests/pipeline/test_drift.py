"""What decides results may not change unseen from one driver to the next; what does not is free."""

import json
import re
from pathlib import Path

import pytest

from pipeline import drift
from pipeline.book import Book
from pipeline.config import load
from pipeline.records import BudgetRecord
from tests.fakes import journal


def book(search, **changes):
    facts = {"config": search.model_dump(mode="json"), "versions": drift.versions(), "code": drift.code_digest(search)}
    seen = Book()
    seen.apply(journal.study(**json.loads(json.dumps(facts)) | changes))
    return seen


def search(*sets):
    return load(sets=["study=s", "data=ring8", *sets])


def test_the_same_search_does_not_differ():
    same = search("network.width=64", "enqueue=[{space: gan, n_critic: 5}]", "max_hours=1")
    assert drift.differences(book(same), same) == []


def test_a_study_that_has_not_begun_differs_from_nothing():
    assert drift.differences(Book(), search()) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("seed=5", "seed: 0 in the study, 5 now"),
        ("steps=70", "steps: null in the study, 70 now"),
        ("network.width=64", "network.width: null in the study, 64 now"),
        ("optim.lr_d=0.001", "optim.lr_d: null in the study, 0.001 now"),
        ("halving.eta=2", "halving.eta: 3 in the study, 2 now"),
        ("space=gan", "space: classic in the study, gan now"),
        ("n_startup_trials=4", "n_startup_trials: 8 in the study, 4 now"),
    ],
)
def test_a_changed_key_is_told_in_one_line(change, line):
    assert drift.differences(book(search()), search(change)) == [line]


def test_another_data_set_is_told():
    assert drift.differences(book(search()), search("data=digits")) == ["data.name: ring8 in the study, digits now"]


def test_a_key_that_is_no_longer_set_is_told():
    assert drift.differences(book(search("steps=70")), search()) == ["steps: 70 in the study, null now"]


def test_the_first_own_value_of_the_training_is_told_alone():
    bare = load(sets=["study=s"])
    assert drift.differences(book(bare), load(sets=["study=s", "steps=70"])) == ["steps: null in the study, 70 now"]


@pytest.mark.parametrize(
    "change",
    [
        "trials=99",
        "workers=7",
        "max_hours=3",
        "gpus_per_worker=0",
        "retries.worker_lost=9",
        "store=elsewhere",
        "tracking_uri=http://mlflow.example",
    ],
)
def test_what_decides_no_result_is_free(change):
    assert drift.differences(book(search()), search(change)) == []


def test_a_name_and_a_mapping_with_that_name_are_the_same():
    written = search()
    short = written.model_dump(mode="json") | {"train": {"data": "ring8"}}
    assert drift.differences(book(written, config=short), written) == []


def test_another_version_is_told():
    old = drift.versions() | {"torch": "1.13.0"}
    [line] = drift.differences(book(search(), versions=old), search())
    assert line == f"version of torch: 1.13.0 in the study, {drift.versions()['torch']} now"


def test_other_code_is_told_by_its_digest():
    [line] = drift.differences(book(search(), code="0" * 64), search())
    assert line == f"code: {'0' * 12} in the study, {drift.code_digest(search())[:12]} now"


def test_what_was_allowed_once_is_what_later_drivers_are_compared_with():
    seen, changed = book(search()), search("steps=70")
    seen.apply(BudgetRecord(at=2.0, config=changed.model_dump(mode="json"), allowed=("steps",)))
    assert drift.differences(seen, changed) == []
    assert drift.differences(seen, search()) == ["steps: 70 in the study, null now"]


def test_each_change_back_and_forth_must_be_allowed():
    seen = book(search())
    for sets in (["seed=5"], []):
        changed = search(*sets)
        [line] = drift.differences(seen, changed)
        seen.apply(BudgetRecord(at=2.0, config=changed.model_dump(mode="json"), allowed=(line,)))
    assert drift.differences(seen, search("seed=5")) == ["seed: 0 in the study, 5 now"]


def test_the_code_digest_is_one_of_the_sources():
    assert drift.code_digest(search()) == drift.code_digest(search("steps=70"))
    assert len(drift.code_digest(search())) == 64


@pytest.mark.parametrize("own", ["own_losses.py", "own_losses/__init__.py", "own_losses/deep/maths.py"])
def test_a_users_own_module_is_part_of_the_code(tmp_path, monkeypatch, own):
    path = tmp_path / own
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in {path.parent, tmp_path / "own_losses"} & set(path.parents):
        (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    config = search().model_copy(update={"train": {"metrics": ["own_losses.deep:SHARPNESS"]}})
    assert drift.user_modules(config) == ["own_losses"]
    digests = []
    for text in ("LAMBDA = 1", "LAMBDA = 2", "LAMBDA = 1"):
        path.write_text(text)
        digests.append(drift.code_digest(config))
    assert digests[0] == digests[2] != digests[1]
    assert digests[0] != drift.code_digest(search())


def test_a_module_that_the_users_own_space_names_is_part_of_the_code(tmp_path, monkeypatch):
    """The configuration itself names the space alone."""
    (tmp_path / "own_space.py").write_text(
        "from search_spaces import Choice, Space\n"
        "SPACE = Space(name='own', summary='s', source='s', fixed={'objective.name': 'own_objective:MINE'},\n"
        "    dims=(Choice('penalty.name', ('none', 'own_penalty:MINE')),), default={'penalty.name': 'none'})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = search().model_copy(update={"space": "own_space:SPACE"})
    assert drift.user_modules(config) == ["own_objective", "own_penalty", "own_space"]


def test_other_data_are_told():
    seen = book(search(), data={"name": "digits", "digest": "a" * 64})
    assert drift.data_differences(seen, {"name": "digits", "digest": "a" * 64}) == []
    told = drift.data_differences(seen, {"name": "digits", "digest": "b" * 64})
    assert told == [f"data digest: {'a' * 12} in the study, {'b' * 12} now"]


def test_in_virtual_time_the_workers_are_part_of_the_search():
    assert drift.differences(book(search("workers=2")), search("workers=3")) == []
    fixed = "schedule=reproducible"
    lines = drift.differences(book(search(fixed, "workers=2")), search(fixed, "workers=3"))
    assert lines == ["workers: 2 in the study, 3 now"]


def test_a_difference_that_was_allowed_once_is_not_told_again():
    seen = book(search(), versions=drift.versions() | {"torch": "1.0"}, code="0ld")
    lines = drift.differences(seen, search())
    assert len(lines) == 2
    seen.apply(BudgetRecord(at=9.0, config=seen.config, allowed=(*lines, "data digest: x in the study, y now")))
    assert drift.differences(seen, search()) == []
    seen.study.data["digest"] = "x"
    assert drift.data_differences(seen, seen.study.data | {"digest": "y"}) == []


# What the search imports of pipeline/ and what its results do not follow from: it keeps, checks and words them.
KEEPS = {
    "compaction", "janitor", "journal", "lease", "ledger", "machine", "messages", "ports", "records",
    "safe_text", "store_port", "yaml_file",
}  # fmt: skip


def test_every_module_that_decides_results_is_part_of_the_code():
    """Whatever the search comes to import is either counted, or said here to decide nothing."""
    root = Path(drift.__file__).parent
    found, left = set[str](), ["search", "study"]
    while left:
        name = left.pop()
        found.add(name)
        words = re.findall(r"^\s*from pipeline(?:\.(\w+))? import (.+)", (root / f"{name}.py").read_text(), flags=re.M)
        used = {word for module, names in words for word in ([module] if module else names.split(", "))}
        left += used - found
    assert found - KEEPS == set(drift.DECIDE)
    assert found >= KEEPS
    counted = {path for _, path in drift._sources(())}
    assert {root / f"{name}.py" for name in drift.DECIDE} <= counted
    assert root.parent / "trainers" / "loop.py" in counted
    assert root.parent / "search_spaces" / "declarations.py" in counted
