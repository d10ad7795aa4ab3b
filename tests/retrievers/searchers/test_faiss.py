"""Indexes of Faiss by their factory strings: the library's own answers, and what it refuses."""

from dataclasses import replace
from typing import Any

import faiss
import numpy as np
import pytest
from raising import raises

from irbench.config import recipes
from irbench.core.embeddings import Embeddings
from irbench.core.errors import NotApplicable, RecipeError
from irbench.retrievers.search_index import SearchIndex
from irbench.retrievers.searchers.faiss import Config, FaissSearcher
from irbench.runtime.machine import Runtime
from irbench.testing import toys

GALLERY, QUERIES = toys.vectors(2000, seed=1), toys.vectors(60, seed=2)
NEAREST = toys.nearest(QUERIES, GALLERY, 10)


def built(runtime: Runtime, factory: str, **changes: Any) -> FaissSearcher:
    searcher = FaissSearcher(Config(factory=factory, **changes), runtime)
    searcher.build(Embeddings(GALLERY))
    return searcher


@pytest.mark.parametrize(
    "factory",
    ["HNSW16", "IVF32,Flat", "PCA8,Flat", "OPQ8,IVF16,PQ8x4fs", "SQ4", "IVF16,SQ8,RFlat", "RaBitQ", "LSH", "NSG16"],
)
def test_any_string_answers_as_the_library_does(runtime: Runtime, factory: str) -> None:
    theirs = faiss.index_factory(24, factory)
    faiss.omp_set_num_threads(1)
    theirs.train(GALLERY)
    theirs.add(GALLERY)
    distances, rows = theirs.search(QUERIES, 10)
    found = built(replace(runtime, seed=1234), factory).search(Embeddings(QUERIES), 10)  # its seed of k-means
    assert (np.sort(found.rows) == np.sort(rows)).mean() > 0.99
    np.testing.assert_allclose(-found.scores, np.sort(distances), rtol=1e-5, atol=1e-5)


def test_candidates_that_are_scored_again_have_exact_distances(runtime: Runtime) -> None:
    rough, exact = built(runtime, "RaBitQ"), built(runtime, "RaBitQ", rerank=200)
    by_index, again = (one.search(Embeddings(QUERIES), 10) for one in (rough, exact))
    distances = np.take_along_axis(toys.squared_distances(QUERIES, GALLERY), again.rows, 1)
    np.testing.assert_allclose(-again.scores, distances, rtol=1e-5)
    assert toys.overlap(again.rows, NEAREST) > max(0.95, toys.overlap(by_index.rows, NEAREST))
    held = exact.describe().index_bytes - rough.describe().index_bytes
    assert held == GALLERY.nbytes  # the vectors count


@pytest.mark.parametrize(
    ("factory", "few", "many"),
    [("HNSW8", "efSearch=10", "efSearch=400"), ("IVF64,Flat", "nprobe=1", "nprobe=64"),
     ("NSG16", "search_L=10", "search_L=400"), ("IVF64_HNSW8,SQ8", "nprobe=2,quantizer_efSearch=4", "nprobe=64")],
)  # fmt: skip
def test_settings_of_a_query_trade_recall(runtime: Runtime, factory: str, few: str, many: str) -> None:
    recalls = []
    for query in (few, many):
        found = built(runtime, factory, query=query).search(Embeddings(QUERIES), 10)
        recalls.append(toys.overlap(found.rows, NEAREST))
    assert recalls[0] < recalls[1] > 0.95


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"factory": "HNSWx"}, "bad-factory", ["HNSWx", "could not parse"]),
        ({"factory": "PQ7x8"}, "bad-factory", ["PQ7x8", 24]),  # 24 dimensions do not divide
        ({"factory": "Flat", "query": "nprobe=3"}, "bad-factory", ["nprobe=3", "Flat"]),
        ({"factory": "HNSW8", "query": "nprobe=3"}, "bad-factory", ["nprobe=3", "HNSW8"]),
        ({"factory": "HNSW8", "query": "efSearch"}, "bad-factory", ["efSearch"]),
        ({"factory": "HNSW8", "query": "search_L=5"}, "bad-factory", ["search_L=5"]),
        ({"factory": "IVF8,Flat", "query": "nprobe=many"}, "bad-factory", ["nprobe=many"]),
    ],
)
def test_what_faiss_does_not_take_is_one_message(
    runtime: Runtime, changes: dict[str, Any], code: str, named: list[object]
) -> None:
    with raises(RecipeError, code, *named):
        built(runtime, **changes)


