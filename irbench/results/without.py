"""What stored results score when some queries are left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark
from irbench.core.errors import StoreError
from irbench.metrics.retrieval import parse, per_query
from irbench.results.hits import Reader
from irbench.results.schema import Result


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One metric of one result, with all of its queries and without some; the mean, None where no query is left."""

    cell: str
    seed: int
    metric: str
    before: float
    after: float | None
    left_out: int  # queries that are scored and were left out

    @property
    def change(self) -> float | None:
        """How much higher the mean is without them."""
        return None if self.after is None else self.after - self.before


def effects(
    results: Sequence[Result], judge: Reader, benchmark: Benchmark, queries: NDArray[np.int64]
) -> Iterator[Effect]:
    """Yield every metric of the results about this benchmark, with and without these of its queries.

    Those of one part of an incremental gallery are passed over, and results without stored hits.
    """
    stays = ~np.isin(np.flatnonzero(benchmark.positives), queries)
    for result in results:
        if result.status != "ok" or result.dataset.fingerprint != benchmark.fingerprint or result.shortened:
            continue
        try:
            judged = judge(result)
        except StoreError:
            continue
        for name, stated in result.metrics.items():
            if stated.mean is None or parse(name).metric.part:
                continue
            values = per_query(judged, name)
            yield Effect(
                cell=result.cell,
                seed=result.seed,
                metric=name,
                before=float(values.mean()),
                after=float(values[stays].mean()) if stays.any() else None,
                left_out=int((~stays).sum()),
            )
