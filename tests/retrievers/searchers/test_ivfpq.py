"""IVF-PQ against slow product quantisation, and its copy on a GPU."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from irbench.config import recipes
from irbench.core.embeddings import Embeddings
from irbench.core.ranking import Ranking
from irbench.retrievers.search_index import SearchIndex
from irbench.retrievers.searchers.ivfpq import Config, IvfPqSearcher
from irbench.runtime.machine import Runtime
from irbench.testing import toys


def make(runtime: Runtime, **changes: Any) -> Any:
    config = recipes.find("methods/search", "ivfpq").config(Config, scale="tiny", dataset="none", **changes)
    return IvfPqSearcher(config, runtime)


def same(a: Ranking, b: Ranking) -> bool:
    return np.array_equal(a.rows, b.rows) and np.array_equal(a.scores, b.scores)


@pytest.fixture
def all_cells(runtime: Runtime) -> Any:
    """An index of 2000 vectors in 20 cells that a query visits all."""
    searcher = make(runtime, nlist=20, nprobe=20)
    searcher.build(Embeddings(toys.vectors(2000, seed=1)))
    return searcher


def decoded(index: Any) -> NDArray[np.float32]:
    """The vectors [N,D] as the codes say, put together from the codebooks by hand."""
    import faiss

    books = faiss.vector_to_array(index.pq.centroids).reshape(index.pq.M, index.pq.ksub, index.pq.dsub)
    centres = (
        faiss.vector_to_array(faiss.downcast_index(index.quantizer).codes).view(np.float32).reshape(index.nlist, -1)
    )
    vectors = np.empty((index.ntotal, index.d), np.float32)
    for cell in range(index.nlist):
        size = index.invlists.list_size(cell)
        rows = faiss.rev_swig_ptr(index.invlists.get_ids(cell), size)
        codes = faiss.rev_swig_ptr(index.invlists.get_codes(cell), size * index.code_size).reshape(
            size, index.code_size
        )
        vectors[rows] = centres[cell] + np.concatenate([book[codes[:, m]] for m, book in enumerate(books)], axis=1)
    return vectors


def test_visiting_every_cell_equals_exact_search_among_the_decoded_vectors(all_cells: Any) -> None:
    queries = toys.vectors(60, seed=2)
    found = all_cells.search(Embeddings(queries), 50)
    distances = toys.squared_distances(queries, decoded(all_cells._index))
    np.testing.assert_allclose(-found.scores, np.sort(distances, axis=1)[:, :50], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(-found.scores, np.take_along_axis(distances, found.rows, 1), rtol=1e-4, atol=1e-3)


def test_codes_lose_no_more_than_those_of_a_slow_product_quantiser(all_cells: Any) -> None:
    """So an index of fewer bits than the recipe's does not pass, although it agrees with itself."""
    import faiss

    gallery, index = toys.vectors(2000, seed=1), all_cells._index
    assert (index.pq.M, index.pq.nbits, index.code_size) == (4, 8, 4)
    centres = faiss.vector_to_array(faiss.downcast_index(index.quantizer).codes).view(np.float32).reshape(20, -1)
    cells = toys.nearest(gallery, centres, 1)[:, 0]
    residuals = gallery - centres[cells]
    slow = sum(KMeans(256, n_init=1, random_state=0).fit(part).inertia_ for part in np.split(residuals, 4, axis=1))
    assert ((gallery - decoded(index)) ** 2).sum() <= 1.1 * slow


def test_another_seed_trains_another_quantiser(runtime: Runtime) -> None:
    gallery, queries = toys.vectors(2000, seed=1), Embeddings(toys.vectors(50, seed=2))
    answers = []
    for seed in (0, 1):
        searcher = make(replace(runtime, seed=seed))
        searcher.build(Embeddings(gallery))
        answers.append(searcher.search(queries, 5))
    assert not same(*answers)


