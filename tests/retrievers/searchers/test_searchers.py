"""Searchers next to each other: libraries that are missing, and what is lost on real images."""

import sys
from typing import Any

import numpy as np
import pytest
from engines import ABSENT, searchers
from raising import raises
from sklearn.datasets import load_digits

from irbench.config import recipes
from irbench.config.recipes import SearchHead
from irbench.config.registry import SEARCHERS
from irbench.core.embeddings import Embeddings
from irbench.core.errors import MissingLibrary, Unavailable
from irbench.retrievers.search_index import SearchIndex
from irbench.retrievers.searchers import _sptag
from irbench.runtime.machine import Runtime

LIBRARY = {
    "linear": "faiss",
    "ivfpq": "faiss",
    "scann": "scann.scann_ops.py.scann_ops_pybind",
    "spann": "sptag",
    "usearch": "usearch.index",
    "vamana": "svs",
}


def make(name: str, runtime: Runtime, dataset: str = "none") -> Any:
    recipe = recipes.find("methods/search", name)
    kind = recipe.head(SearchHead).searcher
    return SEARCHERS.load(kind)(recipe.config(SEARCHERS.schema(kind), scale="tiny", dataset=dataset), runtime)


@pytest.mark.parametrize("name", LIBRARY)
def test_a_missing_library_is_named_with_its_install_line(
    name: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, LIBRARY[name], None)
    monkeypatch.setattr(_sptag, "library", _sptag.library.__wrapped__)
    with raises(MissingLibrary, "missing-library", LIBRARY[name], "pip install"):
        make(name, runtime).build(Embeddings(np.ones((300, 4), np.float32)))


@pytest.mark.parametrize("exponent", [-40, -14, -4, 8, 45])
@pytest.mark.parametrize("name", searchers(LIBRARY))
def test_the_unit_of_the_vectors_does_not_matter(name: str, exponent: int, runtime: Runtime) -> None:
    pixels, _ = load_digits(return_X_y=True)
    found = []
    for scale in (1.0, 2.0**exponent):
        built = SearchIndex(make(name, runtime, "digits"))
        built.build(Embeddings(pixels[::2] * scale))
        found.append(built.search(Embeddings(pixels[1::2] * scale), 10))
    assert np.array_equal(found[0].rows, found[1].rows)
    assert np.array_equal(found[0].scores * np.float32(4.0**exponent), found[1].scores)


@pytest.mark.parametrize(
    "name", searchers(["linear", "ivfpq", "scann", "spann", "hnsw", "usearch", "vamana", "binary"])
)
def test_a_gallery_of_copies_is_searched(name: str, runtime: Runtime) -> None:
    single = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)
    index = SearchIndex(make(name, runtime))
    index.build(Embeddings(np.repeat(single, 100, 0)))
    found = index.search(Embeddings(single), 30)  # a row that is returned twice would raise
    right = (found.rows[:, 0] // 100 == np.arange(20)).mean()
    # graphs fall apart where a vector's nearest are its copies: what they miss stands in the result as their recall
    assert right > {"ivfpq": 0.5, "hnsw": 0, "usearch": 0, "vamana": 0}.get(name, 0.9)


@pytest.mark.parametrize("name", ["cagra", "vamana-lvq"])
def test_what_another_machine_is_needed_for_says_so_before_anything_is_built(name: str, runtime: Runtime) -> None:
    if name in ABSENT:
        code = "missing-library" if name == "cagra" else "not-applicable"
        with raises(Unavailable, code, "GPU" if name == "cagra" else "Intel"):
            make(name, runtime).build(Embeddings(np.ones((300, 4), np.float32)))


@pytest.mark.parametrize("rival", searchers(["scann", "spann", "usearch", "vamana"]))
def test_digits_lose_at_most_a_hundredth_of_precision(rival: str, runtime: Runtime) -> None:
    pixels, labels = load_digits(return_X_y=True)
    gallery, queries = Embeddings(pixels[::2]), Embeddings(pixels[1::2])

    def precision(searcher: str) -> float:
        built = make(searcher, runtime, "digits")
        built.build(gallery)
        return float((labels[::2][built.search(queries, 100).rows[:, 0]] == labels[1::2]).mean())

    assert precision(rival) >= precision("linear") - 0.01
