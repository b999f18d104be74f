"""The published sets, from small files that the tests write in the formats of the real ones."""

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from trainers.data import load
from trainers.data.vision import IDX, SVHN_FILES
from trainers.errors import DataError
from trainers.params.data import VisionParams

SIZES = {"train": 5, "t10k": 3}
FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
NOWHERE = "http://127.0.0.1:9"  # refuses every connection
BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")


def idx(array):
    """Return an unsigned byte array in the IDX format: two zeros, the type 8, the rank, big-endian sizes, the bytes."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write(root, name, **sizes):
    folder = root / FOLDERS[name] / "raw"
    folder.mkdir(parents=True)
    content = {}
    for part, size in (SIZES | sizes).items():
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
    assert data.licence
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


@pytest.mark.parametrize("name", FOLDERS)
def test_missing_files_are_named_with_where_they_belong(tmp_path, name):
    with pytest.raises(DataError) as caught:
        load(VisionParams(name=name, root=str(tmp_path)))
    text = str(caught.value)
    assert all(file in text for file in IDX)
    assert str(tmp_path / FOLDERS[name] / "raw") in text
    assert "data.download: true" in text
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    """As archives have it that were unpacked one by one."""
    write(tmp_path, "mnist")
    path = tmp_path / "MNIST" / "raw" / IDX[0]
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=f"{path} cannot be read: .*directory.*; put the whole file there"):
        load(VisionParams(name="mnist", root=str(tmp_path)))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("name", "place"), [("mnist", f"MNIST/raw/{IDX[0]}"), ("svhn", "train_32x32.mat")])
def test_a_pipe_in_place_of_a_file_is_named_and_not_waited_for(tmp_path, name, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in (*IDX, "train_32x32.mat", "test_32x32.mat"):
        os.mkfifo(path.parent / other)
    with pytest.raises(DataError, match=f"{path} cannot be read: it is no file; put the whole file there"):
        load(VisionParams(name=name, root=str(tmp_path)))


def test_a_single_image_is_no_part(tmp_path):
    write(tmp_path, "mnist", t10k=1)
    with pytest.raises(DataError, match=r"both parts must hold 2 images, but hold .* and 1; put the whole files there"):
        load(VisionParams(name="mnist", root=str(tmp_path)))


def test_only_the_missing_files_are_named(tmp_path):
    write(tmp_path, "mnist")
    (tmp_path / "MNIST" / "raw" / IDX[3]).unlink()
    with pytest.raises(DataError, match=f"put {IDX[3]} \\(unpacked"):
        load(VisionParams(name="mnist", root=str(tmp_path)))


@pytest.mark.parametrize("which", [0, 1, 2, 3], ids=IDX)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not IDX, and longer than a head",
        idx(np.zeros((5, 28, 28)))[:-100],
        idx(np.zeros((5, 28))),
        idx(np.zeros((9, 9, 9))),
    ],
    ids=["empty", "other", "short", "flat", "small"],
)
def test_damaged_files_are_named(tmp_path, content, which):
    write(tmp_path, "mnist")
    (tmp_path / "MNIST" / "raw" / IDX[which]).write_bytes(content)
    with pytest.raises(DataError, match=f"MNIST/raw/{IDX[which]} cannot be read: .*; put the whole file there"):
        load(VisionParams(name="mnist", root=str(tmp_path)))


@pytest.mark.parametrize(
    ("labels", "rule"),
    [(np.zeros(4), "a label for each of 5 images, but holds 4"), (np.full(5, 10), r"labels must be in \[0, 10\)")],
)
def test_labels_of_another_length_or_class_are_refused(tmp_path, labels, rule):
    write(tmp_path, "mnist")
    (tmp_path / "MNIST" / "raw" / IDX[1]).write_bytes(idx(labels))
    with pytest.raises(DataError, match=f"{IDX[1]} cannot be read: .*{rule}"):
        load(VisionParams(name="mnist", root=str(tmp_path)))


def test_an_empty_part_is_refused(tmp_path):
    write(tmp_path, "mnist")
    raw = tmp_path / "MNIST" / "raw"
    (raw / IDX[2]).write_bytes(idx(np.zeros((0, 28, 28))))
    (raw / IDX[3]).write_bytes(idx(np.zeros(0)))
    with pytest.raises(DataError, match=f"{IDX[3]} cannot be read: .*each of 0 images"):
        load(VisionParams(name="mnist", root=str(tmp_path)))


def test_files_that_are_there_are_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", NOWHERE)
    content = write(tmp_path, "kmnist")
    data = load(VisionParams(name="kmnist", root=str(tmp_path), download=True))
    assert data.train_labels.tolist() == content["train"][1].tolist()


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_files_that_cannot_be_fetched_are_named_with_where_they_belong(tmp_path, monkeypatch, name):
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, NOWHERE)
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(DataError, match=f"data set {name}: .* cannot be fetched into {tmp_path}.*; put them there"):
        load(VisionParams(name=name, root=str(tmp_path), download=True))


# -- CIFAR-10 ----------------------------------------------------------------------------------------------------------


def write_cifar(root):
    """Write two records a batch: a label, then 1,024 bytes of red, of green and of blue."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
    labels = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8], dtype=np.uint8)
    for number, name in enumerate(BATCHES):
        rows = range(2 * number, 2 * number + 2)
        (folder / name).write_bytes(b"".join(bytes([labels[row]]) + images[row].tobytes() for row in rows))
    return folder, images, labels


