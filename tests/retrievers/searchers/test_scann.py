"""ScaNN where it has to be exact, and where its tree leaves something out."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from irbench.config import recipes
from irbench.core.embeddings import Embeddings
from irbench.retrievers.searchers.scann import Config, ScannSearcher
from irbench.runtime.machine import Runtime
from irbench.testing import toys


def make(runtime: Runtime, **changes: Any) -> Any:
    config = recipes.find("methods/search", "scann").config(Config, scale="tiny", dataset="none", **changes)
    return ScannSearcher(config, runtime)


@pytest.mark.parametrize(("size", "dim", "tree_from"), [(2000, 64, 10**9), (3000, 63, 1000), (10, 24, 1000)])
def test_bytes_are_those_that_the_library_writes(runtime: Runtime, size: int, dim: int, tree_from: int) -> None:
    searcher = make(runtime, tree_from=tree_from)
    searcher.build(Embeddings(toys.vectors(size, seed=1, dim=dim)))
    with tempfile.TemporaryDirectory() as folder:
        searcher._index.serialize(folder)
        written = sum(path.stat().st_size for path in Path(folder).iterdir())
    headers = 6000  # of seven files, and the names of a codebook's fields
    assert written - headers < searcher.describe().index_bytes <= written


def test_all_leaves_and_full_reordering_equal_exact_search(runtime: Runtime) -> None:
    gallery, queries = toys.vectors(2000, seed=1), toys.vectors(60, seed=2)
    searcher = make(runtime, tree_from=0, leaves_searched=1.0, reorder=2000)
    searcher.build(Embeddings(gallery))
    found = searcher.search(Embeddings(queries), 50)
    assert "44 of 44 leaves" in searcher.describe().details["index"]
    assert np.array_equal(found.rows, toys.nearest(queries, gallery, 50))
    distances = np.take_along_axis(toys.squared_distances(queries, gallery), found.rows, 1)
    np.testing.assert_allclose(-found.scores, distances, rtol=1e-5)


def test_leaves_that_are_not_searched_leave_places_empty(runtime: Runtime) -> None:
    gallery, queries = toys.vectors(2500, seed=1), toys.vectors(30, seed=2)
    searcher = make(runtime, tree_from=2000, leaves_searched=0.1)
    searcher.build(Embeddings(gallery))
    found = searcher.search(Embeddings(queries), 2500)
    assert "5 of 50 leaves" in searcher.describe().details["index"]
    assert (found.rows[:, -1] == -1).all()
    assert toys.overlap(found.rows[:, :10], toys.nearest(queries, gallery, 10)) >= 0.9
