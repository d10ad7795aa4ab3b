"""What every searcher in the catalog has to hold, checked against a slow search in float64."""

import gc
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray

from irbench.config import recipes
from irbench.config.registry import SEARCHERS
from irbench.core.embeddings import Embeddings
from irbench.core.errors import ContractError, IrbenchError, MissingLibrary
from irbench.core.ranking import Ranking
from irbench.protocols import Searcher, UpdatableSearcher
from irbench.retrievers.search_index import SearchIndex as updatable
from irbench.runtime.machine import Runtime

RECALL_FLOOR = {"linear": 1.0, "scann": 0.95, "spann": 0.95, "ivfpq": 0.15}  # @10; 32 bits a vector, one cell visited
LIBRARY = {"linear": "faiss", "ivfpq": "faiss", "scann": "scann.scann_ops.py.scann_ops_pybind", "spann": "sptag"}
DIM = 24


def make(name: str, runtime: Runtime, dataset: str = "none") -> Any:
    kind = SEARCHERS.load(name)
    schema = get_type_hints(kind.__init__)["config"]
    return kind(recipes.find("methods/search", name).config(schema, scale="tiny", dataset=dataset), runtime)


@pytest.fixture(params=sorted(SEARCHERS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def build(name: str, runtime: Runtime) -> Callable[[NDArray[Any]], Searcher]:
    def built(vectors: NDArray[Any]) -> Searcher:
        searcher = make(name, runtime)
        searcher.build(Embeddings(vectors))
        return searcher

    return built


def clusters(size: int, *, seed: int, dim: int = DIM) -> NDArray[np.float32]:
    centres = 3 * np.random.default_rng(0).normal(size=(20, dim))
    rng = np.random.default_rng(seed)
    return (centres[rng.integers(20, size=size)] + rng.normal(size=(size, dim))).astype(np.float32)


def squared_distances(queries: NDArray[Any], gallery: NDArray[Any]) -> NDArray[np.float64]:
    return ((queries[:, None].astype(np.float64) - gallery[None].astype(np.float64)) ** 2).sum(-1)


def exact(queries: NDArray[Any], gallery: NDArray[Any], k: int) -> NDArray[np.int64]:
    return np.argsort(squared_distances(queries, gallery), axis=1, kind="stable")[:, :k]


def overlap(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), true.tolist(), strict=True)]))


def same(a: Ranking, b: Ranking) -> bool:
    return np.array_equal(a.rows, b.rows) and np.array_equal(a.scores, b.scores)


def test_recall_of_the_true_neighbours(name: str, build: Callable[..., Searcher]) -> None:
    gallery, queries = clusters(2000, seed=1), clusters(60, seed=2)
    found = build(gallery).search(Embeddings(queries), 10)
    assert found.rows.shape == (60, 10)
    assert overlap(found.rows, exact(queries, gallery, 10)) >= RECALL_FLOOR[name]


def test_scores_are_minus_squared_distances(name: str, build: Callable[..., Searcher]) -> None:
    gallery, queries = clusters(600, seed=1), clusters(20, seed=2)
    found = build(gallery).search(Embeddings(queries), 5)
    true = np.take_along_axis(squared_distances(queries, gallery), np.maximum(found.rows, 0), 1)
    tolerance = 0.9 if name == "ivfpq" else 1e-4  # the distance to a vector of 32 bits
    assert np.all((found.rows < 0) | (np.abs(found.scores + true) <= tolerance * (true + 1)))


def test_equal_seeds_give_equal_answers(build: Callable[..., Searcher]) -> None:
    gallery, queries = clusters(900, seed=1), Embeddings(clusters(40, seed=2))
    first = build(gallery)
    if first.describe().details.get("deterministic", True):
        assert same(first.search(queries, 30), build(gallery).search(queries, 30))


def test_searching_twice_gives_the_same(build: Callable[..., Searcher]) -> None:
    searcher, queries = build(clusters(600, seed=1)), Embeddings(clusters(40, seed=2))
    assert same(searcher.search(queries, 20), searcher.search(queries, 20))


def test_a_query_alone_is_answered_as_among_others(build: Callable[..., Searcher]) -> None:
    searcher, queries = build(clusters(600, seed=1)), clusters(40, seed=2)
    together = searcher.search(Embeddings(queries), 10)
    for row in range(len(queries)):
        alone = searcher.search(Embeddings(queries[row : row + 1]), 10)
        np.testing.assert_allclose(alone.scores[0], together.scores[row], rtol=1e-5, atol=1e-5)
        assert overlap(alone.rows, together.rows[row : row + 1]) >= 0.9


