"""Images in Parquet shards, and the files that they are decoded into once."""

import io
import mmap
import os
import resource
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from trainers.data import cache, load, parquet
from trainers.errors import DataError
from trainers.params.data import ParquetParams

ROWS, SIZE = 40, 8


def pixels(seed, n=ROWS, channels=1):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, SIZE, SIZE), dtype=np.uint8)


def png(image):
    sink = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0).squeeze()).save(sink, format="PNG")
    return sink.getvalue()


def as_bytes(images):
    return pa.array([png(image) for image in images], pa.binary())


def as_large_bytes(images):
    return as_bytes(images).cast(pa.large_binary())


def as_records(images):
    return pa.array([{"bytes": png(image), "path": "somewhere"} for image in images])


def as_fixed_lists(images):
    return pa.FixedSizeListArray.from_arrays(images.ravel(), images[0].size)


def as_lists(images):
    return pa.array(images.reshape(len(images), -1).tolist(), pa.list_(pa.uint8()))


def write(tmp_path, name, column, **others):
    (tmp_path / "shards").mkdir(exist_ok=True)
    path = tmp_path / "shards" / name
    pq.write_table(pa.table({"image": column, **others}), path, row_group_size=16)
    return path


def params_of(tmp_path, **changes):
    given = {
        "root": str(tmp_path / "shards"),
        "cache": str(tmp_path / "cache"),
        "size": SIZE,
        "channels": 1,
        "held_out": 0.25,
    }
    return ParquetParams(**given | changes)


def found(data):
    """Return the images of both parts as sorted bytes."""
    floats = np.concatenate([data.train, data.held_out])
    return sorted(image.tobytes() for image in np.rint((floats + 1) * 127.5).astype(np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", [as_bytes, as_large_bytes, as_records, as_fixed_lists, as_lists])
def test_every_form_of_a_column_gives_the_same_images(tmp_path, form, channels):
    shards = [pixels(seed, channels=channels) for seed in (1, 2)]
    for number, images in enumerate(shards):
        write(tmp_path, f"{number}.parquet", form(images))
    data = load(params_of(tmp_path, channels=channels))
    assert (data.shape, data.metric, data.train_labels) == ((channels, SIZE, SIZE), "sliced_wasserstein", None)
    assert found(data) == sorted(image.tobytes() for image in np.concatenate(shards))
    assert 8 <= len(data.held_out) <= 35  # of 80; a binomial of 0.25 leaves this once in 1e4 names, and names are fixed


def test_labels_stay_with_their_images(tmp_path):
    images = pixels(3)
    write(tmp_path, "a.parquet", as_fixed_lists(images), digit=pa.array(images[:, 0, 0, 0] % 7, pa.int8()))
    data = load(params_of(tmp_path, label="digit"))
    assert data.metric == "frechet"
    for part, labels in ((data.train, data.train_labels), (data.held_out, data.held_out_labels)):
        assert labels.dtype == np.int64
        assert (np.rint((part[:, 0, 0, 0] + 1) * 127.5).astype(int) % 7).tolist() == labels.tolist()


def test_more_rows_than_a_batch_holds_come_whole(tmp_path):
    images = pixels(4, n=2 * cache.BLOCK + 5)
    write(tmp_path, "a.parquet", as_fixed_lists(images))
    assert found(load(params_of(tmp_path))) == sorted(image.tobytes() for image in images)


def test_shards_that_are_added_move_no_image_to_the_other_part(tmp_path):
    write(tmp_path, "b.parquet", as_fixed_lists(pixels(1)))
    before = parquet.make(params_of(tmp_path))
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(2)))
    after = parquet.make(params_of(tmp_path))
    assert {image.tobytes() for image in before.train} < {image.tobytes() for image in after.train}
    assert {image.tobytes() for image in before.held_out} < {image.tobytes() for image in after.held_out}


# -- the cache ---------------------------------------------------------------------------------------------------------


