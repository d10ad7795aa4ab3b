"""Parquet files of images, written here as `datasets` and MTEB do, in a folder and behind a hub that is made up."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from raising import raises

from irbench.core.benchmark import Benchmark
from irbench.core.errors import DataError, MissingLibrary, UsageError
from irbench.data import datasets
from irbench.data.loaders.hub import _file_names, _folded
from irbench.data.pixels import drop_unreadable
from irbench.data.sources import Source
from irbench.data.verify import verify
from irbench.runtime import libraries
from irbench.runtime.cache import Store

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
COMMIT = "ad08c1307b15a226bf1b64e62656a17f1f85f7ec"


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 255 - shade, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def images(*shades: int | None) -> pa.Array:
    return pa.array([None if one is None else {"bytes": png(one), "path": f"{one}.png"} for one in shades], IMAGE)


def write(path: Path, *, features: dict | None = None, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({name.replace("__", "-"): column for name, column in columns.items()})
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=2)
    return path


def load(folder: Path | str, **options) -> Benchmark:
    work = options.pop("work", Path("work"))
    return datasets.load(datasets.placed(str(folder), work), store=Store(work), **options)


def shades(split) -> list[int]:
    return [Source(split).image(row).getpixel((0, 0))[0] for row in range(len(split))]


def labels(split, benchmark: Benchmark) -> list[str]:
    return [benchmark.class_names[label] for label in split.labels]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "birds"


@pytest.fixture
def labelled(elsewhere: Path) -> Path:
    """Two shards of training images and one of test images, with a ClassLabel as `push_to_hub` stores it."""
    names = {"label": {"names": ["tern", "auk", "gull"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    write(elsewhere / "data/train-00000-of-00002.parquet", image=images(0, 1, 2), label=[1, 0, 1], features=names)
    write(elsewhere / "data/train-00001-of-00002.parquet", image=images(3), label=[0], features=names)
    write(elsewhere / "data/test-00000-of-00001.parquet", image=images(4, 5), label=[0, 1], features=names)
    (elsewhere / "README.md").write_text("---\n")
    return elsewhere


@pytest.fixture
def task(elsewhere: Path) -> Path:
    """A corpus, queries and qrels as MTEB's tasks have them; a query and an image of the corpus have the same id."""
    write(
        elsewhere / "corpus-00000-of-00001.parquet",
        id=["a", "b/1", "B/1"],
        modality=["image"] * 3,
        image=images(1, 2, 3),
    )
    write(elsewhere / "query-00000-of-00001.parquet", id=["a", "q", "unasked"], image=images(4, 5, 6))
    qrels = {"query__id": ["q", "a", "q", "a"], "corpus__id": ["b/1", "a", "B/1", "b/1"]}
    write(elsewhere / "qrels-00000-of-00001.parquet", **qrels, score=pa.array([1, 2, 1, 0], pa.int8()))
    return elsewhere


def judged(benchmark: Benchmark) -> dict[tuple[int, int], int]:
    """Return the grades, by the shades of query and image."""
    asked, held = shades(benchmark.queries), shades(benchmark.gallery)
    return {
        (asked[query], held[row]): grade
        for query in range(len(asked))
        for row, grade in zip(*(column.tolist() for column in benchmark.relevance.of_query(query)), strict=True)
    }


# --- images with labels


def test_the_numbers_of_each_file_are_those_of_its_own_names(labelled: Path) -> None:
    other = {"label": {"names": ["gull", "auk", "tern", "knot"], "_type": "ClassLabel"}}
    write(labelled / "data/train-00001-of-00002.parquet", image=images(3), label=[3], features=other)
    write(labelled / "data/test-00000-of-00001.parquet", image=images(4, 5), label=[2, 1], features=other)
    found = load(labelled)
    assert labels(found.gallery, found) == ["auk", "tern", "auk", "knot"]
    assert labels(found.queries, found) == ["tern", "auk"]
    assert found.positives.tolist() == [1, 2]
    write(labelled / "data/train-00001-of-00002.parquet", image=images(3), label=[0])
    with raises(DataError, "bad-label", "train-00001"):
        load(labelled)


