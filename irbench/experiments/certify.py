"""How much the results of one trained cell depend on how they are computed: batch size, threads, precision.

The same trained networks index the gallery and answer the queries again under each setting, with nothing from a cache.
The first setting is that of the stored result; every other one differs from it in one thing. The GPU of a machine that
has one is no setting here: a model that was trained on a CPU is stored as such, and is trained anew on a GPU.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from irbench.core.benchmark import Benchmark
from irbench.core.errors import UsageError
from irbench.core.ranking import MISSING, Ranking
from irbench.experiments.again import index, trained
from irbench.experiments.experiment import Experiment
from irbench.metrics import retrieval
from irbench.protocols import Retriever
from irbench.results import files
from irbench.results.schema import Facts
from irbench.runtime.machine import Runtime, use_threads
from irbench.runtime.progress import track
from irbench.runtime.timer import Timer

if TYPE_CHECKING:
    import torch

TOLERANCE = 0.001  # of a metric: a tenth of a point
FIRST = 10  # results of a query that are compared
BATCHES = (64, 1, 16)  # the first is that of the baseline
THREADS = (1, 2)
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the queries are answered."""

    batch: int
    threads: int
    precision: str

    def __str__(self) -> str:
        """The setting in words."""
        return f"batch {self.batch}, {self.threads} thread{'s' if self.threads > 1 else ''}, {self.precision}"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What differs under a setting from the baseline."""

    setting: Setting
    metric: str  # the one whose mean changes most
    change: float  # of its mean
    queries: float  # share of the queries whose first results change
    score: float  # largest difference of scores at one of the first ranks, relative to the largest score there

    @property
    def tolerated(self) -> bool:
        """Does no metric change by more than `TOLERANCE`?"""
        return abs(self.change) <= TOLERANCE


@dataclass(frozen=True, kw_only=True)
class _Computing(Runtime):
    """A runtime that computes in another precision than that under which the trained networks are stored."""

    computes: str

    def autocast(self) -> "torch.autocast":
        return self._there.autocast()

    def cast_weights(self, network: "torch.nn.Module") -> None:
        self._there.cast_weights(network)

    @property
    def _there(self) -> Runtime:
        return Runtime(store=self.store, device=self.device, precision=self.computes)


def certify(experiment: Experiment) -> tuple[Setting, list[Difference]]:
    """Return the baseline of a stored cell and what differs under each other setting; store it with the result.

    Raises `UsageError` where the cell has no current result.
    """
    result = experiment.current()
    if result is None or result.status != "ok":
        raise UsageError(f"{experiment.cell} has no current result: run it first", code="no-result")
    baseline, *others = settings(experiment.runtime)
    first = _ranking(experiment, baseline)
    found = [
        _difference(setting, first, _ranking(experiment, setting), experiment.benchmark)
        for setting in track([baseline, *others], "certify", background=False)
    ]
    files.write(replace(result, invariance=_facts(baseline, found)), experiment.settings.results)
    return baseline, found


def settings(runtime: Runtime) -> Iterator[Setting]:
    """Yield the baseline, and settings that differ from it in one thing."""
    baseline = Setting(batch=BATCHES[0], threads=runtime.threads or 1, precision=runtime.precision)
    yield baseline
    yield from (replace(baseline, batch=batch) for batch in BATCHES[1:])
    yield from (replace(baseline, threads=threads) for threads in THREADS if threads != baseline.threads)
    yield from (replace(baseline, precision=one) for one in PRECISIONS if one != baseline.precision)


def _ranking(experiment: Experiment, setting: Setting) -> Ranking:
    """Return the ranking of all queries under a setting, as it is scored."""
    runtime, benchmark = experiment.runtime, experiment.benchmark
    use_threads(setting.threads)
    retriever = trained(experiment, _Computing(**vars(runtime), computes=setting.precision))
    with Timer(bypass_cache=True, synchronize=runtime.synchronize).run():
        index(retriever, benchmark)
        use_threads(setting.threads)  # an index's library may have changed torch's
        found = Ranking.stack(list(_batches(retriever, benchmark, setting.batch)))
    return benchmark.scored(found).cut(benchmark.top_k)


def _batches(retriever: Retriever, benchmark: Benchmark, size: int) -> Iterator[Ranking]:
    depth = benchmark.depth + int((benchmark.own_rows >= 0).any())
    for start in range(0, len(benchmark.queries), size):
        yield retriever.search(benchmark.queries.take(slice(start, start + size)), depth)


def _difference(setting: Setting, before: Ranking, after: Ranking, benchmark: Benchmark) -> Difference:
    means = [retrieval.score(one, benchmark, retrieval.names(benchmark)).means for one in (before, after)]
    changes: Mapping[str, float] = {name: means[1][name] - means[0][name] for name in means[0]}
    metric = max(changes, key=lambda name: abs(changes[name]))
    rows = [one.rows[:, :FIRST] for one in (before, after)]
    scores = [np.where(one.rows[:, :FIRST] == MISSING, 0.0, one.scores[:, :FIRST]) for one in (before, after)]
    largest = max(float(np.abs(scores[0]).max()), float(np.finfo(np.float32).tiny))
    return Difference(
        setting=setting,
        metric=metric,
        change=float(changes[metric]),
        queries=float((rows[0] != rows[1]).any(axis=1).mean()),
        score=float(np.abs(scores[0] - scores[1]).max()) / largest,
    )


def _facts(baseline: Setting, found: list[Difference]) -> Facts:
    return cast("Facts", {"baseline": str(baseline), "tolerance": TOLERANCE,
                          "settings": [asdict(one) | {"setting": str(one.setting)} for one in found]})  # fmt: skip
