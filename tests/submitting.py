"""Submissions as somebody else may have written them, of benchmarks that consist of names and hashes."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.judgements import JUNK, Pairs, SharedLabel
from irbench.core.ranking import MISSING, Ranking
from irbench.results.schema import Dataset, RecipeUsed, Result
from irbench.results.submissions.write import submit

KINDS = ("class", "pairs", "shared")  # of relevance


def images(rng: np.random.Generator, name: str, count: int, *, prefix: str) -> ImageSet:
    return ImageSet(
        name=name,
        ids=tuple(f"{prefix} {i}.jpg" for i in range(count)),
        labels=rng.permutation(np.arange(count) % 4),
        contents=rng.integers(0, 256, (count, 32)).astype(np.uint8),
        boxes=rng.integers(0, 9, (count, 4)).astype(np.int32) if rng.random() < 0.3 else None,
    )


def benchmark(rng: np.random.Generator, kind: str) -> Benchmark:
    gallery = images(rng, "gallery", int(rng.integers(16, 30)), prefix="g")
    queries = images(rng, "queries", int(rng.integers(8, 14)), prefix="q")
    if rng.random() < 0.5:  # some queries are in the gallery
        queries = replace(gallery.take(rng.permutation(len(gallery))[:10]), name="queries")
    shape = (len(queries), len(gallery))
    judged = None
    if kind == "pairs":
        table = rng.choice([0, 0, 1, 2, JUNK], shape)
        query, row = np.nonzero(table)
        judged = Pairs.of(shape, query, row, table[query, row])
    elif kind == "shared":
        sets = [[frozenset(rng.choice(6, 2, replace=False).tolist()) for _ in range(size)] for size in shape]
        judged = SharedLabel(*sets)
    return Benchmark(name="toy", protocol="closed-set", crop="none", train=images(rng, "train", 8, prefix="t"),
                     gallery=gallery, queries=queries, ks=(1, 3), top_k=8, judgements=judged,
                     incremental=int(rng.integers(0, 6)) if kind == "class" else 0)  # fmt: skip


def random_ranking(rng: np.random.Generator, bench: Benchmark) -> Ranking:
    rows = np.stack([rng.permutation(len(bench.gallery)) for _ in range(len(bench.queries))])
    scores = np.sort(rng.random(rows.shape).astype(np.float32), axis=1)[:, ::-1].copy()
    found = bench.scored(Ranking(rows, scores)).cut(bench.top_k)
    if rng.random() < 0.3:  # one query has few results
        rows, scores = found.rows.copy(), found.scores.copy()
        rows[0, 2:], scores[0, 2:] = MISSING, -np.inf
        found = Ranking(rows, scores)
    return found


@dataclass
class Artefacts:
    """Stands for the work folder."""

    made: Benchmark
    found: Ranking

    def benchmark(self, _: Result) -> Benchmark:
        return self.made

    def ranking(self, _: Result) -> Ranking:
        return self.found


def result(bench: Benchmark, seed: int = 0, **facts) -> Result:
    text = "# a recipe\n"
    recipe = RecipeUsed(text=text, hash=hashlib.sha256(text.encode()).hexdigest())
    known = {
        "status": "ok",
        "method": "mine",
        "scale": "unknown",
        "inputs": "0",
        "created": "2026-11-30T00:00:00+00:00",
    }
    return Result(**(known | {"dataset": Dataset.of(bench), "seed": seed, "recipe": recipe} | facts))


def submitted(folder: Path, seed: int, kind: str, **words: str) -> Path:
    """Write an honest submission of two seeds."""
    rng = np.random.default_rng(seed)
    bench = benchmark(rng, kind)
    artefacts = Artefacts(bench, random_ranking(rng, bench))
    return submit(
        [result(bench, 0), result(bench, 1)], artefacts, folder / "made", **({"who": "us", "terms": "CC0-1.0"} | words)
    )