def test_paths_in_the_place_of_images_are_refused(labelled: Path) -> None:
    paths = pa.array([{"bytes": None, "path": "/elsewhere/4.png"}] * 2, IMAGE)
    names = {"label": {"names": ["tern", "auk", "gull"], "_type": "ClassLabel"}}
    write(labelled / "data/test-00000-of-00001.parquet", image=paths, label=[0, 1], features=names)
    with raises(DataError, "missing-images", "test-00000"):
        load(labelled)


def test_scores_that_are_no_numbers_are_refused(task: Path) -> None:
    for scores in (["1", "good"], [1.0, None]):
        qrels = {"query__id": ["q", "a"], "corpus__id": ["b/1", "a"]}
        write(task / "qrels-00000-of-00001.parquet", **qrels, score=scores)
        with raises(DataError, "bad-grade", "row 1"):
            load(task)


def test_splits_are_those_of_the_file_names(labelled: Path) -> None:
    found = load(labelled)
    assert (found.name, found.path.name) == ("birds", "birds.hub")
    assert found.gallery.ids == found.train.ids == tuple(f"train/{row:06}" for row in range(4))
    assert (shades(found.gallery), shades(found.queries)) == ([0, 1, 2, 3], [4, 5])
    assert labels(found.gallery, found) == ["auk", "tern", "auk", "tern"]
    assert labels(found.queries, found) == ["tern", "auk"]
    assert Source(found.queries)._bytes(0) == png(4)  # as they were, not encoded again
    assert not verify(datasets.find(found.path), Path("data")).problems


def test_of_a_single_split_every_third_image_of_a_class_is_a_query(elsewhere: Path) -> None:
    write(
        elsewhere / "all.parquet", image=[png(shade) for shade in range(7)], label=["x", "y", "x", "y", "x", "x", "y"]
    )
    found = load(elsewhere)
    assert (shades(found.queries), labels(found.queries, found)) == ([4, 6], ["x", "y"])
    assert shades(found.gallery) == [0, 1, 2, 3, 5]


@pytest.mark.parametrize(
    ("files", "gallery", "queries", "unused"),
    [
        (("train", "validation"), "train", "validation", None),
        (("train", "validation", "test"), "train", "test", "validation"),
        (("train/0000", "test/0000"), "train", "test", None),  # as the hub's own conversion
        (("gallery", "query", "train"), "gallery", "query", None),
        (("val", "testing"), "validation", "test", None),
    ],
)
def test_the_split_that_is_evaluated(elsewhere: Path, files, gallery: str, queries: str, unused: str | None) -> None:
    for number, file in enumerate(files):
        write(elsewhere / f"{file}.parquet", image=images(10 * number, 10 * number + 1), label=[2, 10])
    found = load(elsewhere)
    assert {id_.partition("/")[0] for id_ in found.gallery.ids} == {gallery}
    assert {id_.partition("/")[0] for id_ in found.queries.ids} == {queries}
    assert found.class_names == ("2", "10")  # numbers in their order
    assert [remark for remark in found.remarks if "not used" in remark and unused] == (
        [f"split that is not used: {unused}"] if unused else []
    )


def test_the_only_class_label_stands_for_label(elsewhere: Path) -> None:
    features = {"fine": {"names": ["x"], "_type": "ClassLabel"}, "coarse": {"names": ["x"], "_type": "ClassLabel"}}
    path, columns = elsewhere / "a.parquet", {"img": images(1, 2, 3), "fine": [0, 0, 0], "coarse": [0, 0, 0]}
    write(path, **columns, features={"fine": features["fine"]})
    assert len(load(elsewhere).gallery) == 2
    write(path, **columns, features=features)
    with raises(DataError, "bad-column", "fine, coarse"):
        load(elsewhere)


