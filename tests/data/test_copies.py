"""What is doubtful about own images is told: files passed over, queries that are in the gallery under another name."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from irbench.data import datasets
from irbench.data.decode import decode
from irbench.data.verify import verify


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 24, 3)).astype(np.uint8)).save(path, format="PNG")


@pytest.fixture
def divided(tmp_path):
    """Two classes, each with two gallery images and two queries."""
    for number, place in enumerate(
        f"{part}/{c}/{n}.png" for part in ("gallery", "query") for c in "ab" for n in (0, 1)
    ):
        picture(tmp_path / place, number)
    return tmp_path


def told(root):
    return datasets.load(root).remarks


def test_sound_images_need_no_remark(divided):
    assert told(divided) == ()


@pytest.mark.parametrize("link", [shutil.copy, os.link, os.symlink])
def test_a_query_that_is_in_the_gallery_under_another_name_is_counted(divided, link):
    (divided / "query/a/0.png").unlink()
    link(divided / "gallery/a/1.png", divided / "query/a/0.png")
    gallery, train = told(divided)  # the gallery is the training set
    assert "gallery" in gallery
    assert "training" in train
    assert {remark.partition(": ")[2] for remark in (gallery, train)} == {"1 of 4"}
    picture(divided / "train/a/0.png", 99)
    picture(divided / "train/b/0.png", 98)
    assert told(divided) == (gallery,)
    shutil.copy(divided / "query/b/1.png", divided / "train/b/1.png")
    assert told(divided) == (gallery, train)


def test_remarks_are_about_what_is_asked_and_trained(divided):
    for c in "ab":
        for n in (0, 1):
            shutil.copy(divided / f"gallery/{c}/{n}.png", divided / f"query/{c}/{n}.png")
    whole, part = datasets.load(divided), datasets.load(divided, max_queries=2)
    later = datasets.load(divided, incremental=True)
    assert [remark.partition(": ")[2] for remark in whole.remarks] == ["4 of 4", "4 of 4"]
    assert [remark.partition(": ")[2] for remark in part.remarks] == ["2 of 2", "2 of 2"]
    assert [remark.partition(": ")[2] for remark in later.remarks] == ["4 of 4", "2 of 4"]


def test_empty_files_are_copies_of_nothing(divided):
    for place in ("gallery/a/0.png", "query/b/0.png", "gallery/b/0.png"):
        (divided / place).write_bytes(b"")
    assert told(divided) == ()


def test_names_that_are_no_text_are_told_as_text(divided):
    root = divided / "gallery" / os.fsdecode(b"caf\xe9")
    root.mkdir()
    (root / os.fsdecode(b"x.\xe9")).write_bytes(b"x")
    for remark in told(divided):
        remark.encode()
        assert "\\udce9" in remark


def test_the_same_image_with_two_labels_is_counted(divided):
    shutil.copy(divided / "gallery/a/0.png", divided / "gallery/b/7.png")
    (remark,) = told(divided)
    assert "label" in remark
    assert remark.endswith(": 2")


def test_a_query_that_is_in_the_gallery_with_another_label_is_no_mere_copy(divided):
    shutil.copy(divided / "gallery/a/1.png", divided / "query/a/0.png")
    shutil.copy(divided / "gallery/a/0.png", divided / "query/b/0.png")
    mere, relabelled, trained = told(divided)
    assert (mere[-6:], trained[-6:]) == ("1 of 4", "2 of 4")
    assert relabelled.endswith("another label: 1 of 4, first query/b/0.png = gallery/a/0.png")


def test_queries_that_are_copies_with_other_labels_are_counted(divided):
    shutil.copy(divided / "query/a/0.png", divided / "query/a/1.png")
    assert told(divided) == ()
    shutil.copy(divided / "query/a/0.png", divided / "query/b/1.png")
    (twins,) = told(divided)
    assert twins.endswith("another label: 3 of 4, first query/a/0.png = query/b/1.png")


def test_one_file_by_two_paths_in_a_list_is_one_image(divided):
    rows = [f"gallery/{c}/{n}.png,{c},gallery" for c in "ab" for n in (0, 1)]
    (divided / "m.csv").write_text("\n".join(["path,label,split", *rows, "query/a/0.png,a,query"]))
    assert told(divided / "m.csv") == ()
    (divided / "m.csv").write_text("\n".join(["path,label,split", *rows, f"{divided}/gallery/a/0.png,a,query"]))
    (remark,) = told(divided / "m.csv")  # by its id it is left out of its own results, but it was trained on
    assert remark == "queries that are among the training images: 1 of 1"


def test_files_that_are_no_images_are_counted_and_the_classes_that_they_leave_empty_named(tmp_path):
    for number, place in enumerate(f"{c}/{n}.png" for c in "ab" for n in range(4)):
        picture(tmp_path / place, number)
    for name in ("a/notes.txt", "a/more.TXT", "c/x.heic", "c/y.heic", "c/.hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    files, emptied = told(tmp_path)
    assert ": 4 (" in files
    assert ".txt 2" in files
    assert ".heic 2" in files
    assert emptied.endswith(": 1 (c)")


@pytest.mark.timeout(20)
def test_what_a_list_names_and_is_no_file_is_counted_as_what_it_is(divided):
    os.mkfifo(divided / "gallery/pipe.png")
    (divided / "gallery/folder.png").mkdir()
    (divided / "query/folder.png").mkdir()
    (divided / "gallery/broken.png").write_bytes(b"x")
    names = [f"gallery/{c}/{n}.png,{c},gallery" for c in "ab" for n in (0, 1)] + ["query/a/0.png,a,query"]
    odd = [f"gallery/{name}.png,a,gallery" for name in ("broken", "pipe", "folder")] + ["query/folder.png,a,query"]
    (divided / "m.csv").write_text("\n".join(["path,label,split", *names, *odd]))
    (remark,) = told(divided / "m.csv")
    assert remark.endswith(": 3 (folder 2, pipe 1), first gallery/pipe.png")
    found = verify(datasets.find(divided / "m.csv"), divided)
    assert found.irregular == {"gallery/pipe.png": "pipe", "gallery/folder.png": "folder", "query/folder.png": "folder"}
    assert list(found.unreadable) == ["gallery/broken.png"]
    assert found.problems[0].endswith("no files: 3")


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "tif", "tiff", "avif"])
def test_images_of_rarer_suffixes_are_read(tmp_path, suffix):
    for number, c in enumerate("ab"):
        for n in range(3):
            path = tmp_path / c / f"{n}.{suffix}"
            path.parent.mkdir(exist_ok=True)
            kind = {"jfif": "JPEG", "jpe": "JPEG", "avif": "AVIF"}.get(suffix, "TIFF")
            Image.new("RGB", (16, 16), (250, 20 * number, 6 * n)).save(path, format=kind)
    assert len(datasets.load(tmp_path).gallery) == 4
    assert told(tmp_path) == ()
    red, *others = decode((tmp_path / "a" / f"0.{suffix}").read_bytes()).getpixel((8, 8))
    assert red > 230
    assert max(others) < 40


def test_the_transparent_grey_of_16_bits_is_white(tmp_path):
    Image.fromarray(np.array([[500, 40_000]], np.uint16)).save(tmp_path / "g.png", transparency=500)
    assert np.asarray(decode((tmp_path / "g.png").read_bytes()))[0].tolist() == [[255] * 3, [40_000 >> 8] * 3]


def test_links_that_lead_nowhere_and_hidden_folders_are_counted(divided):
    (divided / "gallery/c").symlink_to("/nowhere")
    (divided / "query/a/9.png").symlink_to("nothing.png")
    picture(divided / "gallery/.kept/0.png", 9)
    for name in (".a.png", ".b.JPG", ".c.txt"):
        (divided / "gallery/a" / name).write_bytes(b"")
    remarks = datasets.load(divided, files_must_exist=False).remarks
    assert [remark.partition("read: ")[2] for remark in remarks] == [
        "2, first gallery/c",
        "1, first gallery/.kept/0.png",
        "2, first gallery/a/.a.png",
    ]
