"""How time and memory grow with the gallery: each stage of a retriever, beside the bare library where there is one.

Every stage of every size has a process of its own, so that its peak of memory is its own; vectors are drawn from
common clusters, and labels and identifiers at random. What the library does alone is measured in turns with irbench, on
the same index and queries.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import log
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from irbench.bench.overhead import in_turns
from irbench.bench.search import Plan as SearchPlan
from irbench.bench.search import drawn, searcher_of
from irbench.config import recipes
from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.embeddings import Embeddings
from irbench.core.errors import IrbenchError
from irbench.core.identifiers import Identifiers
from irbench.core.ranking import Ranking
from irbench.experiments.processes import Ended, apart
from irbench.metrics import diagnostics, retrieval
from irbench.retrievers.irgen.trie import Trie
from irbench.runtime.environment import peak_memory, reset_peak_memory, resident_memory
from irbench.runtime.machine import Runtime, use_threads

_WARM = 300  # vectors of an index that is built before anything is measured
_SINGLES = 20  # queries that are searched one at a time
_PER_CLASS = 20  # images
_CODES, _CODEBOOK = 4, 256  # as in the paper
_SCORED = 10_000  # queries whose rankings are scored
_SLOW = "spann"  # whose build takes hours for a million vectors


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured."""

    sizes: tuple[int, ...]  # of the gallery
    searches: tuple[str, ...] = ()  # recipes; empty: all
    dim: int = 128
    queries: int = 1000
    k: int = 100
    spann_up_to: int = 30_000  # vectors
    patience: float = 5.0  # seconds after which a stage is not repeated

    def named(self) -> tuple[str, ...]:
        """The recipes of the searches."""
        return self.searches or tuple(recipes.names("methods/search"))

    def drawn(self, size: int) -> tuple[Embeddings, Embeddings]:
        """Return the vectors of a gallery of this size, and of the queries."""
        return drawn(SearchPlan(gallery=size, queries=self.queries, dim=self.dim))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One stage at one size; without numbers but with a reason where it was not measured."""

    stage: str
    size: int
    seconds: float | None = None  # of single queries, for one
    library_s: float | None = None  # of the bare library, for the same
    peak_bytes: int | None = None  # beyond what was held before, the finished index included
    gallery_bytes: int | None = None  # of its vectors, where there are any
    index_bytes: int | None = None
    reason: str = ""

    @property
    def overhead(self) -> float | None:
        """Time relative to the library's."""
        return self.seconds / self.library_s if self.seconds and self.library_s else None

    @property
    def beside_index(self) -> float | None:
        """Peak of memory beyond the index, in sizes of the gallery."""
        if self.peak_bytes is None or self.index_bytes is None or not self.gallery_bytes:
            return None
        return max(0, self.peak_bytes - self.index_bytes) / self.gallery_bytes