@pytest.mark.parametrize(
    ("columns", "code", "named"),
    [
        ({"label": ["x"] * 3, "text": ["y"] * 3}, "missing-column", "text (string)"),
        ({"label": ["x"] * 3, "image": ["a.jpg"] * 3}, "bad-column", "string"),
        ({"label": ["x"] * 3, "left": images(1, 2, 3), "right": images(1, 2, 3)}, "bad-column", "left, right"),
        ({"image": images(1, 2, 3), "caption": ["x"] * 3}, "missing-column", "caption (string)"),
        ({"image": images(1, 2, 3), "label": [0.5] * 3}, "bad-column", "float"),
        ({"image": images(1, 2, 3), "label": [0, None, None]}, "bad-label", "row 1: 2 rows"),
        ({"image": images(1, 2), "label": [0, 0]}, "too-few-images", "birds"),
    ],
)
def test_columns_that_cannot_be_used(elsewhere: Path, columns, code: str, named: str) -> None:
    path = write(elsewhere / "all.parquet", **columns)
    with raises(DataError, code, named, path if code != "too-few-images" else path.parent):
        load(elsewhere)
    assert not list(Path("work").rglob("train/*"))  # nothing is unpacked of what is refused


def test_labels_that_the_class_label_does_not_tell(labelled: Path) -> None:
    names = {"label": {"names": ["tern"], "_type": "ClassLabel"}}
    path = write(labelled / "data/test-00000-of-00001.parquet", image=images(4, 5), label=[0, -1], features=names)
    with raises(DataError, "bad-label", path, "row 1"):
        load(labelled)
    for part in ("train", "test"):  # where there are names, a number is one of them
        write(labelled / f"data/{part}-00000-of-00001.parquet", image=images(4), label=[1], features=names)
    for path in labelled.glob("data/*-of-00002.parquet"):
        path.unlink()
    with raises(DataError, "bad-label", "1 names"):
        load(labelled)


# --- tasks of retrieval


def test_a_task_has_a_corpus_queries_and_judgements(task: Path) -> None:
    found = load(task)
    assert (shades(found.gallery), shades(found.queries)) == ([1, 2, 3], [4, 5])
    assert judged(found) == {(4, 1): 2, (5, 2): 1, (5, 3): 1}
    assert (found.labelled, found.own_rows.tolist()) == (False, [-1, -1])
    assert found.gallery.ids[0] == "corpus/a"
    assert len({id_.casefold() for id_ in found.gallery.ids}) == 3  # of a system that ignores capital letters too
    assert any("left out: 1" in remark for remark in found.remarks)


@pytest.mark.parametrize(
    "text", ["query-id\tcorpus-id\tscore\nq\tb/1\t1\nq\tB/1\t1\na\ta\t2\n", "q 0 b/1 1\nq 0 B/1 1\na 0 a 2\n"]
)
def test_qrels_may_be_a_text_in_the_folders_of_mteb(task: Path, text: str) -> None:
    for name in ("corpus", "query"):
        (task / {"query": "queries"}.get(name, name)).mkdir()
        (task / f"{name}-00000-of-00001.parquet").rename(task / {"query": "queries"}.get(name, name) / "test.parquet")
    before = load_with_columns_alone(task)
    (task / "data/test-00000-of-00001.parquet").unlink()
    (task / "qrels").mkdir()
    (task / "qrels/train.tsv").write_text("nothing of it is read")
    (task / "qrels/test.tsv").write_text(text)
    found = load(task)
    assert judged(found) == {(4, 1): 2, (5, 2): 1, (5, 3): 1}
    assert found.fingerprint == before.fingerprint


def load_with_columns_alone(task: Path) -> Benchmark:
    """Load it with qrels that only their columns tell, as those of MTEB's config `default`."""
    (task / "data").mkdir()
    (task / "qrels-00000-of-00001.parquet").rename(task / "data/test-00000-of-00001.parquet")
    return load(task)


@pytest.mark.parametrize(
    ("columns", "code", "named"),
    [
        ({"query__id": ["q"], "corpus__id": ["b"], "score": [1]}, "unknown-id", "row 0"),
        ({"query__id": ["p"], "corpus__id": ["a"], "score": [1]}, "unknown-id", "row 0"),
        ({"query__id": ["q", "q"], "corpus__id": ["a", "a"], "score": [1, 0]}, "duplicate-image", "row 1"),
        ({"query__id": ["q"], "corpus__id": ["a"], "score": [0.5]}, "bad-grade", "0.5"),
        ({"query__id": ["q"], "corpus__id": ["a"]}, "missing-column", "score"),
        ({"query__id": ["q"], "corpus__id": ["a"], "score": [0]}, "no-positives", "birds"),
        (
            {
                "query__id": pa.array([], pa.string()),
                "corpus__id": pa.array([], pa.string()),
                "score": pa.array([], pa.int8()),
            },
            "bad-qrels",
            "qrels-00000",
        ),
    ],
)
def test_qrels_that_judge_nothing(task: Path, columns, code: str, named: str) -> None:
    write(task / "qrels-00000-of-00001.parquet", **columns)
    with raises(DataError, code, named):
        load(task)