def test_building_again_starts_afresh(build: Callable[..., Searcher]) -> None:
    searcher, queries = build(clusters(700, seed=1)), Embeddings(clusters(10, seed=2))
    searcher.build(Embeddings(clusters(500, seed=3, dim=DIM)))
    assert same(searcher.search(queries, 20), build(clusters(500, seed=3)).search(queries, 20))


@pytest.mark.parametrize("size", [1, 5, 15, 16, 300])
def test_small_galleries_answer_with_all_they_have(build: Callable[..., Searcher], size: int) -> None:
    gallery = np.random.default_rng(0).normal(size=(size, 5)).astype(np.float32)
    searcher = build(gallery)
    found = searcher.search(Embeddings(gallery[:3]), size + 4)
    answered = (found.rows >= 0).sum(axis=1)
    assert found.rows.shape[1] == size + 4
    assert (answered <= size).all()
    assert (answered >= min(size, 5)).all()
    assert (found.rows[:, -4:] == -1).all()
    assert searcher.describe().index_bytes > 0


@pytest.mark.parametrize("size", [3, 400])
def test_equal_vectors_are_answered_by_row(name: str, build: Callable[..., Searcher], size: int) -> None:
    vectors = np.full((size, DIM), 0.1, np.float32)
    found = build(vectors).search(Embeddings(vectors[:2]), 3)
    assert (np.diff(found.rows, axis=1) > 0).all()
    if name in {"linear", "spann"}:  # SPANN scans galleries with so few distinct vectors
        assert found.rows.tolist() == [[0, 1, 2], [0, 1, 2]]


def test_duplicates_are_all_found_lower_row_first(build: Callable[..., Searcher]) -> None:
    single = clusters(150, seed=1)
    gallery = np.tile(single, (3, 1))
    found = build(gallery).search(Embeddings(single), 3)
    nearest = found.rows % 150
    assert (nearest == nearest[:, :1]).all(axis=1).mean() >= 0.9
    full = (nearest == nearest[:, :1]).all(axis=1)
    assert (np.diff(found.rows[full], axis=1) == 150).all()


def test_inputs_may_be_read_only_and_strided_and_stay_as_they_are(build: Callable[..., Searcher]) -> None:
    wide = clusters(600, seed=1, dim=2 * DIM)
    gallery, queries = wide[:, ::2], clusters(20, seed=2, dim=2 * DIM)[:, ::2]
    kept, asked = Embeddings(gallery), Embeddings(queries)
    for array in (kept.array, asked.array):
        array.flags.writeable = False
    before = (kept.array.copy(), asked.array.copy())
    searcher = build(gallery)
    searcher.build(kept)
    assert same(searcher.search(asked, 7), build(np.ascontiguousarray(gallery)).search(asked, 7))
    assert np.array_equal(kept.array, before[0])
    assert np.array_equal(asked.array, before[1])


def test_dimensions_that_no_parts_divide(name: str, build: Callable[..., Searcher]) -> None:
    for dim in (1, 7):
        gallery = clusters(400, seed=1, dim=dim)
        found = build(gallery).search(Embeddings(gallery[:50]), 10)
        assert overlap(found.rows, exact(gallery[:50], gallery, 10)) >= RECALL_FLOOR[name] * 0.9


def grown(name: str, runtime: Runtime, *parts: NDArray[Any]) -> UpdatableSearcher:
    searcher = updatable(make(name, runtime))
    searcher.build(Embeddings(parts[0]))
    for part in parts[1:]:
        searcher.add(Embeddings(part))
    return searcher


def test_an_index_that_has_grown_finds_what_one_built_at_once_finds(name: str, runtime: Runtime) -> None:
    gallery, queries = clusters(1500, seed=1), clusters(60, seed=2)
    found = grown(name, runtime, gallery[:700], gallery[700:701], gallery[701:]).search(Embeddings(queries), 10)
    at_once = grown(name, runtime, gallery)
    if name != "ivfpq":  # whose quantisers saw the first part only
        assert same(found, at_once.search(Embeddings(queries), 10))
    true = exact(queries, gallery, 10)
    assert overlap(found.rows, true) >= RECALL_FLOOR[name] * 0.9
    assert (found.rows >= 700).mean() == pytest.approx((true >= 700).mean(), abs=0.1)