def test_ivfpq_says_what_a_small_gallery_made_of_its_recipe(runtime: Runtime) -> None:
    searcher = make(runtime)
    searcher.build(Embeddings(toys.vectors(80, seed=1)))
    details = searcher.describe().details
    assert details["index"] == "IVF2,PQ4x6, Euclidean"
    assert details["nlist"] == "2 of the recipe's 200: the gallery is small"
    assert details["bits"] == "6 of the recipe's 8: the gallery is small"


class FakeGpu:
    """Faiss where it sees a GPU: what is copied there answers as `copy` does."""

    def __init__(self, copy: Callable[[Any], Any]) -> None:
        import faiss

        self._faiss, self._copy = faiss, copy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._faiss, name)

    def get_num_gpus(self) -> int:
        return 1

    def StandardGpuResources(self) -> None: ...  # noqa: N802 -- Faiss's own name

    def index_cpu_to_gpu(self, resources: None, device: int, index: Any) -> Any:
        return self._copy(index)


class Copy:
    """An index that notes how much it was asked for."""

    def __init__(self, index: Any) -> None:
        self.index, self.asked = index, []

    def search(self, queries: NDArray[np.float32], k: int) -> Any:
        self.asked.append((len(queries), k))
        return self.index.search(queries, k)


def test_ivfpq_asks_its_copy_on_the_gpu(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[Copy] = []
    fake = FakeGpu(lambda index: copies.append(Copy(index)) or copies[-1])
    monkeypatch.setattr("irbench.retrievers.searchers._faiss.library", lambda: fake)
    searcher = make(replace(runtime, device="cuda"))
    searcher.build(Embeddings(toys.vectors(2100, seed=1)))
    for k in (10, 2100):  # the second is more than a GPU finds
        searcher.search(Embeddings(toys.vectors(7, seed=2)), k)
    assert copies[0].asked == [(1, 1), (7, 10)]
    assert searcher.describe().details["device"] == "GPU"
    assert searcher.describe().index_bytes > 0


def test_building_copies_no_gallery(runtime):
    gallery = Embeddings(toys.vectors(20_000, seed=1, dim=32))
    index = SearchIndex(make(runtime))
    tracemalloc.start()
    index.build(gallery)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * gallery.array.nbytes  # rows take 8 bytes each


def test_ivfpq_stays_on_the_cpu_where_the_gpu_refuses(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(index: Any) -> None:
        raise RuntimeError("Error in void verify() at GpuIndexIVFPQ.cu:605: Error: 'bits == 8' failed: only 8 bits")

    gallery, queries = Embeddings(toys.vectors(300, seed=1)), Embeddings(toys.vectors(7, seed=2))
    plain = make(runtime)
    plain.build(gallery)
    monkeypatch.setattr("irbench.retrievers.searchers._faiss.library", lambda: FakeGpu(refuse))
    searcher = make(replace(runtime, device="cuda"))
    searcher.build(gallery)
    assert same(searcher.search(queries, 10), plain.search(queries, 10))
    told = "CPU: Faiss refuses these parameters on a GPU (only 8 bits)"
    assert (searcher.describe().details["device"], plain.describe().details["device"]) == (told, "CPU")


@pytest.mark.gpu
def test_ivfpq_answers_on_the_gpu_as_on_the_cpu(runtime: Runtime) -> None:
    import faiss

    if not faiss.get_num_gpus():
        pytest.skip("no CUDA device that Faiss can use")
    gallery, queries = Embeddings(toys.vectors(3000, seed=1)), Embeddings(toys.vectors(100, seed=2))
    answers = {}
    for device in ("cpu", "cuda"):
        searcher = make(replace(runtime, device=device))
        searcher.build(gallery)
        answers[device] = searcher.search(queries, 10)
    assert searcher.describe().details["device"] == "GPU"
    assert toys.overlap(answers["cuda"].rows, answers["cpu"].rows) >= 0.95  # equal codes tie, in another order
    np.testing.assert_allclose(answers["cuda"].scores, answers["cpu"].scores, rtol=1e-3, atol=1e-3)
