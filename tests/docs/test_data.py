"""docs/data.md names every data set, and the files that each one needs are those that it asks for."""

import re
from pathlib import PurePosixPath

import pytest

from tests.command_line import ROOT
from trainers.data import load
from trainers.errors import DataError
from trainers.registry import find, known

TEXT = (ROOT / "docs" / "data.md").read_text()
ROWS = {row[1]: row[2] for row in re.finditer(r"^\| `(\w+)` \| (.*) \|$", TEXT, flags=re.M)}
IDX = re.findall(r"`MNIST/raw/([\w-]+)`", TEXT)
PUBLISHED = ("mnist", "fashion_mnist", "kmnist", "cifar10", "svhn", "celeba")


def asked(name, root):
    """What a data set asks for where there is nothing."""
    with pytest.raises(DataError) as caught:
        load(find("data", name).load_params().model_validate({"name": name, "root": str(root)}))
    return str(caught.value)


def test_every_data_set_is_named():
    assert set(re.findall(r"`(\w+)`", TEXT)) >= {variant.name for variant in known("data")}
    assert set(PUBLISHED) < set(ROWS)
    assert len(IDX) == 4


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_files_that_are_named_are_those_that_are_asked_for(name, tmp_path):
    told = asked(name, tmp_path)
    paths = [PurePosixPath(path) for path in re.findall(r"`([\w./-]+)`", ROWS[name])]
    if "the same four" in ROWS[name]:
        paths = [paths[0] / file for file in IDX]
    assert len(paths) >= 2
    assert [path.name for path in paths if path.name not in told] == []
    assert str(tmp_path / paths[0].parent) in told


@pytest.mark.parametrize("name", ["image_folder", "parquet"])
def test_images_of_ones_own_are_asked_for_in_the_root(name, tmp_path):
    assert str(tmp_path / "nothing") in asked(name, tmp_path / "nothing")


def test_the_defaults_are_those_that_are_told():
    defaults = {name: find("data", name).load_params().model_fields["root"].default for name in ROWS}
    assert defaults == dict.fromkeys(PUBLISHED, "data") | {"image_folder": "images", "parquet": "shards"}
    assert "(by default `images`)" in ROWS["image_folder"]
    assert "(by default `shards`)" in ROWS["parquet"]
