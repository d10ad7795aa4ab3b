"""Vectors that were computed elsewhere: however they are stored they are the same, and what is none is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raising import raises

from irbench.core.benchmark import Benchmark
from irbench.core.errors import DataError, UsageError
from irbench.core.ranking import MISSING, Ranking
from irbench.data import datasets, neighbours
from irbench.data.arrays import read_labels, read_vectors
from irbench.data.loaders.vectors import SAMPLE, Files, write_list
from irbench.data.sources import Source
from irbench.metrics import retrieval
from irbench.runtime.cache import Store

RNG = np.random.default_rng(0)
VECTORS = RNG.integers(-9, 10, (60, 5)).astype(np.float32) + np.float32(0.5)
WHOLE = (2 * VECTORS).astype(np.int64)
Load = Callable[..., Benchmark]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load arrays, or files that are there already, as a benchmark."""

    def loaded(gallery, queries=None, labels=None, query_labels=None, **options) -> Benchmark:
        given = {"gallery": gallery, "queries": queries, "labels": labels, "query_labels": query_labels}
        for name, array in given.items():
            if isinstance(array, np.ndarray):
                given[name] = tmp_path / f"{name}.npy"
                np.save(given[name], array)
        return datasets.load(write_list(Files(**given), tmp_path / "work"), **options)

    return loaded


def damaged(path: Path, *, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize(
    "stored", [WHOLE.astype(kind) for kind in ("<i4", ">i8", "<f2", ">f4", "<f8")] + [np.asfortranarray(WHOLE)]
)
def test_numbers_of_any_kind_and_order_are_the_same_data_set(load: Load, stored: np.ndarray) -> None:
    plain, other = load(WHOLE.astype(np.float32)), load(stored)
    assert other.collection == plain.collection
    assert other.fingerprint == plain.fingerprint
    assert np.array_equal(other.gallery.vectors, WHOLE)
    assert (other.gallery.vectors.dtype, other.gallery.vectors.flags.c_contiguous) == (np.float32, True)


def test_an_array_of_float32_is_mapped_and_not_copied(load: Load) -> None:
    benchmark = load(VECTORS, VECTORS[:4] + 1)
    for images in (benchmark.train, benchmark.gallery, benchmark.queries):
        assert isinstance(images.vectors, np.memmap)
    assert isinstance(benchmark.gallery.take(slice(3, 9)).vectors, np.memmap)
    assert np.array_equal(benchmark.gallery.take(np.array([7, 2])).vectors, VECTORS[[7, 2]])


@pytest.mark.parametrize(
    ("array", "code", "named"),
    [
        (np.zeros((0, 4), np.float32), "bad-vectors", "[0, 4]"),
        (np.zeros((4, 0), np.float32), "bad-vectors", "[4, 0]"),
        (np.ones(4, np.float32), "bad-vectors", "[4]"),
        (np.ones((2, 2, 2), np.float32), "bad-vectors", "[2, 2, 2]"),
        (np.array([["a"]]), "bad-vectors", "<U1"),
        (np.ones((2, 2), complex), "bad-vectors", "complex128"),
        (np.array([[1.0, 2], [np.nan, 1], [np.inf, 1]]), "not-finite", "row 1"),
        (np.array([[1.0, 2], [1, 1], [1e39, 1]]), "not-finite", "row 2"),
        (np.array([[1, 2], [0, 0], [0, 0]]), "no-direction", "row 1"),
    ],
)
def test_an_array_that_holds_no_vectors_is_refused(tmp_path: Path, array: np.ndarray, code: str, named: str) -> None:
    np.save(tmp_path / "some.npy", array)
    with raises(DataError, code, tmp_path / "some.npy", named):
        read_vectors(tmp_path / "some.npy")


def test_a_file_that_holds_no_array_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "some.npy"
    with raises(DataError, "no-such-file", place):
        read_vectors(place)
    np.save(place, np.array([{}, print], object), allow_pickle=True)
    with raises(DataError, "bad-vectors", place):
        read_vectors(place)
    for content in (b"", b"PK", b"text", b"\x93NUMPY\x01\x00\x10\x00{bad header     "):
        place.write_bytes(content)
        with raises(DataError, "bad-vectors", place):
            read_vectors(place)
    np.save(place, VECTORS)
    damaged(place, keep=300)
    with raises(DataError, "bad-vectors", place):
        read_vectors(place)
    with place.open("wb") as file:
        np.savez(file, one=VECTORS)
    with raises(DataError, "bad-vectors", place):
        read_vectors(place)


def test_labels_are_read_from_text_and_arrays_alike(tmp_path: Path, load: Load) -> None:
    numbers = np.arange(60) % 7
    text = tmp_path / "labels.csv"
    text.write_text("\r\n".join(map(str, numbers)) + "\r\n")
    np.save(tmp_path / "texts.npy", numbers.astype(str))
    known = [load(VECTORS, labels=labels).collection for labels in (numbers, text, tmp_path / "texts.npy")]
    assert len(set(known)) == 1
    assert read_labels(text, 60)[:3] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (np.arange(59), "wrong-shape"),
        (np.ones((60, 1), int), "bad-label"),
        (np.ones(60), "bad-label"),
        (np.array(["a", ""] * 30), "bad-label"),
    ],
)
def test_labels_that_are_none_are_refused(load: Load, labels: np.ndarray, code: str) -> None:
    with raises(DataError, code, "labels.npy"):
        load(VECTORS, labels=labels)