def entries(tmp_path):
    return sorted(path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock")


def test_a_hidden_file_is_no_shard(tmp_path):
    path = write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    path.with_name("._a.parquet").write_bytes(b"what macOS keeps beside a file")
    assert len(found(load(params_of(tmp_path)))) == ROWS


def test_the_second_time_nothing_is_decoded(tmp_path):
    path = write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    first = parquet.make(params_of(tmp_path))

    def find():
        raise AssertionError("it was decoded before")

    again = cache.dataset(params_of(tmp_path), [path], find, metric=first.metric, licence=first.licence)
    assert again.digest == first.digest
    assert np.array_equal(again.train, first.train)


def test_another_content_is_seen_though_its_size_and_time_are_as_they_were(tmp_path):
    """Unpacking an archive sets the time of change to what it was there, but not that of the file's entry."""
    path = write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    parquet.make(params_of(tmp_path))
    about = path.stat()
    path.write_bytes(bytes(about.st_size))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    with pytest.raises(DataError, match=f"{path} cannot be read"):
        parquet.make(params_of(tmp_path))


def test_a_part_that_is_larger_than_memory_is_mapped(tmp_path):
    lines = Path("/proc/meminfo").read_text().splitlines()
    memory = sum(int(line.split()[1]) for line in lines if line.startswith(("MemTotal", "SwapTotal")))  # KiB
    rows = 2 * memory * 1024 // (4 * 2**20)  # of 4 MiB
    path = tmp_path / "train.npy"
    with path.open("wb") as file:
        cache._header(file, (rows, 2**20))
        file.truncate(file.tell() + rows * 4 * 2**20)  # no disk is used
    found = cache._mapped(params_of(tmp_path), path)
    assert found.shape == (rows, 2**20)
    assert found[-1].max() == 0


def test_a_cache_that_is_whole_is_read_where_nothing_can_be_written(tmp_path):
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    first = parquet.make(params_of(tmp_path))
    for lock in (tmp_path / "cache").glob("*.lock"):
        lock.unlink()
        lock.mkdir()  # nobody can open it, root neither
    assert parquet.make(params_of(tmp_path)).digest == first.digest


@pytest.mark.parametrize("content", [None, "", "{}", '{"labelled": false, "digest": "what"}', '{"labelled": false}'])
def test_what_tells_of_a_cache_is_checked(tmp_path, content):
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    parquet.make(params_of(tmp_path))
    (entry,) = entries(tmp_path)
    (entry / "about.json").unlink() if content is None else (entry / "about.json").write_text(content)
    with pytest.raises(DataError, match=rf"the cache is damaged .*; remove {entry} to have it made anew"):
        parquet.make(params_of(tmp_path))


def test_labels_that_are_gone_are_damage_and_not_a_set_without_labels(tmp_path):
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)), label=pa.array(range(ROWS)))
    parquet.make(params_of(tmp_path, label="label"))
    (entry,) = entries(tmp_path)
    (entry / "train_labels.npy").unlink()
    with pytest.raises(DataError, match="the cache is damaged"):
        parquet.make(params_of(tmp_path, label="label"))


