"""A folder of made-up results with the answers behind them, drawn from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cells import fields_of

from irbench.core.description import Backbone
from irbench.metrics import retrieval
from irbench.metrics.retrieval import Judged
from irbench.metrics.uncertainty import interval
from irbench.results import files, hits
from irbench.results.artefacts import Artefacts
from irbench.results.schema import Cost, Dataset, Estimate, QueryTimes, RecipeUsed, Result

FACTS = Dataset(
    name="toy", protocol="closed-set", crop="none", fingerprint="f" * 64, train=9, gallery=99, queries=40, classes=3
)
NAMES = [f"precision@{k}" for k in (1, 5, 10)]


class Shelf:
    """Results on disk, as `irbench run` leaves them."""

    def __init__(self, root: Path) -> None:
        self.artefacts = Artefacts(root / "results", root / "work", root / "data")
        self.judged: dict[tuple[str, int], Judged] = {}

    def put(self, method: str = "m", *, seed: int = 0, answers: bool = True, times: float = 1.0, **changes) -> Result:
        rng = np.random.default_rng([seed, *map(ord, f"{method}{changes.get('search')}{changes.get('variant')}")])
        judged = Judged(rng.random((40, 20)) < np.linspace(0.9, 0.3, 20), rng.integers(20, 30, 40))
        values = {name: retrieval.per_query({"": judged}, name) for name in NAMES}
        parts = {"encode_p50": 2.0 * times, "search_p50": 3.0 * times}
        facts = {
            "status": "ok",
            "dataset": FACTS,
            "method": method,
            "scale": "tiny",
            "seed": seed,
            "inputs": "",
            "recipe": RecipeUsed(text="", hash="a"),
            "backbone": Backbone(name="net", weights="trained from scratch", parameters=5),
            "metrics": {name: Estimate(mean=float(v.mean()), ci95=interval(v)) for name, v in values.items()},
            "cost": Cost(
                query_ms=QueryTimes(batch=1, total_p50=6.0 * times, total_p95=9.0 * times, **parts),
                queries_per_s=1000 / times,
            ),
            "environment": {"cpu": "x", "cores": 2},
            "created": "",
        }
        result = Result(**(facts | fields_of(changes)))
        if result.status != "ok":
            result = replace(result, metrics={}, cost=Cost())
        elif answers:
            folder = result.path(self.artefacts.results).parent
            result = replace(result, hits=hits.save({"": judged}, folder, seed=seed))
            self.judged[result.cell, seed] = judged
        files.write(result, self.artefacts.results)
        return result

    @property
    def all(self) -> list[Result]:
        found, problems = files.read_all(self.artefacts.results)
        assert problems == []
        return found


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)
