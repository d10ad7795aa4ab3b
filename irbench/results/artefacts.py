"""What a stored result rests on, found again: its benchmark, its ranking and its hits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irbench.config import recipes
from irbench.core.benchmark import Benchmark
from irbench.core.errors import DataError, IrbenchError, StoreError
from irbench.core.ranking import Ranking
from irbench.core.text import as_text
from irbench.data import datasets
from irbench.metrics import retrieval
from irbench.metrics.retrieval import Judged
from irbench.results import own, rankings
from irbench.results.hits import Reader
from irbench.results.schema import Dataset, Result, StoredRanking
from irbench.runtime.cache import Store


@dataclass(frozen=True)
class Artefacts:
    """Where results lie, and where to look for what they rest on."""

    results: Path
    work: Path
    data: Path
    own: tuple[tuple[str, str], ...] = ()  # names of data sets of one's own, and where their images are now
    read: Reader | None = field(default=None, compare=False, repr=False)  # by which their hits were read already

    def benchmark(self, result: Result) -> Benchmark:
        """Load the benchmark that the result was measured on; another one under its name is refused."""
        facts = result.dataset
        benchmark = self._load(
            self._place(facts),
            data=self.data,
            crop=facts.crop,
            protocol=facts.protocol,
            incremental=bool(facts.incremental),
            max_queries=result.shortened.get("max_queries"),
            files_must_exist=False,
            store=Store(self.work),
        )
        left_out = set(facts.left_out)
        splits = (benchmark.train, benchmark.gallery, benchmark.queries) if left_out else ()
        benchmark = benchmark.without([id_ for split in splits for id_ in split.ids if as_text(id_) in left_out])
        if benchmark.fingerprint != facts.fingerprint and not _is_listed(benchmark, facts):
            where = self.data if benchmark.path is None else benchmark.path
            raise DataError(
                f"{facts.name}: the result is about data {facts.fingerprint[:8]}, and {where} has data "
                f"{benchmark.fingerprint[:8]}: other images, classes or judgements; say where those are that it was "
                "measured on, or run the cell again",
                code="other-data",
            )
        benchmark = replace(benchmark, name=facts.name)
        return (
            benchmark
            if benchmark.nearest is None
            else datasets.with_ks(benchmark, _ks(result) or benchmark.ks, Store(self.work))
        )

    def _place(self, facts: Dataset) -> str:
        """Return the name of the data set, or where its images are."""
        given = dict(self.own).get(facts.name)
        if given is None and facts.name in recipes.names("datasets"):
            return facts.name
        return given or str(own.demanded_place(facts, self.results))

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

    @cached_property
    def hits(self) -> Reader:
        """What reads the hits of the results."""
        return self.read or Reader(self.results)

    def judged(self, result: Result) -> Mapping[str, Judged]:
        """Return the judged ranking: from the stored hits, else by judging the stored ranking again."""
        try:
            return self.hits(result)
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


def _ks(result: Result) -> tuple[int, ...]:
    """Return the K of a result's metrics."""
    return tuple(sorted({retrieval.parse(name).k for name in result.metrics} - {0}))


def _is_listed(benchmark: Benchmark, facts: Dataset) -> bool:
    """Are files of the benchmark missing, but its lists those that the result is about?"""
    splits = (benchmark.train, benchmark.gallery, benchmark.queries)
    missing = any(split.contents is None or not split.contents.any(axis=1).all() for split in splits)
    return missing and benchmark.manifest == facts.manifest
