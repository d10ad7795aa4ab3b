"""What a stored result rests on, found again: its benchmark, its ranking and its hits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irbench.config import recipes
from irbench.core.benchmark import Benchmark
from irbench.core.errors import DataError, IrbenchError, StoreError
from irbench.core.ranking import Ranking
from irbench.data import datasets
from irbench.metrics import retrieval
from irbench.metrics.retrieval import Judged
from irbench.results import hits, rankings
from irbench.results.schema import Result, StoredRanking


@dataclass(frozen=True)
class Artefacts:
    """Where results lie, and where to look for what they rest on."""

    results: Path
    work: Path
    data: Path
    own: tuple[str, ...] = ()  # paths of data sets of one's own: results report their names only

    def benchmark(self, result: Result) -> Benchmark:
        """Load the benchmark that the result was measured on; another one under its name is refused."""
        facts = result.dataset
        known = {datasets.find(path).name: path for path in self.own}
        if facts.name not in known and facts.name not in recipes.names("datasets"):
            raise DataError(
                f"{facts.name} is no data set that irbench knows: say where its images are (--dataset PATH)",
                code="not-found",
            )
        benchmark = self._load(
            known.get(facts.name, facts.name),
            data=self.data,
            crop=facts.crop,
            protocol=facts.protocol,
            incremental=bool(facts.incremental),
            max_queries=result.shortened.get("max_queries"),
            files_must_exist=False,
        )
        if benchmark.fingerprint != facts.fingerprint:
            left_out = f", without the {facts.bad_images} images that could not be read" if facts.bad_images else ""
            raise DataError(
                f"{facts.name}: the result is about data {facts.fingerprint[:8]}{left_out}, and --data {self.data} has "
                f"data {benchmark.fingerprint[:8]}; point --data to what it was measured on, or run the cell again",
                code="other-data",
            )
        return benchmark

    def ranking(self, result: Result) -> Ranking:
        """Load the ranking behind the result from the work folder."""
        return rankings.load_ranking(self._stored(result), self.work / "rankings")

    def codes(self, result: Result) -> NDArray[np.int64] | None:
        """Load the identifiers [N,M] of the gallery behind the result from the work folder.

        None where the method generates none.
        """
        return rankings.load_codes(self._stored(result), self.work / "rankings")

    def _stored(self, result: Result) -> StoredRanking:
        if result.ranking is None:
            raise StoreError(
                f"{result.path(self.results)}: a result without a ranking: {result.reason}", code="no-ranking"
            )
        return result.ranking

    def judged(self, result: Result) -> Mapping[str, Judged]:
        """Return the judged ranking: from the stored hits, else by judging the stored ranking again."""
        try:
            return hits.of(result, self.results)
        except StoreError as error:
            reason = str(error)
        try:
            return retrieval.judgements(self.ranking(result), self.benchmark(result))
        except IrbenchError as error:
            raise StoreError(f"{reason}; and its ranking: {error}", code="no-hits") from error

    @cached_property
    def _load(self) -> Callable[..., Benchmark]:
        """Load a data set, once for results that follow each other; elsewhere it may have changed."""
        return lru_cache(maxsize=4)(datasets.load)
