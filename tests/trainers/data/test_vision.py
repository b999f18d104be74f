"""The torchvision sets, from files in MNIST's format that the tests write."""

import struct

import numpy as np
import pytest

from trainers.data import load
from trainers.data.vision import FILES
from trainers.errors import DataError
from trainers.params.data import VisionParams

SIZES = {"train": 5, "t10k": 3}
FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}


def idx(array):
    """Return an unsigned byte array in the IDX format: two zeros, the type 8, the rank, big-endian sizes, the bytes."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write(root, name):
    folder = root / FOLDERS[name] / "raw"
    folder.mkdir(parents=True)
    content = {}
    for part, size in SIZES.items():
        images = np.random.default_rng(size).integers(0, 256, (size, 28, 28))
        images[0, 0, :2] = 0, 255
        labels = np.arange(size) % 10
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
        content[part] = images, labels
    return content


@pytest.mark.parametrize("name", FOLDERS)
def test_the_files_of_both_parts_are_read_and_scaled(tmp_path, name):
    content = write(tmp_path, name)
    data = load(VisionParams(name=name, root=str(tmp_path)))
    assert (data.name, data.shape, data.metric) == (name, (1, 28, 28), "frechet")
    for part, images, labels in (
        ("train", data.train, data.train_labels),
        ("t10k", data.held_out, data.held_out_labels),
    ):
        assert np.allclose(images[:, 0], content[part][0] / 127.5 - 1, atol=1e-6)
        assert (images.min(), images.max()) == (-1, 1)
        assert labels.tolist() == content[part][1].tolist()


def test_two_roots_are_two_data_sets(tmp_path):
    (tmp_path / "a").mkdir()
    write(tmp_path / "a", "mnist")
    write(tmp_path, "mnist")
    first, second = (load(VisionParams(name="mnist", root=str(root))) for root in (tmp_path / "a", tmp_path))
    assert first is not second


def test_missing_files_are_named_with_where_they_belong(tmp_path):
    with pytest.raises(DataError) as caught:
        load(VisionParams(name="fashion_mnist", root=str(tmp_path)))
    text = str(caught.value)
    assert all(name in text for name in FILES)
    assert str(tmp_path / "FashionMNIST" / "raw") in text
    assert "data.download: true" in text


def test_only_the_missing_files_are_named(tmp_path):
    write(tmp_path, "mnist")
    (tmp_path / "MNIST" / "raw" / FILES[3]).unlink()
    with pytest.raises(DataError, match=f"put {FILES[3]} \\(unpacked"):
        load(VisionParams(name="mnist", root=str(tmp_path)))


@pytest.mark.parametrize("content", [b"", b"not IDX", idx(np.zeros((3, 28, 28)))[:-100], idx(np.zeros((3, 28)))])
def test_damaged_files_are_named(tmp_path, content):
    write(tmp_path, "mnist")
    (tmp_path / "MNIST" / "raw" / FILES[2]).write_bytes(content)
    with pytest.raises(DataError, match=r"MNIST/raw cannot be read"):
        load(VisionParams(name="mnist", root=str(tmp_path)))


def test_an_empty_part_is_refused(tmp_path):
    write(tmp_path, "mnist")
    raw = tmp_path / "MNIST" / "raw"
    (raw / FILES[2]).write_bytes(idx(np.zeros((0, 28, 28))))
    (raw / FILES[3]).write_bytes(idx(np.zeros(0)))
    with pytest.raises(DataError, match="data set mnist"):
        load(VisionParams(name="mnist", root=str(tmp_path)))


def test_labels_of_another_length_are_refused(tmp_path):
    write(tmp_path, "mnist")
    (tmp_path / "MNIST" / "raw" / FILES[1]).write_bytes(idx(np.zeros(4)))
    with pytest.raises(DataError, match=r"train: labels must be int64 \[5\]"):
        load(VisionParams(name="mnist", root=str(tmp_path)))
