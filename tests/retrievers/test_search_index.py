"""What the harness does for every searcher: checks on the way in and out, and updates by building again."""

from typing import Any

import numpy as np
import pytest
from raising import raises

from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.errors import ContractError
from irbench.core.ranking import MISSING, Ranking
from irbench.retrievers.search_index import SearchIndex
from irbench.testing import toys


class Plain:
    """Exact search with nothing but what a searcher has to have, which notes what it is given."""

    def build(self, gallery: Embeddings) -> None:
        self.vectors = gallery.array

    def search(self, queries: Embeddings, k: int) -> Ranking:
        assert queries.dim == self.vectors.shape[1]
        assert 0 < k <= len(self.vectors)
        rows = toys.nearest(queries.array, self.vectors, k)
        distances = np.take_along_axis(toys.squared_distances(queries.array, self.vectors), rows, 1)
        return Ranking.from_topk(rows, -distances)

    def describe(self) -> Description:
        return Description(index_bytes=self.vectors.nbytes, details={"index": "plain"})


GALLERY, QUERIES = toys.vectors(90, seed=1), Embeddings(toys.vectors(7, seed=2))


def index(searcher: Any, gallery: Any = GALLERY) -> SearchIndex:
    made = SearchIndex(searcher)
    made.build(Embeddings(gallery))
    return made


def test_a_plain_searcher_takes_updates_as_if_built_on_what_is_left() -> None:
    updated = index(Plain(), GALLERY[:50])
    gone = np.r_[0, 7:20, 49]
    updated.remove(np.random.default_rng(0).permutation(gone))
    updated.add(Embeddings(GALLERY[50:]))
    updated.remove(np.array([50, 89]))
    updated.remove(np.array([], dtype=np.int64))
    left = np.setdiff1d(np.arange(90), np.r_[gone, 50, 89])
    assert np.array_equal(updated.search(QUERIES, 9).rows, left[toys.nearest(QUERIES.array, GALLERY[left], 9)])
    described = updated.describe()
    assert described.details == {"index": "plain", "built_again": 4}
    assert described.index_bytes == GALLERY[left].nbytes
    updated.build(Embeddings(GALLERY))
    assert np.array_equal(updated.search(QUERIES, 9).rows, toys.nearest(QUERIES.array, GALLERY, 9))
    assert updated.describe().details == {"index": "plain"}


def test_k_beyond_the_gallery_is_filled_up() -> None:
    found = index(Plain(), GALLERY[:3]).search(QUERIES, 5)
    assert np.array_equal(found.rows[:, :3], toys.nearest(QUERIES.array, GALLERY[:3], 3))
    assert (found.rows[:, 3:] == MISSING).all()
    assert (found.scores[:, 3:] == -np.inf).all()


def test_what_cannot_be_meant_is_refused() -> None:
    made, narrow = index(Plain(), GALLERY[:30]), Embeddings(np.ones((2, 7), np.float32))
    made.remove(np.array([4]))
    for rows in ([4], [30], [-1], np.setdiff1d(np.arange(30), [4])):
        with pytest.raises(ContractError):
            made.remove(np.array(rows))
    for call in (lambda: made.search(narrow, 3), lambda: made.add(narrow)):
        with raises(ContractError, "wrong-shape", 7, 24):
            call()
    for shape in ((0, 24), (3, 0)):
        with pytest.raises(ContractError):
            made.build(Embeddings(np.empty(shape, np.float32)))
    assert set(made.search(QUERIES, 30).rows.ravel()) == {*range(30), MISSING} - {4}


def test_vectors_whose_squared_distances_leave_float32_are_refused() -> None:
    for scale in (1e18, 1e-20):
        with raises(ContractError, "out-of-range", "gallery"):
            index(Plain(), GALLERY * np.float32(scale))
    made = index(Plain(), GALLERY)
    huge = Embeddings(GALLERY[:2] * np.float32(1e18))
    for call in (lambda: made.search(huge, 3), lambda: made.add(huge)):
        with raises(ContractError, "out-of-range"):
            call()


@pytest.mark.parametrize("call", [lambda i: i.search(QUERIES, 1), lambda i: i.add(QUERIES), lambda i: i.remove([0])])
def test_nothing_goes_before_build(call: Any) -> None:
    with raises(ContractError, "not-indexed", "Plain"):
        call(SearchIndex(Plain()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "code"),
    [([[0, 1, 2]] * 6, "wrong-shape"), ([[0, 1, 2, 3]] * 7, "wrong-shape"), ([[0, 1, 90]] * 7, "no-such-row")],
    ids=["a query missing", "too wide", "no such row"],
)
def test_a_ranking_that_does_not_fit_is_refused(rows: list[list[int]], code: str) -> None:
    class Wrong(Plain):
        def search(self, queries: Embeddings, k: int) -> Ranking:
            return Ranking.from_topk(rows, -np.array(rows))

    with raises(ContractError, code, "Wrong"):
        index(Wrong()).search(QUERIES, 3)