def test_gallery_and_queries_have_as_many_dimensions(load: Load) -> None:
    with raises(DataError, "wrong-shape", "queries.npy", 4, 5):
        load(VECTORS, VECTORS[:, :4])


def test_without_queries_a_sample_of_the_gallery_is_searched_without_itself(load: Load) -> None:
    many = RNG.normal(size=(3 * SAMPLE, 2)).astype(np.float32)
    benchmark = load(many)
    assert len(benchmark.queries) == SAMPLE
    assert np.array_equal(benchmark.own_rows, np.arange(0, 3 * SAMPLE, 3))
    assert np.array_equal(benchmark.queries.vectors, many[::3])
    assert not (benchmark.nearest.rows == benchmark.own_rows[:, None]).any()


def test_classes_of_vectors_can_be_split_for_metric_learning(load: Load) -> None:
    labels = np.repeat(np.arange(6), 10)
    benchmark = load(VECTORS, VECTORS[::10] + 1, labels, labels[::10], protocol="metric-learning")
    assert np.array_equal(benchmark.gallery.vectors, [*VECTORS[30:], *(VECTORS[30::10] + 1)])
    assert np.array_equal(benchmark.queries.vectors, benchmark.gallery.vectors)
    with raises(DataError, "too-few-classes"):
        load(VECTORS, protocol="metric-learning")
    with raises(UsageError, "unused-option"):
        load(VECTORS, incremental=True)


def test_no_image_is_made_of_a_vector(load: Load) -> None:
    with raises(DataError, "needs-images", "queries/3"):
        Source(load(VECTORS, VECTORS[:5] + 1).queries).seen(3)


def test_vectors_that_are_equal_only_in_float32_are_counted(load: Load) -> None:
    close = VECTORS.astype(np.float64)
    close[1:4] = close[0] + np.arange(1, 4)[:, None] * 1e-9
    close[5] = close[4]  # equal as stored
    assert [one for one in load(close, VECTORS[:2] + 1).remarks if one.startswith("3 of the 60 gallery vectors")]
    same = close.astype(np.float32)
    assert not [one for one in load(same, VECTORS[:2] + 1).remarks if "float32" in one]


def test_a_copy_of_a_query_in_the_gallery_is_reported(load: Load) -> None:
    remarks = load(VECTORS, np.array([VECTORS[7], VECTORS[8] + 0.25])).remarks
    assert [one for one in remarks if one.endswith(": 1 of 2")]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 70), st.integers(1, 9), st.integers(1, 80), st.integers(0, 2**32 - 1))