def test_removed_rows_are_never_answered_and_the_others_keep_their_numbers(name: str, runtime: Runtime) -> None:
    gallery, queries = clusters(900, seed=1), clusters(60, seed=2)
    searcher = grown(name, runtime, gallery[:500], gallery[500:700])
    gone = np.r_[0, 17:200, 499:520, 699]
    searcher.remove(np.random.default_rng(0).permutation(gone))
    searcher.add(Embeddings(gallery[700:]))
    searcher.remove(np.array([700, 899]))
    left = np.setdiff1d(np.arange(900), np.r_[gone, 700, 899])
    found = searcher.search(Embeddings(queries), 10)
    assert set(found.rows.ravel()) <= {*left, -1}
    distances = np.take_along_axis(squared_distances(queries, gallery), np.maximum(found.rows, 0), 1)
    tolerance = 0.9 if name == "ivfpq" else 1e-4
    assert np.all((found.rows < 0) | (np.abs(found.scores + distances) <= tolerance * (distances + 1)))
    assert overlap(found.rows, left[exact(queries, gallery[left], 10)]) >= RECALL_FLOOR[name] * 0.9
    if name == "linear":
        assert np.array_equal(found.rows, left[exact(queries, gallery[left], 10)])
    searcher.build(Embeddings(gallery[:300]))
    assert same(
        searcher.search(Embeddings(queries), 10), grown(name, runtime, gallery[:300]).search(Embeddings(queries), 10)
    )


def test_what_is_not_there_cannot_be_removed_and_other_vectors_not_added(name: str, runtime: Runtime) -> None:
    searcher = grown(name, runtime, clusters(30, seed=1))
    searcher.remove(np.array([4]))
    searcher.remove(np.array([], dtype=np.int64))
    for rows in ([4], [30], [-1]):
        with pytest.raises(ContractError, match=f"no image at row {rows[0]} of"):
            searcher.remove(np.array(rows))
    with pytest.raises(ContractError, match="the last image"):
        searcher.remove(np.setdiff1d(np.arange(30), [4]))
    with pytest.raises(ContractError, match="7 dimensions"):
        searcher.add(Embeddings(np.ones((2, 7), np.float32)))
    assert set(searcher.search(Embeddings(clusters(9, seed=2)), 30).rows.ravel()) <= {*range(-1, 30)} - {4}


def test_queries_of_another_encoder_are_refused(build: Callable[..., Searcher]) -> None:
    searcher = build(clusters(300, seed=1))
    with pytest.raises(ContractError, match="7 dimensions"):
        searcher.search(Embeddings(np.ones((2, 7), np.float32)), 3)
    with pytest.raises(ContractError, match="nothing to index"):
        searcher.build(Embeddings(np.empty((0, DIM), np.float32)))


def test_a_missing_library_is_named_with_its_install_line(
    name: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, LIBRARY[name], None)
    if name == "spann":
        from irbench.retrievers.searchers import _sptag

        monkeypatch.setattr(_sptag, "library", _sptag.library.__wrapped__)
    with pytest.raises(MissingLibrary, match="pip install"):
        make(name, runtime).build(Embeddings(clusters(300, seed=1)))


@pytest.mark.parametrize("rival", ["scann", "spann"])
def test_digits_lose_at_most_a_hundredth_of_precision(rival: str, runtime: Runtime) -> None:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    gallery, queries = Embeddings(pixels[::2]), Embeddings(pixels[1::2])

    def precision(searcher: str) -> float:
        built = make(searcher, runtime, "digits")
        built.build(gallery)
        return float((labels[::2][built.search(queries, 100).rows[:, 0]] == labels[1::2]).mean())

    assert precision(rival) >= precision("linear") - 0.01


def test_another_seed_trains_another_quantiser(runtime: Runtime) -> None:
    gallery, queries = clusters(2000, seed=1), Embeddings(clusters(50, seed=2))
    answers = []
    for seed in (0, 1):
        searcher = make("ivfpq", replace(runtime, seed=seed))
        searcher.build(Embeddings(gallery))
        answers.append(searcher.search(queries, 5))
    assert not same(*answers)