def wrong(path, number, *, keep_time=False):
    """Write another last number into a file."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-number.nbytes, os.SEEK_END)
        file.write(number.tobytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + (0 if keep_time else 1)))


@pytest.mark.parametrize(
    ("name", "number"),
    [("train", np.float32(0.5)), ("held_out", np.float32(np.nan)), ("train_labels", np.int64(3))],
)
def test_a_cache_that_was_written_to_is_damaged_and_one_that_was_copied_is_not(tmp_path, name, number):
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)), label=pa.array([0] * ROWS))
    given = params_of(tmp_path, label="label")
    first = parquet.make(given)
    (entry,) = entries(tmp_path)
    for path in entry.glob("*.npy"):
        os.utime(path)
    assert parquet.make(given).digest == first.digest
    wrong(entry / f"{name}.npy", number)
    with pytest.raises(DataError, match=rf"the cache is damaged .*; remove {entry} to have it made anew"):
        parquet.make(given)


def test_the_digest_is_of_all_numbers_and_the_second_time_they_are_not_read(tmp_path):
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    first = parquet.make(params_of(tmp_path))
    assert first.known == first.digest == replace(first, known=None).digest
    (entry,) = entries(tmp_path)
    wrong(entry / "train.npy", np.float32(np.nan), keep_time=True)
    second = parquet.make(params_of(tmp_path))
    assert second.digest == first.digest
    with pytest.raises(DataError, match="must be finite"):
        replace(second, known=None)


def test_shards_that_are_gone_are_told_though_they_were_decoded(tmp_path):
    path = write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    parquet.make(params_of(tmp_path))
    path.unlink()
    with pytest.raises(DataError, match=rf"put \.parquet files into {tmp_path / 'shards'}, or set data.root"):
        parquet.make(params_of(tmp_path))


def test_what_says_how_images_are_decoded_names_the_cache_and_where_they_lie_does_not(tmp_path):
    write(tmp_path, "a.parquet", as_bytes(pixels(1)))
    parquet.make(params_of(tmp_path))
    parquet.make(params_of(tmp_path, root=f"{tmp_path}/./shards/"))
    assert len(entries(tmp_path)) == 1
    assert parquet.make(params_of(tmp_path, size=4)).shape == (1, 4, 4)
    assert len(entries(tmp_path)) == 2


def test_the_parts_are_mapped_and_what_one_process_writes_another_does_not_see(tmp_path):
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    first, second = (parquet.make(params_of(tmp_path)) for _ in range(2))
    assert isinstance(first.train.base, mmap.mmap)
    tensor = torch.from_numpy(first.train)  # warns, and so fails here, where the array is read-only
    before = second.train[0].copy()
    tensor[0] = 7
    assert (second.train[0] == before).all()
    assert (parquet.make(params_of(tmp_path)).train[0] == before).all()


def test_processes_that_come_together_decode_once(tmp_path):
    """Two threads stand for them: a lock on a file is of who opened it."""
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    params, calls, made = params_of(tmp_path), [], []

    def find():
        calls.append(1)
        return parquet._images(params, [tmp_path / "shards" / "a.parquet"])

    def make():
        files = [tmp_path / "shards" / "a.parquet"]
        made.append(cache.dataset(params, files, find, metric="none", licence="none"))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert len({data.digest for data in made}) == 1
    assert len(made) == 4


def test_what_a_process_that_died_left_is_swept_away(tmp_path):
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    expected = parquet.make(params_of(tmp_path)).digest
    (entry,) = entries(tmp_path)
    entry.rename(entry.with_suffix(".part"))
    (entry.with_suffix(".part") / "train.npy").write_bytes(b"half")
    assert parquet.make(params_of(tmp_path)).digest == expected
    assert entries(tmp_path) == [entry]


@pytest.mark.parametrize("content", [b"", b"no array", None], ids=["empty", "other", "short"])
def test_a_damaged_cache_is_named_with_what_to_do(tmp_path, content):
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    parquet.make(params_of(tmp_path))
    (entry,) = entries(tmp_path)
    path = entry / "held_out.npy"
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    with pytest.raises(DataError, match=rf"the cache is damaged .*; remove {entry} to have it made anew"):
        parquet.make(params_of(tmp_path))


def test_the_cache_lies_among_temporary_files_where_nobody_else_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    data = parquet.make(params_of(tmp_path, cache=""))
    home = tmp_path / f"gansearch-data-{os.getuid()}"
    assert len(data.train)
    assert [path.suffix for path in home.iterdir() if path.is_dir()] == [""]
    assert home.stat().st_mode & 0o777 == 0o700
    home.chmod(0o777)
    with pytest.raises(DataError, match=r"must be a folder that only this user writes to; set data\.cache"):
        parquet.make(params_of(tmp_path, cache=""))


def test_a_link_in_place_of_the_cache_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"gansearch-data-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="must be a folder that only this user writes to"):
        parquet.make(params_of(tmp_path, cache=""))


def test_a_cache_that_cannot_be_made_is_told(tmp_path):
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"the cache cannot be made .*; set data.cache"):
        parquet.make(params_of(tmp_path, cache=str(tmp_path / "file" / "cache")))


def test_a_full_disk_is_told_and_leaves_no_half_of_a_cache(tmp_path):
    """A limit on the size of files stands for it: both end a write with an OSError."""
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1, n=2000)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(DataError, match=r"the cache cannot be written .*; free space there, or set data\.cache"):
            parquet.make(params_of(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert entries(tmp_path) == []
    assert len(parquet.make(params_of(tmp_path)).train) > 1000


# -- what is wrong with a shard ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 3, 100, -1])
def test_a_shard_that_is_cut_short_is_named(tmp_path, kept):
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    path = write(tmp_path, "b.parquet", as_fixed_lists(pixels(2)))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=f"data set parquet: {path} cannot be read .*; put a whole one there"):
        load(params_of(tmp_path))


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    images, path = as_fixed_lists(pixels(1)), tmp_path / "shards" / "a.parquet"
    path.parent.mkdir()
    pq.write_table(pa.Table.from_arrays([images, images], names=["image", "image"]), path)
    with pytest.raises(DataError, match=f"{path} must have the column data.column=image once, but has image, image"):
        load(params_of(tmp_path))


@pytest.mark.parametrize("form", [as_fixed_lists, as_bytes])
def test_any_byte_of_a_shard_may_be_wrong_and_no_other_error_comes_of_it(tmp_path, form):
    """Of the pages' heads and of what the file says of itself, one in seven; a wrong pixel is nothing to be seen."""
    path = write(tmp_path, "a.parquet", form(pixels(1, n=6)), digit=pa.array([0, 1] * 3))
    content, refused = path.read_bytes(), 0
    for at in [*range(4, 60), *range(len(content) - 700, len(content), 7)]:
        path.write_bytes(content[:at] + bytes([255]) + content[at + 1 :])
        try:
            parquet.make(params_of(tmp_path, label="digit", held_out=0.5))
        except DataError:
            refused += 1
    assert refused > 20


