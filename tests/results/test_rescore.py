"""Scores computed again are those that the ranking itself would get."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import StoreError
from irbench.core.ranking import Ranking
from irbench.metrics import retrieval
from irbench.metrics.retrieval import Scope
from irbench.results import files, hits
from irbench.results.artefacts import Artefacts
from irbench.results.place import default_folder
from irbench.results.rescore import rescore, rescore_folder, rescored, scored
from irbench.results.schema import Dataset, RecipeUsed, Result


def images(name: str, labels: np.ndarray) -> ImageSet:
    return ImageSet(name=name, ids=tuple(f"{name}{row}" for row in range(len(labels))), labels=labels)


def a_result(seed: int, gallery: int, incremental: int, top_k: int, columns: int) -> tuple[Result, dict]:
    """A random ranking of `columns` images for each query, scored under a depth of `top_k`."""
    rng = np.random.default_rng(seed)
    benchmark = Benchmark(
        name="toy", protocol="closed-set", crop="none", train=images("train", np.arange(2)),
        gallery=images("gallery", rng.integers(0, 4, gallery)), queries=images("query", rng.integers(0, 5, 7)),
        ks=tuple(k for k in (1, 2, 5, 20) if k <= top_k), top_k=top_k, incremental=incremental,
    )  # fmt: skip
    rows = np.where(rng.random((7, gallery)) < 0.1, -1, np.tile(np.arange(gallery), (7, 1)))
    ranking = Ranking.from_topk(rows, rng.random((7, gallery))).cut(min(columns, top_k))
    judged = retrieval.judgements(ranking, benchmark)
    blank = Result(
        status="ok", dataset=Dataset.of(benchmark), method="m", scale="tiny", default_scale="tiny", seed=seed,
        inputs="", recipe=RecipeUsed(text="", hash=""), created="",
    )  # fmt: skip
    return scored(blank, judged, Scope.of(benchmark)), judged


CASES = st.integers(2, 130).flatmap(
    lambda gallery: st.tuples(
        st.integers(0, 99), st.just(gallery), st.integers(0, gallery - 1), st.integers(1, 120), st.integers(1, 120)
    )
)


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_hits_give_the_scores_of_the_ranking(case: tuple[int, int, int, int, int]) -> None:
    result, judged = a_result(*case)
    again = rescored(replace(result, scoring="0" * 16), lambda _: judged)
    assert again == result
    assert list(again.metrics) == list(result.metrics)


def test_what_is_up_to_date_or_did_not_end_well_is_left_alone() -> None:
    result, _ = a_result(0, 30, 0, 20, 20)
    failed = replace(result, status="failed", reason="of this test", metrics={}, scoring=None)

    def judge(_: Result) -> dict:
        raise AssertionError("nobody is asked")

    assert rescore([result, failed], judge).results == (result, failed)
    with pytest.raises(AssertionError):
        rescore([result], judge, force=True)


def test_a_folder_is_rewritten_and_what_has_neither_hits_nor_ranking_is_named(tmp_path) -> None:
    (old, judged), (lost, _) = a_result(0, 30, 0, 20, 20), a_result(1, 30, 0, 20, 20)
    old = replace(old, scoring=None, metrics={name: old.metrics[name] for name in ("precision@1", "precision@5")})
    old = replace(old, hits=hits.save(judged, old.path(tmp_path).parent, seed=0))
    lost = replace(lost, scoring=None)
    for result in (old, lost):
        files.write(result, tmp_path)
    done = rescore_folder(Artefacts(tmp_path, tmp_path / "work", tmp_path))
    assert [result.seed for result in done.changed] == [0]
    assert len(done.problems) == 1
    found = {result.seed: result for result in files.read_all(tmp_path)[0]}
    assert found[0] == done.changed[0]
    assert found[0].metrics["recall@5"] == a_result(0, 30, 0, 20, 20)[0].metrics["recall@5"]
    assert found[1] == lost
    assert rescore_folder(Artefacts(tmp_path, tmp_path / "work", tmp_path)).changed == ()


def test_a_result_without_hits_is_an_error() -> None:
    result, _ = a_result(0, 30, 0, 20, 20)
    with pytest.raises(StoreError):
        rescored(replace(result, scoring=None), hits.Reader(default_folder()))
