"""Images with judgements of one's own: which are queries, what is relevant, and what is wrong with a file of these."""

from pathlib import Path

import pytest
from PIL import Image
from raising import raises

from irbench.core.benchmark import Benchmark
from irbench.core.errors import DataError, UsageError
from irbench.core.judgements import JUNK
from irbench.data import datasets
from irbench.data.loaders.judged import Files, write_list

TREC = "a.png 0 b.png 1\na.png 0 c%20d.png 2\na.png 0 e.png -1\nb.png 0 a.png 1\nb.png 0 b.png 1\n"


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(path)


def folder(root: Path, names=("a.png", "b.png", "c d.png", "e.png")) -> Path:
    for shade, name in enumerate(names):
        picture(root / name, 40 * shade)
    return root


def load(images: Path, text: str, name: str = "qrels.txt", **options) -> Benchmark:
    path = images.parent / name
    path.write_text(text)
    return datasets.load(write_list(Files(images=images, qrels=path), images.parent / "work"), **options)


def graded(benchmark: Benchmark) -> dict[tuple[str, str], int]:
    """Return what is judged, by the names of images."""
    found = {}
    for query, name in enumerate(benchmark.queries.ids):
        rows, grades = benchmark.relevance.of_query(query)
        found |= {(name, benchmark.gallery.ids[row]): grade for row, grade in zip(rows, grades.tolist(), strict=True)}
    return found


EXPECTED = {("a.png", "b.png"): 1, ("a.png", "c d.png"): 2, ("a.png", "e.png"): JUNK, ("b.png", "a.png"): 1}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (TREC, "qrels.txt"),
        (
            "query,image,grade\na.png,b.png,1\na.png,c d.png,2.0\na.png,e.png,-1\nb.png,a.png,1\nb.png,e.png,0\n",
            "q.csv",
        ),
        (
            "query-id\tcorpus-id\tscore\na.png\tb.png\t1\na.png\tc d.png\t2\na.png\te.png\t-1\nb.png\ta.png\t1\n",
            "q.tsv",
        ),
    ],
)
def test_images_of_a_flat_folder_are_judged_by_a_file_of_any_form(tmp_path: Path, text: str, name: str) -> None:
    found = load(folder(tmp_path / "photos"), text, name)
    assert (found.name, found.queries.ids, len(found.gallery), found.train.ids) == (
        "photos", ("a.png", "b.png"), 4, ("c d.png", "e.png")
    )  # fmt: skip
    assert graded(found) == EXPECTED
    assert found.positives.tolist() == [2, 1]
    assert found.depth == found.top_k + 1
    assert (found.labelled, found.classes, found.relevance.graded) == (False, 0, True)


def test_the_query_itself_is_not_judged_and_what_was_left_out_is_said(tmp_path: Path) -> None:
    found = load(folder(tmp_path / "photos"), TREC)
    assert sum(" own image" in remark and remark.endswith(": 1") for remark in found.remarks) == 1
    assert any("3 pairs" in remark and "1 of images that are neither" in remark for remark in found.remarks)


def test_folders_of_classes_give_labels_to_train_on(tmp_path: Path) -> None:
    names = ("x/a.png", "x/b.png", "y/c.png", "y/d.png")
    found = load(folder(tmp_path / "photos", names), "x/a.png 0 y/c.png 1\n")
    assert (found.labelled, found.class_names, found.train.labels.tolist()) == (True, ("x", "y"), [0, 1, 1])
    assert graded(found) == {("x/a.png", "y/c.png"): 1}


def test_a_split_that_is_given_is_kept(tmp_path: Path) -> None:
    images = folder(tmp_path / "photos", ("query/a.png", "query/b.png", "gallery/c.png", "train/d.png"))
    found = load(images, "query/a.png 0 gallery/c.png 1\nquery/a.png 0 train/d.png 1\n")
    assert (found.queries.ids, found.gallery.ids, found.train.ids) == (
        ("query/a.png", "query/b.png"), ("gallery/c.png",), ("train/d.png",)
    )  # fmt: skip
    assert found.positives.tolist() == [1, 0]
    assert any("not in the gallery" in remark and remark.endswith(": 1") for remark in found.remarks)
    with raises(DataError, "unknown-id", "gallery/c.png"):
        load(images, "gallery/c.png 0 query/a.png 1\n")