def test_a_shard_that_holds_other_rows_than_it_says_is_named(tmp_path):
    write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)))
    path = write(tmp_path, "b.parquet", as_fixed_lists(pixels(2)))
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    rows = content.index(bytes([0x16, 2 * ROWS, 0x19]), start) + 1  # Thrift: the footer's third field, zigzag, a list
    for told in (ROWS - 1, ROWS + 1):
        path.write_bytes(content[:rows] + bytes([2 * told]) + content[rows + 1 :])
        with pytest.raises(DataError, match=f"{path} cannot be read .*it says that it has {told} rows, but holds "):
            load(params_of(tmp_path))


def test_a_missing_column_is_named_with_those_that_there_are(tmp_path):
    path = write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)), digit=pa.array([0] * ROWS))
    with pytest.raises(DataError, match=f"{path} must have the column data.column=picture once, but has image, digit"):
        load(params_of(tmp_path, column="picture"))
    with pytest.raises(DataError, match=f"{path} must have the column data.label=kind once, but has image, digit"):
        load(params_of(tmp_path, label="kind"))


@pytest.mark.parametrize(
    ("column", "rule"),
    [
        (pa.array(["text"] * 9), "hold bytes or lists of uint8, but is string"),
        (pa.array([[1.0]] * 9), "hold bytes or lists of uint8, but is list<.*double>"),
        (pa.array([b"x", None] * 5), "hold an image in every row, but has 5 nulls"),
        (pa.array([[1] * 64, [1] * 63, [1] * 65] * 3, pa.list_(pa.uint8())), "hold 64 numbers .* but holds 63, 64, 65"),
        (pa.array([[None] * 64] * 9, pa.list_(pa.uint8())), "hold 64 numbers a row .*without nulls"),
    ],
)  # fmt: skip
def test_a_column_that_holds_no_images_is_named(tmp_path, column, rule):
    path = write(tmp_path, "a.parquet", column)
    with pytest.raises(DataError, match=f"{path}, from row 0 on: column image must {rule}"):
        load(params_of(tmp_path, held_out=0.5))


def test_an_image_that_cannot_be_read_is_named_by_its_row(tmp_path):
    cells = [png(image) for image in pixels(1, n=cache.BLOCK + 20)]
    cells[cache.BLOCK + 13] = cells[0][:50]
    path = write(tmp_path, "a.parquet", pa.array(cells))
    with pytest.raises(DataError, match=f"{path}, row {cache.BLOCK + 13}, cannot be read as an image"):
        load(params_of(tmp_path))


@pytest.mark.parametrize(
    "labels",
    [["a"] * ROWS, [0.5] * ROWS, [-1] + [0] * (ROWS - 1), [10**12] * ROWS, [None] + [0] * (ROWS - 1)],
)
def test_labels_that_are_none_are_refused(tmp_path, labels):
    path = write(tmp_path, "a.parquet", as_fixed_lists(pixels(1)), digit=pa.array(labels))
    with pytest.raises(
        DataError, match=f"{path}, from row 0 on: column digit must hold integers from 0 to 65535, but is"
    ):
        load(params_of(tmp_path, label="digit"))