def test_ivfpq_says_what_a_small_gallery_made_of_its_recipe(runtime: Runtime) -> None:
    searcher = make("ivfpq", runtime)
    searcher.build(Embeddings(clusters(80, seed=1)))
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
    searcher = make("ivfpq", replace(runtime, device="cuda"))
    searcher.build(Embeddings(clusters(2100, seed=1)))
    for k in (10, 2100):  # the second is more than a GPU finds
        searcher.search(Embeddings(clusters(7, seed=2)), k)
    assert copies[0].asked == [(1, 1), (7, 10)]
    assert searcher.describe().details["device"] == "GPU"
    assert searcher.describe().index_bytes > 0


def test_ivfpq_stays_on_the_cpu_where_the_gpu_refuses(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(index: Any) -> None:
        raise RuntimeError("Error in void verify() at GpuIndexIVFPQ.cu:605: Error: 'bits == 8' failed: only 8 bits")

    gallery, queries = Embeddings(clusters(300, seed=1)), Embeddings(clusters(7, seed=2))
    plain = make("ivfpq", runtime)
    plain.build(gallery)
    monkeypatch.setattr("irbench.retrievers.searchers._faiss.library", lambda: FakeGpu(refuse))
    searcher = make("ivfpq", replace(runtime, device="cuda"))
    searcher.build(gallery)
    assert same(searcher.search(queries, 10), plain.search(queries, 10))
    told = "CPU: Faiss refuses these parameters on a GPU (only 8 bits)"
    assert (searcher.describe().details["device"], plain.describe().details["device"]) == (told, "CPU")


@pytest.mark.gpu
def test_ivfpq_answers_on_the_gpu_as_on_the_cpu(runtime: Runtime) -> None:
    import faiss

    if not faiss.get_num_gpus():
        pytest.skip("no CUDA device that Faiss can use")
    gallery, queries = Embeddings(clusters(3000, seed=1)), Embeddings(clusters(100, seed=2))
    answers = {}
    for device in ("cpu", "cuda"):
        searcher = make("ivfpq", replace(runtime, device=device))
        searcher.build(gallery)
        answers[device] = searcher.search(queries, 10)
    assert searcher.describe().details["device"] == "GPU"
    assert overlap(answers["cuda"].rows, answers["cpu"].rows) >= 0.95  # equal codes tie, in another order
    np.testing.assert_allclose(answers["cuda"].scores, answers["cpu"].scores, rtol=1e-3, atol=1e-3)


def test_scann_splits_a_large_gallery_and_pads_what_its_leaves_do_not_hold(runtime: Runtime) -> None:
    gallery, queries = clusters(2500, seed=1), clusters(30, seed=2)
    small = make("scann", runtime)
    searcher = type(small)(replace(small.config, tree_from=2000, leaves_searched=0.1), runtime)
    searcher.build(Embeddings(gallery))
    found = searcher.search(Embeddings(queries), 2500)
    assert "5 of 50 leaves" in searcher.describe().details["index"]
    assert (found.rows[:, -1] == -1).all()
    assert overlap(found.rows[:, :10], exact(queries, gallery, 10)) >= 0.9


def test_an_engine_that_does_not_load_is_named_with_its_system_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from irbench.retrievers.searchers import _sptag

    (tmp_path / "libSPTAGLib.so").write_text("not a library")
    spec = spec_from_file_location("sptag", tmp_path / "__init__.py")
    monkeypatch.setattr(_sptag, "find_spec", lambda _: spec)
    with pytest.raises(MissingLibrary, match="apt-get install libnuma1"):
        _sptag.library.__wrapped__()


def test_spann_removes_its_folder(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    searcher = make("spann", runtime)
    searcher.build(Embeddings(clusters(400, seed=1)))
    searcher.build(Embeddings(clusters(500, seed=1)))
    (folder,) = tmp_path.glob("irbench-spann-*")
    assert sum(path.stat().st_size for path in (folder / "index").rglob("*") if path.is_file()) == (
        searcher.describe().index_bytes
    )
    del searcher
    gc.collect()
    assert not folder.exists()


def test_spann_keeps_quiet(runtime: Runtime, capfd: pytest.CaptureFixture[str]) -> None:
    searcher = make("spann", runtime)
    searcher.build(Embeddings(clusters(400, seed=1)))
    searcher.search(Embeddings(clusters(5, seed=2)), 5)
    assert capfd.readouterr().out == ""


def test_spann_reports_an_engine_that_dies(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("irbench.retrievers.searchers.spann._FEWEST", 1)  # ten vectors crash the engine
    with pytest.raises(IrbenchError, match="10 vectors of 8 dimensions"):
        make("spann", runtime).build(Embeddings(np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32)))
