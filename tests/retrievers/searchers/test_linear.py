"""Exact search against a slow one in float64, on inputs that were chosen to break it."""

from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from irbench.core.embeddings import Embeddings
from irbench.core.ranking import Ranking
from irbench.retrievers.searchers.linear import Config, LinearSearcher
from irbench.runtime.cache import Store
from irbench.runtime.machine import Runtime


@pytest.fixture(autouse=True, scope="module", params=["matrix products", "as Faiss decides"])
def path_inside_faiss(request: pytest.FixtureRequest) -> Iterator[str]:
    """Small inputs would never meet the fast and less precise path of Faiss, so it is forced as well."""
    before = faiss.cvar.distance_compute_blas_threshold
    if request.param == "matrix products":
        faiss.cvar.distance_compute_blas_threshold = 1
    yield request.param
    faiss.cvar.distance_compute_blas_threshold = before


def search(gallery: NDArray[np.float32], queries: NDArray[np.float32], k: int, spare: int = 64) -> Ranking:
    searcher = LinearSearcher(Config(spare=spare), Runtime(store=Store(Path())))
    searcher.build(Embeddings(gallery))
    return searcher.search(Embeddings(queries), k)


def squared_distances(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float64]:
    return ((queries[:, None].astype(np.float64) - gallery[None].astype(np.float64)) ** 2).sum(-1)


@st.composite
def whole_numbers(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gallery and queries whose distances have no rounding, so that ties are many and exact."""
    dim = draw(st.integers(1, 5))
    values = st.integers(-3, 3).map(float)
    shapes = (draw(st.integers(1, 60)), dim), (draw(st.integers(1, 25)), dim)
    gallery, queries = (draw(arrays(np.float32, shape, elements=values)) for shape in shapes)
    return gallery, queries


@settings(max_examples=80, deadline=None)
@given(vectors=whole_numbers(), k=st.integers(1, 12), spare=st.integers(0, 4))
def test_equals_the_oracle_ties_included(
    vectors: tuple[NDArray[np.float32], NDArray[np.float32]], k: int, spare: int
) -> None:
    gallery, queries = vectors
    distances = squared_distances(queries, gallery)
    expected = np.argsort(distances, axis=1, kind="stable")[:, :k]
    found = search(gallery, queries, k, spare)
    assert np.array_equal(found.rows[:, : len(gallery)], expected)
    assert np.array_equal(-found.scores[:, : len(gallery)], np.take_along_axis(distances, expected, 1))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), offset=st.sampled_from([0.0, 1.0, 1000.0]), k=st.integers(1, 20))
def test_equals_the_oracle_far_from_the_origin(seed: int, offset: float, k: int) -> None:
    rng = np.random.default_rng(seed)
    gallery, queries = ((rng.normal(size=(n, 16)) + offset).astype(np.float32) for n in (200, 30))
    distances = squared_distances(queries, gallery)
    found = search(gallery, queries, k, spare=2)
    np.testing.assert_allclose(-found.scores, np.sort(distances, axis=1)[:, :k], rtol=1e-5)
    np.testing.assert_allclose(-found.scores, np.take_along_axis(distances, found.rows, 1), rtol=1e-5)


def test_matrix_products_alone_would_get_it_wrong(path_inside_faiss: str) -> None:
    """The reason for the second look: Faiss by itself does not find the nearest vector here."""
    rng = np.random.default_rng(0)
    gallery = (1000 + 0.01 * rng.normal(size=(500, 32))).astype(np.float32)
    index = faiss.IndexFlatL2(32)
    index.add(gallery)
    if path_inside_faiss == "matrix products":
        assert (index.search(gallery, 1)[1][:, 0] != np.arange(500)).any()
    assert np.array_equal(search(gallery, gallery, 1).rows[:, 0], np.arange(500))


@pytest.mark.parametrize("size", [1, 70, 500])
def test_an_all_equal_gallery_is_answered_from_row_0(size: int) -> None:
    vectors = np.full((size, 48), 0.3, np.float32)
    k = min(size, 9)
    assert (search(vectors, vectors[:30], k).rows == np.arange(k)).all()


def test_vectors_too_long_to_square_still_rank_every_row_once() -> None:
    gallery = np.array([[3e38, 0], [0, 3e38], [1, 1]], np.float32)
    found = search(gallery, np.zeros((1, 2), np.float32), 3)
    assert found.rows.tolist() == [[2, 0, 1]]