_Stage = Callable[[Plan, int, Runtime], list[Measured]]


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How a stage grows between the smallest and the largest size: time and memory as powers of the size."""

    stage: str
    sizes: tuple[int, int]
    time: float  # the exponent: 1 is proportional to the size
    memory: float | None = None


def measure(plan: Plan, runtime: Runtime) -> Iterator[Measured]:
    """Measure every stage at every size, the smallest first."""
    stages: dict[str, _Stage] = {
        "benchmark": _benchmark,
        "score": _score,
        "trie": _trie,
        "diagnostics": _diagnostics,
        **{name: partial(_search, name) for name in plan.named()},
    }
    for size in sorted(plan.sizes):
        for name, stage in stages.items():
            if name == _SLOW and size > plan.spann_up_to:
                yield Measured(stage=f"{name} build", size=size, reason=f"not built above {plan.spann_up_to:,} vectors")
                continue
            try:
                yield from apart(_told, name, stage, plan, size, runtime, timeout=None)
            except Ended as ended:
                yield Measured(stage=name, size=size, reason=str(ended))


def growth(measured: Sequence[Measured]) -> Iterator[Growth]:
    """Yield the exponents of every stage that was measured at two sizes or more."""
    for stage in dict.fromkeys(one.stage for one in measured):
        known = sorted((one for one in measured if one.stage == stage and one.seconds), key=lambda one: one.size)
        if len(known) > 1 and known[0].size < known[-1].size:
            first, last = known[0], known[-1]
            yield Growth(
                stage=stage,
                sizes=(first.size, last.size),
                time=_exponent(first, last, first.seconds, last.seconds),
                memory=_exponent(first, last, first.peak_bytes, last.peak_bytes)
                if first.peak_bytes and last.peak_bytes
                else None,
            )


def _exponent(first: Measured, last: Measured, before: float | None, after: float | None) -> float:
    return log((after or 1) / (before or 1)) / log(last.size / first.size)


def _told(name: str, stage: _Stage, plan: Plan, size: int, runtime: Runtime) -> list[Measured]:
    """Carry a stage out, in its own process; where it cannot be had, say why."""
    use_threads(runtime.threads)
    try:
        with threadpool_limits(runtime.threads):
            return stage(plan, size, runtime)
    except IrbenchError as error:
        return [Measured(stage=name, size=size, reason=str(error))]


def _timed(work: Callable[[], Any], runtime: Runtime) -> tuple[Any, float, int]:
    """Return what `work` returns, its seconds, and the bytes that were held meanwhile beyond those before."""
    before = resident_memory()
    reset_peak_memory(runtime)
    start = perf_counter()
    answer = work()
    seconds = perf_counter() - start
    return answer, seconds, max(0, peak_memory(runtime)[0] - before)


def _labels(size: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, max(2, size // _PER_CLASS), size)


def _assembled(size: int) -> Benchmark:
    """Return a benchmark of so many images under made-up names, with what is computed of it for every cell."""
    labels = _labels(size)
    names = tuple(f"class_{label:06d}/image_{row:08d}.jpg" for row, label in enumerate(labels.tolist()))
    gallery = ImageSet(name="gallery", ids=names, labels=labels)
    rows = np.arange(0, size, max(1, size // _SCORED))
    asked = tuple(f"query_{row:08d}.jpg" for row in rows.tolist())
    benchmark = Benchmark(
        name="scale",
        protocol="closed-set",
        crop="none",
        train=gallery,
        gallery=gallery,
        queries=ImageSet(name="queries", ids=asked, labels=labels[rows]),
        ks=(1, 10, 100),
        top_k=100,
    )
    _ = benchmark.fingerprint, benchmark.own_rows, benchmark.positives
    return benchmark


def _benchmark(plan: Plan, size: int, runtime: Runtime) -> list[Measured]:  # noqa: ARG001 -- as every stage
    _, seconds, peak = _timed(lambda: _assembled(size), runtime)
    return [Measured(stage="benchmark", size=size, seconds=seconds, peak_bytes=peak)]


def _score(plan: Plan, size: int, runtime: Runtime) -> list[Measured]:  # noqa: ARG001 -- as every stage
    benchmark, rng = _assembled(size), np.random.default_rng(1)
    depth = min(benchmark.top_k, size)
    rows = np.stack([rng.choice(size, depth, replace=False) for _ in range(len(benchmark.queries))])
    ranking = Ranking(rows, np.tile(-np.arange(depth, dtype=np.float32), (len(rows), 1)))
    names = [name for name in retrieval.names(benchmark) if retrieval.parse(name).metric.at_k]
    _, seconds, peak = _timed(lambda: retrieval.score(ranking, benchmark, names), runtime)
    return [Measured(stage="score", size=size, seconds=seconds, peak_bytes=peak)]


def _random_identifiers(size: int) -> Identifiers:
    return Identifiers(np.random.default_rng(0).integers(0, _CODEBOOK, (size, _CODES)), _CODEBOOK)


def _trie(plan: Plan, size: int, runtime: Runtime) -> list[Measured]:  # noqa: ARG001 -- as every stage
    identifiers = _random_identifiers(size)
    _, seconds, peak = _timed(lambda: Trie.build(identifiers), runtime)
    return [Measured(stage="trie", size=size, seconds=seconds, peak_bytes=peak)]


def _diagnostics(plan: Plan, size: int, runtime: Runtime) -> list[Measured]:  # noqa: ARG001 -- as every stage
    identifiers, benchmark = _random_identifiers(size), _assembled(size)
    _, seconds, peak = _timed(lambda: diagnostics.report(identifiers, benchmark), runtime)
    return [Measured(stage="diagnostics", size=size, seconds=seconds, peak_bytes=peak)]


def _search(name: str, plan: Plan, size: int, runtime: Runtime) -> list[Measured]:
    gallery, queries = plan.drawn(size)
    searcher_of(name, (), runtime).build(Embeddings(gallery.array[:_WARM]))  # loads the library, which takes memory
    index = searcher_of(name, (), runtime)
    _, seconds, peak = _timed(lambda: index.build(gallery), runtime)
    built = Measured(
        stage=f"{name} build",
        size=size,
        seconds=seconds,
        peak_bytes=peak,
        gallery_bytes=gallery.array.nbytes,
        index_bytes=index.describe().index_bytes,
    )
    few = [queries.array[row : row + 1] for row in range(min(_SINGLES, len(queries)))]
    k = min(plan.k, size)
    asked = {"batch": ([queries.array], 1), "single": (few, len(few))}
    turns = {how: (in_turns(index, batches, k, plan.patience), count) for how, (batches, count) in asked.items()}
    return [
        built,
        *(
            Measured(
                stage=f"{name} {how}",
                size=size,
                seconds=one.seconds / count,
                library_s=None if one.library_s is None else one.library_s / count,
            )
            for how, (one, count) in turns.items()
        ),
    ]
