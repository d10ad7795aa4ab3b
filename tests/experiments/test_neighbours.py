"""Recall of exact neighbours: what plain loops count, equal vectors in each other's place."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irbench.core.ranking import MISSING, Ranking
from irbench.experiments.attempts import attempt
from irbench.experiments.experiment import Experiment
from irbench.experiments.neighbours import KS, Neighbours, neighbours
from irbench.experiments.plan import Request, experiments
from irbench.experiments.settings import Settings
from irbench.results import rankings
from irbench.testing import toys


def searched(vectors: dict[str, np.ndarray]) -> SimpleNamespace:
    """A retriever that knows the vectors of image sets by their names."""
    return SimpleNamespace(vectors=lambda images: vectors[images.name])


def plain(queries: np.ndarray, gallery: np.ndarray, own: np.ndarray, rows: np.ndarray, k: int) -> float:
    """How often a result is as near as the K-th nearest, one query and one result after the other."""
    counted = 0
    for query, itself, found in zip(queries, own, rows, strict=True):
        distances = [float(((vector - query) ** 2).sum()) for vector in gallery.astype(float)]
        nearest = sorted(d for row, d in enumerate(distances) if row != itself)[k - 1]
        counted += sum(row != MISSING and distances[row] <= nearest * (1 + 1e-6) for row in found[:k])
    return counted / (k * len(queries))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_recall_is_what_plain_loops_count(data: st.DataObject) -> None:
    drawn = toys.benchmark()
    few = st.integers(-2, 2)  # so that many vectors are equally near
    shapes = {name: (len(getattr(drawn, name)), 3) for name in ("gallery", "queries")}
    vectors = {
        name: np.array(data.draw(st.lists(few, min_size=n * d, max_size=n * d)), np.float32).reshape(n, d)
        for name, (n, d) in shapes.items()
    }
    named = {getattr(drawn, name).name: array for name, array in vectors.items()}
    found = neighbours(searched(named), drawn)
    assert found.sample.tolist() == list(range(shapes["queries"][0]))
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permuted(
        np.tile(np.arange(shapes["gallery"][0]), (shapes["queries"][0], 1)), axis=1
    )[:, : drawn.top_k]
    scores = np.tile(-np.arange(order.shape[1], dtype=np.float32), (len(order), 1))
    order[::3, 5:], scores[::3, 5:] = MISSING, -np.inf
    shares = found.recall(Ranking(order, scores))
    assert set(shares) == {k for k in KS if k <= drawn.top_k}
    for k, share in shares.items():
        assert share == pytest.approx(plain(vectors["queries"], vectors["gallery"], drawn.own_rows, order, k))


def test_of_a_gallery_that_is_too_small_what_exists_is_due() -> None:
    vectors = np.array([[0.0], [1.0], [2.0]], np.float32)
    exact = Ranking(np.array([[1, 2, MISSING], [0, 1, 2]]), np.array([[-1.0, -4.0, -np.inf], [0, -1, -4]], np.float32))
    found = Neighbours(np.arange(2), np.zeros((2, 1), np.float32), vectors, exact)
    rows = np.array([[1, MISSING, MISSING], [2, 0, MISSING]])
    scores = np.where(rows == MISSING, -np.inf, -np.arange(3.0)).astype(np.float32)
    wide = Neighbours(found.sample, found.queries, vectors, exact.widened(10))
    assert found.recall(Ranking(rows, scores)) == {1: 0.5}
    assert wide.recall(Ranking(rows, scores).widened(10)) == {1: 0.5, 10: 3 / 5}


def test_an_exact_search_misses_nothing_and_another_what_its_stored_ranking_says(tmp_path: Path) -> None:
    where = Settings(data=tmp_path, work=tmp_path / "work", results=tmp_path / "results", device="cpu")
    searches = ("linear", "ivfpq", "hnsw", "sq8")
    asked = Request(methods=tuple(f"pixels+{search}" for search in searches), datasets=("digits",))
    found = {}
    for one in experiments(asked, where):
        assert next(attempt([one])).status == "ok"
        result = one.current()
        assert result is not None
        found[one.cell.search] = facts = result.retriever["neighbours"]
        ranking = rankings.load_ranking(result.ranking, tmp_path / "work" / "rankings")
        images = one.benchmark
        kept = vectors_of(one)
        for k in (1, 10):
            share = plain(kept["queries"][::9], kept["gallery"], images.own_rows[::9], ranking.rows[::9], k)
            assert facts["recall"][str(k)] == pytest.approx(share, abs=0.12)  # of a ninth of the queries
    assert found["linear"]["recall"] == {"1": 1.0, "10": 1.0, "100": 1.0}
    assert found["linear"]["distances"] == found["sq8"]["distances"] == 899
    assert found["ivfpq"]["recall"]["10"] < 0.9 < found["hnsw"]["recall"]["10"]
    assert found["hnsw"]["distances"] < 899


def vectors_of(one: Experiment) -> dict[str, np.ndarray]:
    retriever = one.builder.retriever()
    return {name: retriever.vectors(getattr(one.benchmark, name)) for name in ("gallery", "queries")}


def test_of_an_incremental_gallery_old_and_new_images_are_neighbours() -> None:
    whole = toys.benchmark()
    later = replace(whole, incremental=15)
    rng = np.random.default_rng(0)
    gallery, queries = (rng.normal(size=(len(one), 4)).astype(np.float32) for one in (whole.gallery, whole.queries))
    parts = {25: gallery[:25], 15: gallery[25:], 40: gallery, 12: queries}
    by_size = SimpleNamespace(vectors=lambda images: parts[len(images)])
    one, other = neighbours(by_size, whole), neighbours(by_size, later)
    assert isinstance(one, Neighbours)
    assert (one.exact.rows == other.exact.rows).all()
