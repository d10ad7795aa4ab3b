"""Folders of results that hold hits and no rankings: what a check needs when nothing else is at hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from cells import fields_of

from irbench.metrics import retrieval
from irbench.metrics.retrieval import Judged
from irbench.metrics.uncertainty import interval
from irbench.results import files, hits
from irbench.results.artefacts import Artefacts
from irbench.results.regression.compare import Comparison, compare
from irbench.results.regression.limits import Limits
from irbench.results.regression.pairs import pair_up
from irbench.results.schema import Cost, Dataset, Estimate, QueryTimes, RecipeUsed, Result

FACTS = Dataset(
    name="toy", protocol="closed-set", crop="none", fingerprint="f" * 64, train=9, gallery=999, queries=600, classes=9
)
NAMES = ("precision@1", "precision@10", "map@40")


def make(judged: Judged | None = None, **changes) -> Result:
    """A result whose metrics are those of the hits, if there are any."""
    facts = {
        "status": "ok",
        "dataset": FACTS,
        "method": "m",
        "scale": "tiny",
        "seed": 0,
        "inputs": "",
        "recipe": RecipeUsed(text="epochs = 3\n", hash="a"),
        "cost": Cost(
            train_s=5.0, index_bytes=10_000, query_ms=QueryTimes(batch=1, total_p50=2.0), queries_per_s=1000.0
        ),
        "environment": {"cpu": "x", "cores": 2, "torch": "2.11"},
        "created": "",
    }
    if judged is not None:
        values = {name: retrieval.per_query({"": judged}, name) for name in NAMES}
        facts["metrics"] = {n: Estimate(mean=float(v.mean()), ci95=interval(v)) for n, v in values.items()}
    return Result(**(facts | fields_of(changes)))


def draw(rng: np.random.Generator, *, positives: int, quality: float, depth: int = 40, again: bool = False) -> Judged:
    """Hits of 600 queries of unequal difficulty, right less often the further down; `again` asks the same queries."""
    ease = (np.random.default_rng(0) if again else rng).beta(4 * quality, 4 * (1 - quality), (600, 1))
    chance = ease * np.minimum(1, positives / (1 + np.arange(depth)))
    hits = rng.random((600, depth)) < chance
    hits &= hits.cumsum(axis=1) <= positives
    return Judged(hits, np.full(600, positives))


class Memory:
    """Stands for a folder of results."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, int], tuple[Result, Judged]] = {}

    def judged(self, result: Result) -> dict[str, Judged]:
        return {"": self.known[result.cell, result.seed][1]}


def sound(folder: Path) -> list[Result]:
    found, problems = files.read_all(folder)
    assert problems == []
    return found


class Folders:
    """Two folders of results, `before` and `after`."""

    def __init__(self, root: Path) -> None:
        self.before, self.after = (Artefacts(root / name, root / "work", root / "data") for name in ("before", "after"))

    def put(self, kept: Artefacts, result: Result, judged: Judged | None) -> None:
        if isinstance(kept, Memory):
            kept.known[result.cell, result.seed] = result, judged
            return
        if judged is not None:
            folder = result.path(kept.results).parent
            result = replace(result, hits=hits.save({"": judged}, folder, seed=result.seed))
        files.write(result, kept.results)

    def both(self, before: Judged, after: Judged, **changes) -> None:
        self.put(self.before, make(before, **changes), before)
        self.put(self.after, make(after, **changes), after)

    def forget_files(self) -> None:
        """Keep everything in memory from now on, where much is to be put."""
        self.before, self.after = Memory(), Memory()

    def compare(self, **limits: float) -> dict[str, Comparison]:
        old, new = (
            [result for result, _ in kept.known.values()] if isinstance(kept, Memory) else sound(kept.results)
            for kept in (self.before, self.after)
        )
        found = compare(pair_up(old, new), self.before, self.after, Limits(**limits))
        return {one.cell: one for one in found}


def change(judged: Judged, *, worse: int, better: int) -> Judged:
    """Take the first answer from so many queries that have it right, and give it to so many that have it wrong."""
    hits = judged.hits.copy()
    right, wrong = (np.flatnonzero(hits[:, 0] == hit) for hit in (True, False))
    hits[right[:worse], 0], hits[wrong[:better], 0] = False, True
    return Judged(hits, judged.positives)