def test_a_gallery_too_small_is_compared_exactly_or_is_the_reason_to_skip_the_cell(runtime: Runtime) -> None:
    few = Embeddings(GALLERY[:20])
    with raises(NotApplicable, "not-applicable", "IVF64", 20):
        FaissSearcher(Config(factory="IVF64,Flat"), runtime).build(few)
    searcher = FaissSearcher(Config(factory="NSG32", query="search_L=64", exact_below=200), runtime)
    searcher.build(few)
    assert "Flat" in searcher.describe().details["index"]
    assert "query" not in searcher.describe().details  # settings that are not those of an exact index
    assert np.array_equal(searcher.search(few, 1).rows[:, 0], np.arange(20))
    lowered = FaissSearcher(Config(factory="IVF{cells},Flat", cells=64), runtime)
    lowered.build(Embeddings(GALLERY[:200]))
    assert "IVF5," in lowered.describe().details["index"]


def test_an_index_is_the_same_whatever_the_threads(runtime: Runtime) -> None:
    found = []
    for threads in (1, 4):
        faiss.omp_set_num_threads(threads)
        found.append(built(runtime, "HNSW8", query="efSearch=10").search(Embeddings(QUERIES), 10))
        assert faiss.omp_get_max_threads() == threads
    assert np.array_equal(found[0].rows, found[1].rows)
    assert np.array_equal(found[0].scores, found[1].scores)


@pytest.mark.parametrize("name", ["faiss", "hnsw", "nsg", "ivf-rabitq", "sq8"])
def test_every_point_of_a_curve_is_an_index_that_can_be_built(runtime: Runtime, name: str) -> None:
    recipe = recipes.find("methods/search", name)
    config = recipe.config(Config, scale="tiny", dataset="")
    for point in config.sweep:
        changed = recipe.config(Config, scale="tiny", dataset="", **dict(point))
        index = SearchIndex(FaissSearcher(changed, runtime))
        index.build(Embeddings(GALLERY))
        assert toys.overlap(index.search(Embeddings(QUERIES), 10).rows, NEAREST) > 0.3


def test_a_vector_that_the_library_returns_twice_is_there_once(runtime: Runtime) -> None:
    library = faiss.index_factory(24, "NSG32")
    library.train(GALLERY)
    library.add(GALLERY)
    rows = library.search(QUERIES, 50)[1]
    repeated = [query for query in range(len(rows)) if len(set(rows[query].tolist())) < 50]
    found = built(runtime, "NSG32", spare=4).search(Embeddings(QUERIES), 50)  # a repeated row would be refused
    assert (found.rows >= 0).all()
    for query in repeated:
        assert set(rows[query].tolist()) <= set(found.rows[query].tolist())


def test_a_graph_of_many_copies_is_refused_for_faiss_might_never_end(runtime: Runtime) -> None:
    single = toys.vectors(60, seed=1)
    searcher = FaissSearcher(Config(factory="NSG32"), runtime)
    with raises(NotApplicable, "not-applicable", 33, "NSG32"):
        searcher.build(Embeddings(np.repeat(single, 33, 0)))
    searcher.build(Embeddings(np.repeat(single, 20, 0)))
    assert searcher.search(Embeddings(single), 5).rows.shape == (60, 5)


def test_distances_are_counted_where_the_library_counts_them(runtime: Runtime) -> None:
    queries = Embeddings(QUERIES)
    index = built(runtime, "IVF32,Flat", query="nprobe=3")
    cells = faiss.downcast_index(faiss.extract_index_ivf(index._index))
    visited = cells.quantizer.search(QUERIES, 3)[1]
    sizes = np.array([cells.get_list_size(cell) for cell in range(32)])
    assert index.count_distances(queries, 10) == pytest.approx(32 + sizes[visited].sum(axis=1).mean())
    assert built(runtime, "IVF32,Flat", query="nprobe=32").count_distances(queries, 10) == 32 + len(GALLERY)
    assert built(runtime, "PCA8,IVF16,SQ8", query="nprobe=16").count_distances(queries, 10) == 16 + len(GALLERY)
    for factory in ("Flat", "SQ8", "PQ8np", "PQ8x4fs", "RaBitQ"):
        assert built(runtime, factory).count_distances(queries, 10) == len(GALLERY), factory
    few, many = (built(runtime, "HNSW16", query=f"efSearch={n}").count_distances(queries, 10) for n in (10, 100))
    assert few is not None
    assert many is not None
    assert 10 < few < many < len(GALLERY)
    assert built(runtime, "NSG16").count_distances(queries, 10) is None
