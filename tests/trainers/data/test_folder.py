"""Images in files of their own: image_folder and celeba, and how a picture becomes a square of bytes."""

import io
import os
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from trainers.data import celeba, folder, load
from trainers.data.folder import is_held_out
from trainers.data.pictures import FORMATS, decode
from trainers.errors import DataError
from trainers.params.data import CelebaParams, FolderParams


def save(path, grey, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(path)


def params_of(tmp_path, **changes):
    given = {
        "root": str(tmp_path / "images"),
        "cache": str(tmp_path / "cache"),
        "size": 8,
        "channels": 1,
        "held_out": 0.3,
    }
    return FolderParams(**given | changes)


def flat(tmp_path, names):
    """Write an image for each name, each of one grey of its own."""
    for grey, name in enumerate(names):
        save(tmp_path / "images" / name, grey)


def greys(images):
    """Return the grey of each image of one grey."""
    assert (images == images[:, :1, :1, :1]).all()
    return np.rint((images[:, 0, 0, 0] + 1) * 127.5).astype(int).tolist()


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_the_square_in_the_middle_is_kept_and_pixels_are_means(tmp_path):
    """A picture of 12x8 loses two columns on both sides; of each 2x2 pixels that are left, one remains."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = pixels[:, 2:10].reshape(4, 2, 4, 2).mean(axis=(1, 3))
    found = decode(tmp_path / "a.png", "a", 4, 1)
    assert (found.shape, found.dtype) == ((1, 4, 4), np.uint8)
    assert np.abs(found[0] - expected).max() <= 1  # Pillow rounds after the columns and after the rows
    assert (decode(tmp_path / "a.png", "a", 4, 3) == found).all()


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 90, (90, 90, 90)),
        ("LA", (90, 10), (90, 90, 90)),
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (10, 20, 30)),
        ("I;16", 257 * 90, (90, 90, 90)),
    ],
)
def test_every_mode_becomes_colour_or_grey(tmp_path, mode, colour, expected):
    Image.new(mode, (8, 8), colour).save(tmp_path / "a.png")
    found = decode(tmp_path / "a.png", "a", 4, 3)
    assert np.unique(found.reshape(3, -1), axis=1).T.tolist() == [list(expected)]
    grey = decode(tmp_path / "a.png", "a", 4, 1)
    luma = np.dot(expected, (0.299, 0.587, 0.114))
    assert np.abs(grey - luma).max() <= 1


def test_a_palette_with_transparency_is_read(tmp_path):
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.save(tmp_path / "a.png", transparency=b"\x00\x7f")
    assert decode(tmp_path / "a.png", "a", 8, 3)[:, 0, 0].tolist() == [10, 20, 30]


def test_a_photograph_stands_as_its_camera_was_held(tmp_path):
    pixels = np.zeros((8, 8), dtype=np.uint8)
    pixels[0] = 255  # what the sensor called its first row is the right edge of what was seen
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    found = decode(tmp_path / "a.png", "a", 8, 1)[0]
    assert (found[:, 7] == 255).all()
    assert (found[:, :7] == 0).all()


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow goes on without the tags, and says so
def test_any_byte_of_a_photographs_tags_may_be_wrong_and_no_other_error_comes_of_it(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0131], exif[0x011A] = 6, "maker", "software", 72.0
    Image.new("L", (8, 6), 90).save(tmp_path / "a.jpg", exif=exif)
    content = (tmp_path / "a.jpg").read_bytes()
    start = content.index(b"Exif") + 6
    length = int.from_bytes(content[start - 8 : start - 6], "big")  # of the block, 8 bytes more than its tags
    for at in range(start, start + length - 8):
        for wrong in (0, 1, 14, 255):
            with suppress(DataError):
                decode(content[:at] + bytes([wrong]) + content[at + 1 :], "a", 4, 1)


def test_numbers_of_no_known_range_are_refused(tmp_path):
    Image.fromarray(np.zeros((8, 8), dtype=np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match=r"a\.tiff must hold 8 or 16 bits a channel, but Pillow reads its mode as 'F'"):
        decode(tmp_path / "a.tiff", "a.tiff", 4, 1)


# -- image_folder ------------------------------------------------------------------------------------------------------


def test_every_image_of_a_flat_folder_is_in_one_part_by_its_name(tmp_path):
    names = [f"{number}.{kind}" for number in range(20) for kind in ("png", "BMP")]
    flat(tmp_path, names)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    (tmp_path / "images" / "._0.png").write_bytes(b"what another system left")
    data = load(params_of(tmp_path))
    assert (data.shape, data.metric, data.train_labels, data.held_out_labels) == (
        (1, 8, 8),
        "sliced_wasserstein",
        None,
        None,
    )
    held_out = [grey for grey, name in enumerate(names) if is_held_out(name, 0.3)]
    assert sorted(greys(data.held_out)) == held_out
    assert sorted(greys(data.train)) == sorted(set(range(40)) - set(held_out))


def test_images_that_are_added_move_none_to_the_other_part(tmp_path):
    flat(tmp_path, [f"{number}.png" for number in range(30)])
    before = folder.make(params_of(tmp_path))
    flat(tmp_path, [f"{number}.png" for number in range(60)])
    after = folder.make(params_of(tmp_path))
    assert len(after.train) + len(after.held_out) == 60
    assert set(greys(before.train)) < set(greys(after.train))
    assert set(greys(before.held_out)) < set(greys(after.held_out))


def test_the_share_that_is_held_out_is_as_asked():
    """4,000 names: a binomial share with a standard deviation of 0.0063; 6 of them are exceeded once in 5e8 times."""
    held = [is_held_out(f"{number}.png", 0.2) for number in range(4000)]
    assert np.mean(held) == pytest.approx(0.2, abs=0.038)
    assert not any(is_held_out(f"{number}.png", 1e-9) for number in range(100))


def test_the_folders_of_images_are_their_classes(tmp_path):
    for grey, name in enumerate(
        f"{kind}/{place}{number}.png" for kind in "ba" for place in ("", "deep/") for number in range(8)
    ):
        save(tmp_path / "images" / name, grey)
    data = load(params_of(tmp_path))
    assert data.metric == "frechet"
    for images, labels in ((data.train, data.train_labels), (data.held_out, data.held_out_labels)):
        assert labels.dtype == np.int64
        assert [1 if grey < 16 else 0 for grey in greys(images)] == labels.tolist()
    assert len(data.train) + len(data.held_out) == 32


def test_a_class_folder_may_be_a_link_and_one_that_holds_itself_is_read_once(tmp_path):
    for grey in range(20):
        save(tmp_path / "images" / "dogs" / f"{grey}.png", grey)
        save(tmp_path / "elsewhere" / f"{grey}.png", 100 + grey)
    (tmp_path / "images" / "cats").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "images" / "cats")
    data = folder.make(params_of(tmp_path))
    assert sorted(greys(data.train) + greys(data.held_out)) == [*range(20), *range(100, 120)]
    of_train = zip(greys(data.train), data.train_labels, strict=True)
    assert all((grey < 100) == (label == 1) for grey, label in of_train)


def test_a_class_folder_alone_is_another_data_set_than_the_folder_that_holds_it(tmp_path):
    flat(tmp_path, [f"cats/{number}.png" for number in range(30)])
    above = load(params_of(tmp_path))
    inside = load(params_of(tmp_path, root=str(tmp_path / "images" / "cats")))
    assert set(above.train_labels.tolist()) == {0}
    assert inside.train_labels is None
    assert sorted(greys(inside.held_out)) == [number for number in range(30) if is_held_out(f"{number}.png", 0.3)]


def test_an_image_beside_class_folders_is_refused(tmp_path):
    save(tmp_path / "images" / "cats" / "1.png", 1)
    save(tmp_path / "images" / "stray.png", 2)
    with pytest.raises(DataError, match=r"holds stray\.png beside the folder cats"):
        load(params_of(tmp_path))


@pytest.mark.parametrize("content", [b"", b"\x89PNG no more", b"GIF89a"], ids=["empty", "head", "other"])
def test_a_broken_image_is_named_and_nothing_is_kept(tmp_path, content):
    flat(tmp_path, [f"{number}.png" for number in range(30)])
    path = tmp_path / "images" / "17.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"data set image_folder: {path} cannot be read as an image .*; replace or"):
        load(params_of(tmp_path))
    assert [entry.suffix for entry in (tmp_path / "cache").iterdir()] == [".lock"]
    save(path, 17)
    assert len(load(params_of(tmp_path)).train) > 10


def test_postscript_in_an_images_name_is_refused_and_no_program_is_run(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\nexit 1\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", format="EPS")
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image"):
        decode(tmp_path / "a.png", "a.png", 4, 3)
    assert not (tmp_path / "ran").exists()


@pytest.mark.timeout(60)
def test_a_pipe_or_a_link_that_leads_nowhere_is_named_and_not_waited_for(tmp_path):
    flat(tmp_path, ["b.png", "c.png"])
    path = tmp_path / "images" / "a.png"
    os.mkfifo(path)
    with pytest.raises(DataError, match=f"{path} is no file that can be read; remove it"):
        folder.make(params_of(tmp_path))
    path.unlink()
    for target in (path, path.with_name("gone.png")):
        path.symlink_to(target)
        with pytest.raises(DataError, match=f"{path} is missing"):
            folder.make(params_of(tmp_path))
        path.unlink()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a wrong size may be a large one
@pytest.mark.parametrize("kind", [*FORMATS, "DDS", "EPS"])
def test_any_byte_of_an_image_may_be_wrong_and_no_other_error_comes_of_it(kind):
    sink = io.BytesIO()
    Image.new("RGB", (12, 12), (200, 100, 50)).save(sink, format=kind)
    content = sink.getvalue()
    for at in range(0, len(content), 1 + len(content) // 300):
        for value in (0, 127, 255):
            with suppress(DataError):
                decode(content[:at] + bytes([value]) + content[at + 1 :], "a", 4, 3)


def test_an_image_that_is_cut_short_is_named(tmp_path):
    flat(tmp_path, [f"{number}.png" for number in range(30)])
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path = tmp_path / "images" / "5.png"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(DataError, match=f"{path} cannot be read as an image"):
        load(params_of(tmp_path))


def test_a_folder_without_images_or_none_at_all_is_told(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path / 'images'} is no folder; set data.root"):
        load(params_of(tmp_path))
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=f"{tmp_path / 'images'} holds no image; put some into it"):
        load(params_of(tmp_path))


def test_too_few_images_for_two_parts_are_told(tmp_path):
    flat(tmp_path, ["1.png"])
    with pytest.raises(DataError, match=r"both parts must hold 2 images, but of 1 images [01] are held out"):
        load(params_of(tmp_path))


# -- celeba ------------------------------------------------------------------------------------------------------------

FACES = {f"{number:06}.jpg": str(part) for number, part in enumerate([0, 0, 1, 2, 0, 2], start=1)}


def faces(tmp_path, **changes):
    """Write faces of CelebA's size, each of one grey."""
    for number, name in enumerate(FACES, start=1):
        save(tmp_path / "celeba" / "img_align_celeba" / name, 30 * number, size=(178, 218))
    lines = "".join(f"{name} {part}\n" for name, part in FACES.items())
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text(lines)
    return CelebaParams(**{"root": str(tmp_path), "cache": str(tmp_path / "cache"), "size": 16} | changes)


def test_the_partition_file_of_celeba_says_what_is_held_out(tmp_path):
    data = load(faces(tmp_path))
    assert (data.shape, data.metric, data.train_labels) == ((3, 16, 16), "sliced_wasserstein", None)
    assert np.abs(np.array(greys(data.train)) - [30, 60, 150]).max() <= 1
    assert np.abs(np.array(greys(data.held_out)) - [120, 180]).max() <= 1
    assert "non-commercial" in data.licence


def test_missing_files_of_celeba_are_named(tmp_path):
    params = faces(tmp_path)
    partition = tmp_path / "celeba" / "list_eval_partition.txt"
    partition.rename(tmp_path / "kept")
    with pytest.raises(DataError, match=rf"put list_eval_partition.txt \(unpacked, .*\) into {tmp_path / 'celeba'}, "):
        load(params)
    (tmp_path / "kept").rename(partition)
    face = tmp_path / "celeba" / "img_align_celeba" / "000004.jpg"
    face.unlink()
    with pytest.raises(DataError, match=f"data set celeba: {face} is missing"):
        load(params)


@pytest.mark.parametrize(
    "line", ["000001.jpg", "000001.jpg 3", "../kept 0", "000001.jpg 0 0", "000001.jpg 01", "000002.jpg 2"]
)
def test_a_line_of_the_partition_file_that_is_none_is_named(tmp_path, line):
    params = faces(tmp_path)
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text(f"000002.jpg 0\n{line}\n")
    with pytest.raises(DataError, match=r"list_eval_partition\.txt, line 2, must be a file's name that no line before"):
        load(params)


def test_a_face_that_is_cut_short_is_named(tmp_path):
    params = faces(tmp_path)
    path = tmp_path / "celeba" / "img_align_celeba" / "000005.jpg"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(DataError, match=f"data set celeba: {path} cannot be read as an image"):
        celeba.make(params)
