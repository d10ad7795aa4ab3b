"""Results made up for the tests of tables, and which of their answers were right."""

from dataclasses import replace

import numpy as np
from cells import fields_of

from irbench.core.description import Backbone
from irbench.core.errors import StoreError
from irbench.metrics.retrieval import Judged, per_query
from irbench.results.schema import Dataset, Estimate, RecipeUsed, Result

CUB = Dataset(
    name="cub200", protocol="closed-set", crop="none", fingerprint="f" * 64, train=9, gallery=1000, queries=5, classes=3
)
NOTHING = Backbone(name="test_resnet", weights="trained from scratch", parameters=5)


def result(percent=50.0, **changes):
    metrics = {
        f"{metric}@{k}": Estimate(mean=percent / 100, ci95=(percent / 100 - 0.1, percent / 100 + 0.1), short=0.0)
        for metric in ("precision", "hit_rate")
        for k in (1, 2)
    }
    facts = {
        "status": "ok",
        "dataset": CUB,
        "method": "ft-clip",
        "search": "scann",
        "scale": "tiny",
        "seed": 0,
        "inputs": "a1",
        "recipe": RecipeUsed(text="", hash="b2"),
        "backbone": NOTHING,
        "metrics": metrics,
        "created": "2025-01-01T00:00:00Z",
    }
    return Result(**(facts | fields_of(changes)))


def rows(shown, kind="measured"):
    return [row for panel in shown.panels for row in panel.rows if row.kind == kind]


class Artefacts:
    """Right answers [Q,K] by method and seed, in place of files; the results' means follow from them."""

    def __init__(self, positives=5, **hits):
        self.positives = positives
        self.hits = hits

    def __call__(self, result):
        hits = self.hits[result.method][result.seed]
        if hits is None:
            raise StoreError("not kept")
        return {"": Judged(hits, np.broadcast_to(self.positives, len(hits)).astype(np.int64))}

    def results(self, metric="precision", ks=(1, 2)):
        for method, seeds in self.hits.items():
            for seed in range(len(seeds)):
                made = result(method=method, search=None, seed=seed)
                known = self.hits[method][seed] is not None
                means = {
                    f"{name}@{k}": float(per_query(self(made), f"{name}@{k}").mean()) if known else 0.5
                    for name in {metric, "precision_irgen"}
                    for k in ks
                }
                yield replace(made, metrics={name: Estimate(mean=mean, short=0.0) for name, mean in means.items()})


def drawn(share, seed, queries=300):
    """[Q,2] right answers, of which those of better methods include those of worse."""
    return np.random.default_rng(seed).random((queries, 2)) < share