def test_exact_neighbours_are_those_of_a_plain_loop(gallery: int, queries: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(0, 3, (gallery, 3)).astype(np.float32)  # many are equally near
    asked = rng.integers(0, 3, (queries, 3)).astype(np.float32)
    found = neighbours.nearest_rows(asked, vectors, k)
    for query, row, scores in zip(asked, found.rows, found.scores, strict=True):
        distances = [float(((one - query) ** 2).sum()) for one in vectors]
        order = sorted(range(gallery), key=lambda place: (distances[place], place))[:k]
        assert [-score for score in scores.tolist()] == [distances[place] for place in order]
        last = distances[order[-1]]  # of those as near as the last any may be among them
        assert [r for r in row.tolist() if distances[r] < last] == [r for r in order if distances[r] < last]


@pytest.mark.parametrize("copies", [40, 70, 200])
def test_all_vectors_that_are_as_near_as_the_last_neighbour_count(load: Load, copies: int) -> None:
    few = RNG.normal(size=(3, 4)).astype(np.float32)
    benchmark = load(np.repeat(few, copies, 0), np.array([few[0], few[1] + 0.01]))
    rng = np.random.default_rng(copies)
    distances = ((benchmark.queries.vectors[:, None] - benchmark.gallery.vectors) ** 2).sum(-1)
    order = np.stack([np.lexsort((rng.permutation(3 * copies), row)) for row in distances])[:, : benchmark.top_k]
    ranking = Ranking.from_topk(order, -np.take_along_axis(distances, order, 1))
    judged = retrieval.judgements(ranking, benchmark)
    assert neighbours._AS_NEAR == retrieval._AS_NEAR  # which is not imported: it is part of what scores stored results
    assert [retrieval.per_query(judged, f"recall@{k}").tolist() for k in benchmark.ks] == [[1.0, 1.0]] * len(
        benchmark.ks
    )


def test_more_equal_vectors_than_can_be_kept_are_refused(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_KEPT", 500)
    with raises(DataError, "too-many-ties", 164, "2 of 2", "queries/0"):
        load(np.ones((400, 3), np.float32), np.ones((2, 3), np.float32))


def test_neighbours_are_as_many_as_the_largest_k_needs(load: Load) -> None:
    benchmark = datasets.with_ks(load(RNG.normal(size=(900, 3)).astype(np.float32)), (10, 400, 1000))
    assert (benchmark.top_k, benchmark.nearest.top_k >= 899) == (1000, True)
    assert [one for one in benchmark.remarks if one.endswith("recall@1000 is about all of them")]
    found = neighbours.nearest_rows(benchmark.queries.vectors, benchmark.gallery.vectors, 400)
    judged = retrieval.judgements(found.without(benchmark.own_rows).widened(1000), benchmark)
    assert retrieval.per_query(judged, "recall@400").mean() == pytest.approx(399 / 400)
    assert retrieval.per_query(judged, "recall@1000").mean() == pytest.approx(399 / 899)


def test_neighbours_are_found_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, queries = (RNG.normal(size=(n, 4)).astype(np.float32) for n in (500, 70))
    whole = neighbours.nearest_rows(queries, gallery, 20)
    for name, size in {"_GALLERY": 33, "_QUERIES": 9, "_GATHERED": 400}.items():
        monkeypatch.setattr(neighbours, name, size)
    parts = neighbours.nearest_rows(queries, gallery, 20)
    assert np.array_equal(parts.rows, whole.rows)
    assert np.array_equal(parts.scores, whole.scores)


def test_neighbours_are_computed_once(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(VECTORS, store=Store(tmp_path / "work"))
    monkeypatch.setattr(neighbours._Best, "update", None)
    after = load(VECTORS, store=Store(tmp_path / "work"))
    assert np.array_equal(after.nearest.rows, before.nearest.rows)
    part = datasets.shorten(after, 7)
    assert np.array_equal(part.nearest.rows, after.nearest.rows[np.arange(7) * 60 // 7])


def answers(rows) -> Ranking:
    rows = np.asarray(rows, np.int64)
    scores = np.broadcast_to(-np.arange(rows.shape[1], dtype=np.float32), rows.shape)
    return Ranking(rows, np.where(rows == MISSING, -np.inf, scores).astype(np.float32))


def test_recall_counts_neighbours_and_whatever_is_as_near(load: Load) -> None:
    line = np.array([[1.0], [2], [2], [2], [5], [6]])
    benchmark = load(line, np.array([[1.0], [5.75]]))
    cases = {  # of the first query the rows 1, 2, 3 are equally near
        (0, 1): [1, 1, 1],
        (0, 3): [1, 1, 1],
        (3, 0): [0, 1, 1],
        (4, 5): [0, 0, 0],
        (0, MISSING): [1, 0.5, 0.5],
    }
    for row, expected in cases.items():
        scores = retrieval.score(answers([row, (5, 4)]), benchmark, ["recall@1", "recall@2", "precision@2", "map@2"])
        values = [scores.values[name][0] for name in ("recall@1", "recall@2", "precision@2")]
        assert values == expected, row
        assert [scores.values[name][1] for name in ("recall@1", "recall@2")] == [1, 1]
        assert list(scores.unscored) == ["map@2"]
    deep = retrieval.score(answers([[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]]), benchmark, ["recall@10"])
    assert deep.means == {"recall@10": 1}  # all that there are


def test_the_measure_is_the_share_of_neighbours_that_are_found(load: Load) -> None:
    gallery, queries = (RNG.normal(size=(n, 6)).astype(np.float32) for n in (300, 40))
    benchmark = load(gallery, queries)
    found = np.argsort(RNG.random((40, 300)), axis=1)[:, :100]
    found[:, :50:2] = benchmark.nearest.rows[:, :25]
    found = np.array([list(dict.fromkeys(row))[:60] for row in found.tolist()])
    scores = retrieval.score(answers(found), benchmark, retrieval.names(benchmark))
    assert set(scores.values) == {f"{name}@{k}" for name in ("precision", "recall") for k in (1, 10, 100)}
    for k in (1, 10):
        nearest = neighbours.nearest_rows(queries, gallery, k).rows
        expected = np.mean([np.isin(row, near).mean() for row, near in zip(found[:, :k], nearest, strict=True)])
        assert scores.means[f"recall@{k}"] == pytest.approx(expected)
        assert expected == (1 if k == 1 else pytest.approx(0.5, abs=0.1))