@pytest.mark.parametrize(
    ("columns", "code", "named"),
    [
        ({"id": ["a", "a"], "image": images(1, 2)}, "duplicate-image", "row 1"),
        ({"id": ["a", None], "image": images(1, 2)}, "empty-value", "row 1"),
        ({"image": images(1, 2)}, "missing-column", "image"),
        ({"id": ["a", "q"], "text": ["x", "y"]}, "missing-column", "text"),
    ],
)
def test_queries_that_cannot_be_used(task: Path, columns, code: str, named: str) -> None:
    path = write(task / "query-00000-of-00001.parquet", **columns)
    with raises(DataError, code, named, path):
        load(task)


@pytest.mark.parametrize("table", ["corpus", "query", "qrels"])
def test_a_table_that_is_missing_is_named(task: Path, table: str) -> None:
    (task / f"{table}-00000-of-00001.parquet").unlink()
    with raises(DataError, "missing-file", table):
        load(task)


@given(st.lists(st.text(max_size=200), unique=True, max_size=20))
def test_every_id_has_a_file_name_of_its_own(ids: list[str]) -> None:
    names = _file_names(ids)
    assert len(set(map(_folded, names))) == len(ids)
    assert all(name and "/" not in name and "\0" not in name and name[0] != "." for name in names)
    assert all(len(name.encode()) < 255 for name in names)


# --- files


def test_null_images_are_missing_and_can_be_skipped(labelled: Path) -> None:
    path = labelled / "data/train-00001-of-00002.parquet"
    write(path, image=images(3, None), label=["a", "b"])
    write(labelled / "data/train-00000-of-00002.parquet", image=images(0, None), label=["a", "b"])
    write(labelled / "data/test-00000-of-00001.parquet", image=images(4), label=["a"])
    with raises(DataError, "missing-images", "2 of 5", "train/000001"):
        load(labelled)
    found = load(labelled, files_must_exist=False)
    assert any("2 of 5" in remark for remark in found.remarks)
    assert datasets.summary(found)["files"] == {"listed": 5, "missing": 2}
    kept, left_out = drop_unreadable(found, Store(Path("work")))
    assert (shades(kept.gallery), left_out["gallery"]) == ([0, 3], ["train/000001", "train/000003"])


def test_files_that_cannot_be_read(labelled: Path) -> None:
    path = labelled / "data/test-00000-of-00001.parquet"
    whole = path.read_bytes()
    for damaged in (b"PAR1", whole[:-9], whole[:100] + bytes(100) + whole[200:]):
        path.write_bytes(damaged)
        with raises(DataError, "damaged-file", path):
            load(labelled)
    path.write_bytes(whole)
    (labelled / "data/train-00000-of-00002.parquet").unlink()
    with raises(DataError, "missing-file", "train-00000-of-00002.parquet"):
        load(labelled)


def test_subsets_have_to_be_chosen(labelled: Path) -> None:
    for name in ("sea", "land"):
        write(labelled / name / "train-00000-of-00001.parquet", image=images(1, 2, 3), label=["x"] * 3)
    with raises(DataError, "several-datasets", "land", "sea"):
        load(labelled)
    assert load(labelled / "sea").name == "sea"


