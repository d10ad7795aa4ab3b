"""`irbench data verify`: every fault that is planted is found and named, and a sound tree has none."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import official
import pytest
from raising import raises

from irbench.core.errors import DataError, UsageError
from irbench.data import datasets
from irbench.data.download.published import Expected
from irbench.data.verify import Copy, verify

A, B, QUERY_A, C, QUERY_B, D = [f"images/00{c}.Bird_{c}/Bird_{c}_000{n}.jpg" for c in (1, 2) for n in (1, 2, 3)]


@pytest.fixture
def birds(tmp_path) -> Path:
    """Six photographs of two kinds of bird, in the official folder; the third and the fifth are asked."""
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(official.cub200()["CUB_200_2011.tgz"])) as file:
        file.extractall(tmp_path)  # ours; Python 3.11.2 knows no filters
    return tmp_path / "CUB_200_2011"


def look(root: Path, *, expected: Expected | None = None, crop: str = "none"):
    dataset = datasets.find("cub200")
    dataset = replace(dataset, head=replace(dataset.head, expected=expected))
    return verify(dataset, root.parent, crop=crop)


SIX = Expected(train=4, gallery=4, queries=2, classes=2, per_class={"gallery": (2, 2), "queries": (1, 1)})


def test_a_sound_tree(birds):
    found = look(birds, expected=SIX)
    assert found.problems == found.notes == []
    assert {name: (count.images, count.per_class) for name, count in found.splits.items()} == {
        "train": (4, {1: 2, 2: 2}),
        "gallery": (4, {1: 2, 2: 2}),
        "queries": (2, {1: 1, 2: 1}),
    }
    assert found.classes == {1: A, 2: C}


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"train": 5994}, "images of train: 4, expected 5,994"),
        ({"queries": 3}, "images of queries: 2, expected 3"),
        ({"classes": 200}, "classes: 2, expected 200"),
        ({"per_class": {"gallery": (2, 3)}}, "images per class of gallery: 2, expected 2 to 3"),
        ({"fingerprint": "0" * 64}, "fingerprint of names, labels and splits: .*, expected 000"),
    ],
)
def test_what_differs_from_the_published_counts(birds, change, difference):
    found = look(birds, expected=replace(SIX, **change))
    assert len(found.problems) == 1
    assert __import__("re").fullmatch(difference + ".*", found.problems[0])


def test_two_exchanged_labels_are_seen_by_the_fingerprint_alone(birds):
    root, collection = datasets.find("cub200").collect(birds.parent)
    whole = datasets.assemble(datasets.find("cub200"), root, collection, crop="none", protocol="closed-set")
    expected = replace(SIX, fingerprint=whole.fingerprint)
    assert look(birds, expected=expected).problems == []
    (birds / "image_class_labels.txt").write_text("1 2\n2 1\n3 1\n4 1\n5 2\n6 2\n")
    (problem,) = look(birds, expected=expected).problems
    assert "fingerprint" in problem


def test_missing_surplus_and_unreadable_images(birds):
    (birds / A).unlink()
    (birds / B).write_bytes((birds / B).read_bytes()[:200])
    (birds / C).write_bytes(b"<html>not found</html>")
    (birds / D).unlink()
    (birds / D).mkdir()
    (birds / "images" / "003.Bird_3").mkdir()
    (birds / "images" / "003.Bird_3" / "new.JPG").write_bytes(official.picture(50))
    (birds / "images" / "001.Bird_1" / "notes.txt").write_text("no image")
    (birds / "segmentations").mkdir()
    (birds / "segmentations" / "of no concern.png").write_bytes(b"")
    os.mkfifo(birds / "images" / "pipe.png")
    (birds / "images" / "loop").symlink_to(".")
    found = look(birds, expected=SIX)
    assert found.missing == [A]
    assert found.surplus == ["images/003.Bird_3/new.JPG", "images/pipe.png"]
    assert set(found.unreadable) == {B, C}
    assert found.unreadable[C].startswith("not a JPEG")
    assert found.irregular == {D: "folder"}
    assert found.problems == [
        "listed images that are missing: 1",
        "images on disk that are not part of it: 2",
        "listed images that are no files: 1",
        "images that cannot be read: 2",
    ]


def test_copies_are_known_by_their_pixels_and_not_by_their_names(birds):
    from PIL import Image

    shutil.copy(birds / D, birds / QUERY_A)  # a copy, with the label of the other class
    Image.open(birds / A).save(birds / QUERY_B, "PNG")  # another format, the same pixels
    found = look(birds, expected=SIX)
    assert found.duplicates == [Copy(QUERY_A, D, same_label=False), Copy(QUERY_B, A, same_label=False)]
    assert found.problems == ["queries with a copy in the gallery: 2, 2 of them with another label"]
    assert look(birds, expected=replace(SIX, duplicates=2)).problems == []
    assert look(birds, expected=replace(SIX, duplicates=1)).problems == [
        "queries with a copy in the gallery: 2, 2 of them with another label, and 1 are known"
    ]
    shutil.copy(birds / A, birds / B)  # within the gallery it gives no answer away
    assert len(look(birds, expected=SIX).duplicates) == 2
    Image.open(birds / D).save(birds / QUERY_A, "PNG")  # in the gallery with both labels
    shutil.copy(birds / D, birds / B)
    assert look(birds, expected=SIX).duplicates[0] == Copy(QUERY_A, D, same_label=False)
    assert look(birds, expected=SIX).contradicting == [f"{B} = {D}", f"{D} = {B}"]
    shutil.copy(birds / QUERY_B, birds / QUERY_A)
    found = look(birds, expected=SIX)
    assert found.contradicting[2:] == [f"{QUERY_A} = {QUERY_B}", f"{QUERY_B} = {QUERY_A}"]
    assert found.notes == [f"4 images are copies of others with another label, first {B} = {D}"]


def test_boxes_count_where_they_are_requested(birds):
    (birds / "bounding_boxes.txt").write_text("".join(f"{n} 1 1 {8 * n} 8\n" for n in range(1, 7)))
    assert look(birds).problems == []
    assert look(birds).notes == ["5 boxes do not fit their images: --crop bbox cannot be used"]
    found = look(birds, crop="bbox")
    assert found.problems == ["boxes that do not fit their images: 5"]
    assert "does not fit an image of 12 x 10 pixels" in found.boxes[B]
    (birds / "bounding_boxes.txt").unlink()
    assert "bounding_boxes.txt, which is missing" in look(birds).notes[0]
    assert "bounding_boxes.txt, which is missing" in look(birds, crop="bbox").problems[0]
    with raises(UsageError, "no-boxes", "digits"):
        verify(datasets.find("digits"), birds, crop="bbox")


def test_boxes_that_fit_and_show_next_to_nothing_are_not_sound(birds):
    boxes = ["0 0 1 1", "-1 -1 11 11", "2 2 5 9", "0 0 12 10", "0 0 12 10", "0 0 8 8"]
    (birds / "bounding_boxes.txt").write_text("".join(f"{n} {box}\n" for n, box in enumerate(boxes, 1)))
    found = look(birds, crop="bbox")
    assert found.problems == ["boxes that are hardly meant so: 3"]
    reasons = {A: "larger than 1", B: "outside", QUERY_A: "fewer than 8 pixels"}
    assert [why in found.doubtful_boxes[id_] for id_, why in reasons.items()] == [True, True, True]
    found = look(birds)
    assert (found.problems, len(found.notes), found.notes[0][:7]) == ([], 1, "3 boxes")


def test_lists_that_contradict_themselves(tmp_path):
    for n, name in enumerate("abcd"):
        (tmp_path / f"{name}.jpg").write_bytes(official.picture(n))
    head = "path,label,split\n"
    for rows, problem in (
        ("a.jpg,x,gallery\nb.jpg,x,query\na.jpg,y,query\n", "images with two labels: 1"),
        ("a.jpg,x,train\na.jpg,y,gallery\nb.jpg,y,query\n", "images with two labels: 1"),
        ("a.jpg,x,gallery\n", "the queries split has no images"),
    ):
        (tmp_path / "mine.csv").write_text(head + rows)
        found = verify(datasets.find(tmp_path / "mine.csv"), tmp_path)
        assert any(problem in one for one in found.problems), found.problems


def test_own_images_that_contradict_each_other_are_not_sound(tmp_path):
    from PIL import Image

    for n, place in enumerate(
        f"{part}/{c}/{n}.png" for part in ("train", "gallery", "query") for c in "ab" for n in "01"
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(official.picture(n))
    assert verify(datasets.find(tmp_path), tmp_path).problems == []
    for there, here in (("query/a/0.png", "train/b/1.bmp"), ("gallery/a/0.png", "gallery/b/1.bmp")):
        Image.open(tmp_path / there).save(tmp_path / here)  # another format, the same pixels
    found = verify(datasets.find(tmp_path), tmp_path)
    assert found.trained == [Copy("query/a/0.png", "train/b/1.bmp", same_label=False)]
    assert sorted(found.contradicting) == [
        "gallery/a/0.png = gallery/b/1.bmp", "gallery/b/1.bmp = gallery/a/0.png",
    ]  # fmt: skip
    assert found.problems == ["copies with another label: 2", "queries with a copy in training: 1"]


def test_ones_own_images_may_leave_some_unlisted_and_some_without_positives(tmp_path):
    for n, name in enumerate("abcd"):
        (tmp_path / f"{name}.jpg").write_bytes(official.picture(n))
    (tmp_path / "mine.csv").write_text("path,label,split\na.jpg,x,gallery\nb.jpg,x,query\nc.jpg,y,query\n")
    found = verify(datasets.find(tmp_path / "mine.csv"), tmp_path)
    assert found.problems == []
    assert found.notes == [
        "1 queries have no image of their class in the gallery, and are not scored",
        "every gallery image is relevant to every query that is scored: all rankings score the same",
        "1 further images lie in its folders, first d.jpg",
    ]


def test_images_in_archives(tmp_path):
    official.unpacked(official.omniglot(), tmp_path / "omniglot")
    dataset = datasets.find("omniglot-small")
    dataset = replace(dataset, head=replace(dataset.head, expected=None))
    assert verify(dataset, tmp_path).problems == []
    damaged = bytearray((tmp_path / "omniglot" / "images_background_small1.zip").read_bytes())
    at = damaged.find(b"IDAT")
    damaged[at + 8] ^= 255
    (tmp_path / "omniglot" / "images_background_small1.zip").write_bytes(damaged)
    found = verify(dataset, tmp_path)
    assert len(found.unreadable) == 1
    assert "Bad CRC-32" in next(iter(found.unreadable.values()))


def test_the_command_prints_all_of_it_and_leaves_with_1(call, birds):
    (birds / A).unlink()
    shutil.copy(birds / D, birds / QUERY_B)
    code, out, err = call("data", "verify", "cub200", "--data", str(birds), "--classes")
    assert (code, err) == (1, "")
    for part in (
        f"missing                            1\n    {A}\n",
        f"    {QUERY_B} = {D}\n",
        "images of train: 4, expected 5,994",
        f"1                  2         2         1   {A}",
        "wrong:",
    ):
        assert part in out
    code, out, _ = call("data", "verify", "cub200", "--data", str(birds), "--json")
    told = json.loads(out)
    assert (code, told["sound"], told["missing"]) == (1, False, [A])
    assert told["splits"]["gallery"] == {"images": 4, "classes": 2, "per_class": {"1": 2, "2": 2}}
    assert told["duplicates"] == [{"query": QUERY_B, "gallery": D, "same_label": True}]
    assert any("5,994" in problem for problem in told["problems"])


def test_what_is_not_there_is_an_error_of_the_request(call):
    code, out, err = call("data", "verify", "cub200", "--json")
    assert (code, out) == (2, "")
    assert "[not-found]" in err
    assert "cub200" in err
    assert call("data", "verify", "digits")[0] == 0


def test_all_images_gone(birds):
    shutil.rmtree(birds / "images")
    found = look(birds, expected=SIX)
    assert len(found.missing) == 6
    assert found.problems == ["listed images that are missing: 6"]
    (birds / "train_test_split.txt").unlink()
    with raises(DataError, "missing-file", "train_test_split.txt"):
        look(birds)


# --- the real ones


@pytest.mark.data
def test_the_real_lists_of_birds_are_those_that_were_published(shared_data):
    found = verify(datasets.find("cub200"), shared_data)
    assert found.problems == ["listed images that are missing: 11,788"]


@pytest.mark.data
def test_omniglot_is_complete(call, shared_data):
    code, out, _ = call("data", "verify", "omniglot-small", "--data", str(shared_data))
    assert code == 0
    assert "complete: every image that was published is here and can be read\n" in out


@pytest.mark.data
def test_the_copies_that_the_cars_recipe_knows_of(shared_data):
    """What the command finds among all 8,144 photographs, looked up without decoding the others."""
    from irbench.data.decode import decode

    dataset = datasets.find("cars196-holdout")
    root, collection = dataset.collect(shared_data)
    pairs = [(151, 4892), (595, 3516), (3436, 50), (5614, 5334), (7381, 6353)]
    assert len(pairs) == dataset.head.expected.duplicates
    asked = set(collection.split.queries.tolist())
    for query, other in pairs:
        first, second = (decode((root / collection.ids[n - 1]).read_bytes()).tobytes() for n in (query, other))
        assert first == second
        assert collection.labels[query - 1] != collection.labels[other - 1]
        assert {query - 1, other - 1} & asked == {query - 1}