def test_cifar10_is_read_from_the_binary_version(tmp_path):
    _, images, labels = write_cifar(tmp_path)
    data = load(VisionParams(name="cifar10", root=str(tmp_path)))
    assert (data.shape, data.metric) == ((3, 32, 32), "frechet")
    assert np.allclose(data.train, images[:10] / 127.5 - 1, atol=1e-6)
    assert np.allclose(data.held_out, images[10:] / 127.5 - 1, atol=1e-6)
    assert data.train_labels.tolist() == labels[:10].tolist()
    assert data.held_out_labels.tolist() == labels[10:].tolist()


def test_what_the_python_version_of_cifar10_holds_is_never_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / "it_ran",)

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(Payload()))
    with pytest.raises(DataError) as caught:
        load(VisionParams(name="cifar10", root=str(tmp_path)))
    text = str(caught.value)
    assert "binary version" in text
    assert "cifar-10-binary.tar.gz" in text
    assert str(tmp_path / "cifar-10-batches-bin") in text
    assert all(name in text for name in BATCHES)
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.parametrize("name", [BATCHES[2], BATCHES[5]])
@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (bytes(3072), "3072 bytes must be a multiple of 3073"),
        (bytes([10]) + bytes(3072), r"labels must be in \[0, 10\)"),
        (b"", "a label for each of 0 images"),
    ],
    ids=["short", "label", "empty"],
)
def test_a_damaged_batch_of_cifar10_is_named(tmp_path, name, content, rule):
    folder, _, _ = write_cifar(tmp_path)
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=f"data set cifar10: .*/{name} cannot be read: .*{rule}"):
        load(VisionParams(name="cifar10", root=str(tmp_path)))


# -- SVHN --------------------------------------------------------------------------------------------------------------


def write_svhn(root, compressed=True):
    content = {}
    for name, n in zip(SVHN_FILES, (6, 4), strict=True):
        images = np.random.default_rng(n).integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
        labels = np.array([10, 1, 9, 2, 10, 3], dtype=np.uint8)[:n, None]
        savemat(root / name, {"X": images, "y": labels}, do_compression=compressed)
        content[name] = images, labels
    return content


def test_svhn_is_read_with_10_as_the_digit_0(tmp_path):
    content = write_svhn(tmp_path)
    data = load(VisionParams(name="svhn", root=str(tmp_path)))
    assert data.shape == (3, 32, 32)
    for (images, _), part in zip(content.values(), (data.train, data.held_out), strict=True):
        assert part[1, 2, 4, 5] == pytest.approx(images[4, 5, 2, 1] / 127.5 - 1, abs=1e-6)
        assert np.allclose(part, images.transpose(3, 2, 0, 1) / 127.5 - 1, atol=1e-6)
    assert data.train_labels.tolist() == [0, 1, 9, 2, 0, 3]
    assert data.held_out_labels.tolist() == [0, 1, 9, 2]


def test_missing_files_of_svhn_are_named(tmp_path):
    write_svhn(tmp_path)
    (tmp_path / SVHN_FILES[1]).unlink()
    with pytest.raises(DataError, match=rf"put {SVHN_FILES[1]} \(.*\) into {tmp_path}"):
        load(VisionParams(name="svhn", root=str(tmp_path)))


PIXELS = np.zeros((32, 32, 3, 2), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ({"y": np.ones((2, 1))}, "KeyError.*X"),
        ({"X": PIXELS}, "KeyError.*y"),
        ({"X": PIXELS.astype(np.float32), "y": np.ones((2, 1), np.uint8)}, "X must be uint8"),
        ({"X": PIXELS[..., 0], "y": np.ones((2, 1), np.uint8)}, "X must be uint8"),
        ({"X": PIXELS, "y": np.ones((2, 1))}, "y must be integers, but is float64"),
        ({"X": PIXELS, "y": np.ones((3, 1), np.uint8)}, "a label for each of 2 images, but holds 3"),
        ({"X": PIXELS, "y": np.full((2, 1), 11, np.uint8)}, "reach 11 and 11"),
    ],
)
def test_a_file_of_svhn_with_other_content_is_named(tmp_path, content, rule):
    write_svhn(tmp_path)
    savemat(tmp_path / SVHN_FILES[0], content)
    with pytest.raises(DataError, match=f"{SVHN_FILES[0]} cannot be read: .*{rule}"):
        load(VisionParams(name="svhn", root=str(tmp_path)))


def test_a_file_of_svhn_on_which_its_reader_dies_is_named(tmp_path):
    write_svhn(tmp_path, compressed=False)
    path = tmp_path / SVHN_FILES[0]
    content = bytearray(path.read_bytes())
    content[185] ^= 1  # of the type of the first array's name
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{SVHN_FILES[0]} cannot be read: its reader died of signal"):
        load(VisionParams(name="svhn", root=str(tmp_path)))


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kept", [0, 60, 200, 5000])
def test_a_file_of_svhn_that_is_cut_short_is_named(tmp_path, compressed, kept):
    write_svhn(tmp_path, compressed)
    path = tmp_path / SVHN_FILES[0]
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=f"{SVHN_FILES[0]} cannot be read: "):
        load(VisionParams(name="svhn", root=str(tmp_path)))
