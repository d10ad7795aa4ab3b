"""Embeddings in fewer dimensions and fewer bits: what plain numpy makes of the same vectors."""

from pathlib import Path

import numpy as np
import pytest
from raising import raises

from irbench.cli.embedding import parse
from irbench.core.embeddings import Embeddings
from irbench.core.errors import NotApplicable, RecipeError, UsageError
from irbench.experiments.attempts import attempt
from irbench.experiments.plan import Request, experiments
from irbench.experiments.settings import Settings
from irbench.results.schema import Result
from irbench.retrievers.reduction import Reduction
from irbench.retrievers.searchers.binary import BinarySearcher, Config
from irbench.runtime.machine import Runtime

RNG = np.random.default_rng(0)
MIXED = (RNG.normal(size=(400, 12)) @ RNG.normal(size=(12, 12)) + 3).astype(np.float32)  # neither centred nor isotropic
QUERIES = (RNG.normal(size=(30, 12)) @ RNG.normal(size=(12, 12)) + 3).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_first_dimensions_are_kept_and_have_length_one_again_where_they_had_it() -> None:
    plain = Reduction(dims=5).fit(Embeddings(MIXED))
    np.testing.assert_array_equal(plain.apply(Embeddings(QUERIES)).array, QUERIES[:, :5])
    cosine = Reduction(dims=5).fit(Embeddings(MIXED).unit())
    np.testing.assert_allclose(cosine.apply(Embeddings(QUERIES).unit()).array, unit(QUERIES[:, :5]), rtol=1e-5)
    lost = np.zeros((3, 12), np.float32)
    lost[:, 7] = 1
    assert not Reduction(dims=5).fit(Embeddings(lost)).apply(Embeddings(lost)).array.any()


def test_principal_components_of_the_gallery_are_whitened() -> None:
    fitted = Reduction(components=4).fit(Embeddings(MIXED))
    found = fitted.apply(Embeddings(MIXED)).array
    np.testing.assert_allclose(np.cov(found.T), np.eye(4), atol=1e-4)
    centred = MIXED - MIXED.mean(axis=0)
    _, scales, directions = np.linalg.svd(centred, full_matrices=False)
    slow = (QUERIES - MIXED.mean(axis=0)) @ directions[:4].T / (scales[:4] / np.sqrt(len(MIXED) - 1))
    assert np.abs(fitted.apply(Embeddings(QUERIES)).array) == pytest.approx(np.abs(slow), rel=1e-3, abs=1e-3)
    of_units = Reduction(components=4).fit(Embeddings(MIXED).unit()).apply(Embeddings(QUERIES).unit()).array
    np.testing.assert_allclose(np.linalg.norm(of_units, axis=1), 1, rtol=1e-5)


def test_dimensions_and_vectors_have_to_be_there() -> None:
    with raises(NotApplicable, "not-applicable", 13, 12):
        Reduction(dims=13).fit(Embeddings(MIXED))
    with raises(NotApplicable, "not-applicable", 6, 5):
        Reduction(components=6).fit(Embeddings(MIXED[:5]))


def test_bits_are_compared_by_how_many_differ(runtime: Runtime) -> None:
    searcher = BinarySearcher(Config(), runtime)
    searcher.build(Embeddings(MIXED))
    found = searcher.search(Embeddings(QUERIES), 400)
    bits, asked = (vectors > MIXED.mean(axis=0) for vectors in (MIXED, QUERIES))
    slow = (asked[:, None] != bits[None]).sum(axis=2)
    np.testing.assert_array_equal(-found.scores, 4 * np.take_along_axis(slow, found.rows, 1))
    assert searcher.describe().index_bytes == 400 * 2 + 12 * 4  # two bytes for twelve bits, and the mean


@pytest.mark.parametrize(
    ("text", "overrides", "search"),
    [
        ("dims=128,int8", {"embedding.dims": 128}, "sq8"),
        ("pca=64", {"embedding.pca": 64}, None),
        ("binary, rescore=0", {"rerank": 0}, "binary"),
        ("float16,rescore=50,dims=3", {"rerank": 50, "embedding.dims": 3}, "fp16"),
    ],
)
def test_forms_are_read(text: str, overrides: dict[str, int], search: str | None) -> None:
    form = parse(text)
    assert (dict(form.overrides), form.search) == (overrides, search)


@pytest.mark.parametrize(
    "text", ["dims", "dims=0", "dims=-3", "int9", "int8,binary", "rescore=5", "float32,rescore=5", "", "dims=8,dims=4"]
)
def test_other_forms_are_refused(text: str) -> None:
    with raises(UsageError, "bad-value", text):
        parse(text)


@pytest.fixture
def run(tmp_path: Path):
    where = Settings(data=tmp_path, work=tmp_path / "work", results=tmp_path / "results", device="cpu")

    def result(method: str, **asked: object) -> Result:
        overrides = tuple((key.replace("_", ".", 1), value) for key, value in asked.items())
        (one,) = experiments(Request(methods=(method,), datasets=("digits",), overrides=overrides), where)
        one.check()
        assert next(attempt([one])).status == "ok"
        found = one.current()
        assert found is not None
        return found

    return result


def test_cells_are_searched_in_their_form_and_say_so(run) -> None:
    whole, first, components = (
        run("pixels+linear"),
        run("pixels+linear", embedding_dims=16),
        run("pixels+linear", embedding_pca=16),
    )
    assert [one.retriever["dimensions"] for one in (whole, first, components)] == [64, 16, 16]
    assert ["embedding" in one.retriever for one in (whole, first, components)] == [False, True, True]
    assert first.cost.index_bytes < 0.3 * whole.cost.index_bytes
    at_ten = [one.metrics["precision@10"].mean for one in (first, components, whole)]
    assert at_ten == sorted(at_ten)
    assert first.variant == "embedding.dims-16"
    bits = run("pixels+binary", rerank=0)
    assert bits.cost.index_bytes < whole.cost.index_bytes / 25
    assert run("pixels+binary").metrics["precision@10"].mean > bits.metrics["precision@10"].mean
    with raises(RecipeError, "bad-value", "dims", "pca"):
        run("pixels+linear", embedding_dims=3, embedding_pca=3)
    with raises(UsageError, "unknown-key", "embedding.dims"):
        run("classify", embedding_dims=3)
