"""A benchmark with everything that is hard to write into a text file, and a ranking with everything that may occur."""

import numpy as np
import pytest

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.ranking import Ranking
from irbench.metrics import retrieval
from irbench.metrics.retrieval import Scope
from irbench.results import files, hits, rankings
from irbench.results.rescore import scored
from irbench.results.schema import Dataset, RecipeUsed, Result

ODD = [
    "a b.png",
    "a%20b.png",
    "tab\there",
    "line\nend",
    "ü",
    "no\u00a0break",
    "\udcff",
    "100%",
    "'",
    '"',
    "日本",
    "#",
    "-",
]


@pytest.fixture
def benchmark() -> Benchmark:
    """60 gallery images of 4 classes and 24 queries: some of them in the gallery, some of a class it does not hold."""
    rng = np.random.default_rng(0)
    ids = (*ODD, *(f"gallery/{i}" for i in range(60 - len(ODD))))
    gallery = ImageSet(name="gallery", ids=ids, labels=rng.integers(0, 4, 60))
    own = np.arange(3, 13)
    asked = ImageSet(
        name="queries",
        ids=(*(ids[row] for row in own), *(f"query {i}" for i in range(14))),
        labels=np.concatenate([gallery.labels[own], rng.integers(0, 5, 14)]),
    )
    assert (asked.labels == 4).any()
    return Benchmark(
        name="toy",
        protocol="closed-set",
        crop="none",
        train=gallery,
        gallery=gallery,
        queries=asked,
        ks=(1, 4, 20),
        top_k=50,
    )


@pytest.fixture
def ranking(benchmark: Benchmark) -> Ranking:
    """Answers with many equal scores, fewer than 50 for some queries, and none at all for two of them."""
    rng = np.random.default_rng(1)
    near = benchmark.queries.labels[:, None] == benchmark.gallery.labels
    scores = np.round(rng.normal(size=near.shape) + near, 1) / 3
    answered = rng.random(near.shape) < rng.choice([0.3, 1.0], (len(near), 1))
    answered[[3, 15]] = False
    rows = np.where(answered, np.arange(60), -1)
    return Ranking.from_topk(rows, scores).without(benchmark.own_rows).cut(50)


@pytest.fixture
def stored(benchmark, ranking, tmp_path) -> Result:
    """The result of that ranking, in the folders `results` and `work` of the test."""
    judged = retrieval.judgements(ranking, benchmark)
    result = Result(
        status="ok",
        dataset=Dataset.of(benchmark),
        method="m",
        search="s",
        scale="tiny",
        default_scale="tiny",
        seed=0,
        inputs="",
        recipe=RecipeUsed(text="", hash=""),
        ranking=rankings.save_ranking(ranking, tmp_path / "work" / "rankings"),
        hits=hits.save(judged, tmp_path / "results" / "toy" / "m+s", seed=0),
        created="",
    )
    result = scored(result, judged, Scope.of(benchmark))
    files.write(result, tmp_path / "results")
    return result