def test_images_are_unpacked_once_and_what_was_interrupted_goes_on(
    labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path, column):
        read.append(path.name)
        yield from original(path, column)
        if path.name.startswith("test") and len(read) == 3:
            raise KeyboardInterrupt

    from irbench.data import parquet

    original = parquet._images
    monkeypatch.setattr(parquet, "_images", counted)
    with pytest.raises(KeyboardInterrupt):
        load(labelled)
    first = load(labelled)
    assert len(load(labelled).gallery) == 4
    assert read == [
        *(f"train-0000{number}-of-00002.parquet" for number in (0, 1)),
        *["test-00000-of-00001.parquet"] * 2,
    ]
    names = {"label": {"names": ["tern", "auk", "gull"], "_type": "ClassLabel"}}
    write(labelled / "data/train-00001-of-00002.parquet", image=images(9), label=[0], features=names)
    with raises(DataError, "other-data", labelled):  # by the path that stands for what was unpacked
        datasets.load(first.path)
    assert shades(load(labelled).gallery) == [0, 1, 2, 9]


def test_folders_of_images_stay_folders_of_images(elsewhere: Path) -> None:
    for number in range(3):
        (elsewhere / "x").mkdir(parents=True, exist_ok=True)
        (elsewhere / f"x/{number}.png").write_bytes(png(number))
    write(elsewhere / "zz/facts.parquet", a=[1])
    assert load(elsewhere).gallery.ids == ("x/0.png", "x/1.png")


def test_without_pyarrow_the_install_line_is_named(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with raises(MissingLibrary, "missing-library", "irbench-retrieval[parquet]"):
        libraries.pyarrow()
    with raises(MissingLibrary, "missing-library"):
        load(labelled)


# --- the hub


class Hub:
    """In place of huggingface_hub: one repository whose branch main is at COMMIT, and a cache."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import huggingface_hub

        self.online, self.cache, self.asked = True, {}, []
        place = folder.rename(folder.parent / COMMIT)

        class Api:
            @staticmethod
            def dataset_info(repository: str, *, revision: str, timeout: float):
                self.asked.append((repository, revision))
                if not self.online:
                    raise ConnectionError("offline mode is enabled")
                return type("Facts", (), {"sha": COMMIT})

        def snapshot_download(repository, *, repo_type, revision, allow_patterns, local_files_only=False):
            assert repo_type == "dataset"
            if local_files_only and revision not in self.cache:
                raise huggingface_hub.errors.LocalEntryNotFoundError("not cached")
            self.cache |= {"main": allow_patterns, COMMIT: allow_patterns}
            return str(place)

        monkeypatch.setattr(huggingface_hub, "HfApi", Api)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


def test_a_branch_of_the_hub_is_resolved_once_and_its_commit_reported(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = load(task)
    hub = Hub(task, monkeypatch)
    found = load("hf:isaacchung/cub@main")
    assert (found.name, found.fingerprint) == ("cub", folder.fingerprint)
    assert any(COMMIT in remark for remark in found.remarks)
    assert hub.cache[COMMIT] == ["*.parquet", "*.tsv"]
    hub.online, hub.asked = False, []
    assert load(f"hf:isaacchung/cub@{COMMIT}").path == found.path
    assert datasets.load(found.path).fingerprint == found.fingerprint
    assert hub.asked == []  # what is pinned and was fetched needs no hub
    assert load("hf:isaacchung/cub@main").path == found.path
    hub.cache = {}
    for name in ("hf:isaacchung/cub@main", f"hf:isaacchung/other@{COMMIT}"):
        with raises(DataError, "hub-unreachable", f"hf download {name[3:].partition('@')[0]} --repo-type dataset"):
            load(name)


def test_a_subset_of_the_hub(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(labelled / "sea/train-00000-of-00001.parquet", image=images(7, 8, 9), label=["x"] * 3)
    hub = Hub(labelled, monkeypatch)
    found = load(f"hf:a/birds/sea@{COMMIT}")
    assert (found.name, shades(found.gallery), shades(found.queries)) == ("birds-sea", [7, 8], [9])
    assert "sea/*.parquet" in hub.cache[COMMIT]
    with raises(DataError, "no-images", "sky", "sea"):
        load(f"hf:a/birds/sky@{COMMIT}")


@pytest.mark.parametrize(
    ("name", "code"),
    [("hf:a/birds", "no-revision"), ("hf:birds@main", "unknown-name"), ("hf:a/../b@main", "unknown-name")],
)
def test_a_data_set_of_the_hub_has_an_owner_and_a_revision(name: str, code: str) -> None:
    with raises(UsageError, code, name):
        load(name)