def test_other_judgements_are_another_task(tmp_path: Path) -> None:
    images = folder(tmp_path / "photos")
    one, same, other = (load(images, text) for text in (TREC, TREC + "b.png 0 e.png 0\n", TREC + "b.png 0 e.png 1\n"))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.collection == same.collection != other.collection


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("", "bad-qrels", "no judgements"),
        ("a.png 0 b.png\n", "bad-qrels", "line 1"),
        ("a.png 0 b.png 1\n\na.png 0 b.png 2\n", "duplicate-image", "line 3"),
        ("a.png 0 b.png good\n", "bad-grade", "good"),
        ("a.png 0 b.png 1.5\n", "bad-grade", "1.5"),
        ("a.png 0 b.png 1_0\n", "bad-grade", "1_0"),
        ("a.png 0 b.png 1e1\n", "bad-grade", "1e1"),
        ("# by hand\na.png 0 b.png 1\n", "bad-qrels", "line 1"),
        ("a.png Q0 b.png 1\na.png Q0 e.png 2\na.png Q0 c%20d.png 3\n", "bad-qrels", "ranks"),
        ("a.png 0 b.png 128\n", "bad-grade", "128"),
        ("a.png 0 b.pn 1\n", "unknown-id", "'b.png'"),
        ("query,image\na.png,b.png\n", "missing-column", "grade"),
        ("query,image,grade,grade\na.png,b.png,1,1\n", "missing-column", "grade"),
        ("query,image,grade\na.png,,1\n", "bad-qrels", "line 2"),
        ("a.png 0 b.png 0\n", "no-positives", "photos"),
        ("a.png 0 e.png -1\n", "no-positives", "photos"),
        ("\xff\xfe", "bad-qrels", "qrels.txt"),
    ],
)
def test_a_file_that_judges_nothing_is_refused(tmp_path: Path, text: str, code: str, named: str) -> None:
    images = folder(tmp_path / "photos")
    (tmp_path / "qrels.txt").write_bytes(text.encode("latin-1"))
    place = write_list(Files(images=images, qrels=tmp_path / "qrels.txt"), tmp_path / "work")
    with raises(DataError, code, named):
        datasets.load(place)


def test_classes_cannot_be_split_where_there_are_judgements(tmp_path: Path) -> None:
    with raises(UsageError, "unknown-choice", "metric-learning"):
        load(folder(tmp_path / "photos"), TREC, protocol="metric-learning")


def test_lists_with_several_labels_for_an_image_are_judged_by_shared_ones(tmp_path: Path) -> None:
    folder(tmp_path / "photos")
    rows = ["photos/a.png,cat|dog,query", "photos/b.png,dog,gallery", "photos/c d.png,bird,gallery",
            "photos/e.png,bird | cat,gallery"]  # fmt: skip
    (tmp_path / "list.csv").write_text("path,label,split\n" + "\n".join(rows))
    found = datasets.load(tmp_path / "list.csv")
    assert graded(found) == {("photos/a.png", "photos/b.png"): 1, ("photos/a.png", "photos/e.png"): 1}
    assert (found.positives.tolist(), found.labelled) == ([2], True)
    assert sum("|" in remark and " 2 of 4 images" in remark for remark in found.remarks) == 1
    plain = (tmp_path / "list.csv").read_text().replace(" | ", "").replace("|", "")
    (tmp_path / "plain.csv").write_text(plain.replace("catdog", "dog"))
    assert datasets.load(tmp_path / "plain.csv").judgements is None
    assert sorted(found.gallery.labels.tolist()) == [0, 1, 2]
