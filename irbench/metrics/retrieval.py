"""How good a ranking is: each metric defined to the letter, for every query, over whole arrays.

h_i is 1 where a query's i-th answer shares its label, n the number of such images in the gallery (the query's own
photograph not counted). A missing answer is a miss. A query with n = 0 has no right answer: it is counted and left out.

A metric's name is its specification: "precision@10", "map@100", "r_precision".

Where half of the gallery was added after training, the precision of old and of new images is told apart: answers and
positives of the other half are taken out of a query's ranking, as if they had never been in the gallery, and what
follows moves up. A ranking is kept to the benchmark's depth; an answer that lies deeper is a miss.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark
from irbench.core.errors import ContractError, UsageError, nearest
from irbench.core.ranking import MISSING, Ranking

Values = NDArray[np.float64]  # [Q'] one number for each query that has a right answer
PARTS = ("old", "new")  # of a gallery that has grown
NEVER = np.iinfo(np.int64).max  # a rank beyond every K


@dataclass(frozen=True, eq=False)
class Judged:
    """The answers to Q' queries, each with at least one positive, marked right or wrong.

    What several metrics need is worked out once for all of them and for every K.
    """

    hits: NDArray[np.bool_]  # [Q',K]
    positives: NDArray[np.int64]  # [Q'] n

    @property
    def top_k(self) -> int:
        """Number of answers that were kept for each query."""
        return self.hits.shape[1]

    @cached_property
    def counts(self) -> NDArray[np.int32]:
        """[Q',1+K] number of hits among the first 0, 1 … K answers."""
        counts = np.zeros((len(self.hits), 1 + self.top_k), np.int32)
        np.cumsum(self.hits, axis=1, dtype=np.int32, out=counts[:, 1:])
        return counts

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """[Q'] rank of the first hit, counted from 1; NEVER where there is none."""
        return np.where(self.counts[:, -1] > 0, 1 + (self.counts[:, 1:] == 0).sum(axis=1), NEVER)

    @cached_property
    def last(self) -> NDArray[np.int64]:
        """[Q'] rank at which the last of all n positives stands; NEVER where not all were retrieved."""
        complete = self.counts[:, -1] == self.positives
        return np.where(complete, 1 + (self.counts[:, 1:] < self.positives[:, None]).sum(axis=1), NEVER)

    @cached_property
    def summed_precision(self) -> Values:
        """[Q',1+K] sum of the precision at each hit among the first 0, 1 … K answers."""
        at_hits = self.counts[:, 1:] * self.hits / np.arange(1, 1 + self.top_k)
        summed = np.zeros((len(self.hits), 1 + self.top_k))
        np.cumsum(at_hits, axis=1, out=summed[:, 1:])
        return summed

    def hits_in(self, k: int) -> NDArray[np.int32]:
        """[Q'] number of hits among the first `k` answers."""
        return self.counts[:, min(k, self.top_k)]


def precision(judged: Judged, k: int) -> Values:
    """Σh/K, as trec_eval's P_K."""
    return judged.hits_in(k) / k


def precision_irgen(judged: Judged, k: int) -> Values:
    """The precision of the published IRGen code (utils/evaluate.py:84-90), which shortens K.

    Where all n > 1 positives stand within the first r < K answers it divides by r. A single positive is spared by
    accident there (a comparison with an empty array), and so here.
    """
    shortened = (judged.positives > 1) & (judged.last < k)
    return judged.hits_in(k) / np.where(shortened, judged.last, k)


def hit_rate(judged: Judged, k: int) -> Values:
    """1 if any of the first K is a hit: what the metric-learning literature, and the paper's Table 2, call Recall@K."""
    return (judged.first <= k).astype(np.float64)


def recall(judged: Judged, k: int) -> Values:
    """Σh/n, the true positive rate of the paper's Figure 3."""
    return judged.hits_in(k) / judged.positives


def mrr(judged: Judged, k: int) -> Values:
    """1/rank of the first hit, 0 if that is beyond K."""
    return np.where(judged.first <= k, 1 / judged.first, 0.0)


def average_precision(judged: Judged, k: int) -> Values:
    """Sum of the precision at each hit among K, divided by the most hits that K answers could hold, min(n, K)."""
    return judged.summed_precision[:, min(k, judged.top_k)] / np.minimum(judged.positives, k)


def r_precision(judged: Judged, _: int) -> Values:
    """Precision at K = n, a K of its own for each query; the ranking has to be deep enough."""
    rank = np.minimum(judged.positives, judged.top_k)
    return judged.counts[np.arange(len(rank)), rank] / judged.positives


@dataclass(frozen=True)
class Metric:
    """What a metric is, for whoever computes it and for whoever prints it."""

    name: str
    label: str
    formula: str
    function: Callable[[Judged, int], Values]
    at_k: bool = True
    higher_is_better: bool = True
    part: str = ""  # one of PARTS: of answers and positives, only those in this part of a gallery that has grown


METRICS: dict[str, Metric] = {  # and, once `own.load` has found them, those of the user
    metric.name: metric
    for metric in (
        Metric("precision", "Precision", "Σh/K", precision),
        Metric("precision_irgen", "Precision (IRGen's code)", "Σh/r if all n > 1 stand in r < K, else Σh/K",
               precision_irgen),
        Metric("hit_rate", "Hit rate (Recall@K)", "1 if any hit in K", hit_rate),
        Metric("recall", "Recall", "Σh/n", recall),
        Metric("mrr", "MRR", "1/rank of the first hit if ≤ K, else 0", mrr),
        Metric("map", "MAP", "mean of Σ(precision at each hit)/min(n, K)", average_precision),
        Metric("r_precision", "R-precision", "hits in the first n, divided by n", r_precision, at_k=False),
        Metric("precision_old", "Precision on old images", "Σh/K of the ranking without the images that were added",
               precision, part="old"),
        Metric("precision_new", "Precision on new images", "Σh/K of the ranking of the added images alone",
               precision, part="new"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """A metric at its K; `str(measure)` is the name that `parse` reads."""

    metric: Metric
    k: int = 0  # 0 for a metric without a K

    def __str__(self) -> str:
        return f"{self.metric.name}@{self.k}" if self.metric.at_k else self.metric.name

    def per_query(self, judged: Mapping[str, Judged]) -> Values:
        """Return what each query scored; a metric that gives anything but a number for each is a `ContractError`."""
        hits = judged[self.metric.part]
        values = np.asarray(self.metric.function(hits, self.k), np.float64)
        if values.shape != hits.positives.shape or not np.isfinite(values).all():
            raise ContractError(
                f"metric '{self}' has to give a finite number for each of {len(hits.positives)} queries"
            )
        return values


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What of a ranking is scored: all that the names of its metrics, and the reasons for having none, depend on."""

    ks: tuple[int, ...]
    top_k: int  # to which rankings are kept
    gallery: int  # images
    incremental: bool  # was a part of the gallery added after training?

    @classmethod
    def of(cls, benchmark: Benchmark) -> "Scope":
        """Return the scope of rankings of a benchmark."""
        return cls(
            ks=benchmark.ks,
            top_k=benchmark.top_k,
            gallery=len(benchmark.gallery),
            incremental=benchmark.incremental > 0,
        )


def parse(name: str) -> Measure:
    """Read "precision@10" or "r_precision"."""
    base, at, k = name.partition("@")
    if base not in METRICS:
        raise UsageError(f"unknown metric '{name}'{nearest(base, METRICS)} (irbench list metrics)")
    metric = METRICS[base]
    if not metric.at_k:
        if at:
            raise UsageError(f"metric '{name}': {base} has no K; write '{base}'")
        return Measure(metric)
    if not (k.isascii() and k.isdigit() and int(k) > 0):
        raise UsageError(f"metric '{name}': {base} needs a number of answers, such as '{base}@10'")
    return Measure(metric, int(k))


def names(scope: Scope | Benchmark) -> list[str]:
    """Return every metric that a ranking of this scope is scored with."""
    ks = [k for k in scope.ks if k <= scope.top_k]
    apply = [metric for metric in METRICS.values() if scope.incremental or not metric.part]
    measures = [Measure(metric, k) for metric in apply if metric.at_k for k in ks]
    if scope.top_k >= 100 and 100 not in ks:
        measures.append(Measure(METRICS["map"], 100))
    return [str(measure) for measure in (*measures, *(Measure(metric) for metric in apply if not metric.at_k))]


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores:
    """What each query scored. A metric stands either in `values` or, with the reason, in `unscored`.

    The values of a metric of a part of the gallery are those of the queries that have a right answer there.
    """

    values: Mapping[str, Values]
    unscored: Mapping[str, str]
    queries: NDArray[np.int64]  # [Q'] rows of the queries that were scored
    left_out: int  # queries without a right answer in the gallery

    @cached_property
    def means(self) -> Mapping[str, float]:
        """The mean of each metric over the scored queries."""
        return {name: float(values.mean()) for name, values in self.values.items()}


def score(ranking: Ranking, benchmark: Benchmark, names: Sequence[str]) -> Scores:
    """Score a ranking from which each query's own photograph has been removed already."""
    measures = {name: parse(name) for name in names}
    judged = judgements(ranking, benchmark, {measure.metric.part for measure in measures.values()})
    values, unscored = score_judged(judged, names, Scope.of(benchmark))
    return Scores(
        values=values,
        unscored=unscored,
        queries=np.flatnonzero(benchmark.positives),
        left_out=int((benchmark.positives == 0).sum()),
    )


def score_judged(
    judged: Mapping[str, Judged], names: Sequence[str], scope: Scope
) -> tuple[dict[str, Values], dict[str, str]]:
    """Return what each query scored by the metrics that can be computed, and for the others the reasons why not."""
    measures = {name: parse(name) for name in names}
    reasons = {name: _why_not(measure, judged[measure.metric.part], scope) for name, measure in measures.items()}
    values = {name: measure.per_query(judged) for name, measure in measures.items() if not reasons[name]}
    return values, {name: reason for name, reason in reasons.items() if reason}


def judgements(ranking: Ranking, benchmark: Benchmark, parts: Collection[str] | None = None) -> dict[str, Judged]:
    """Mark the answers as right or wrong in the whole gallery (""), and in `parts`, both of one that grew."""
    _check(ranking, benchmark)
    if parts is None:
        parts = PARTS if benchmark.incremental else ()
    whole = judge(ranking, benchmark, np.flatnonzero(benchmark.positives))
    return {"": whole} | {part: _judge_part(ranking, benchmark, part) for part in set(parts) - {""}}


def per_query(judged: Mapping[str, Judged], name: str) -> Values:
    """Return what each query scored by metric `name`, from its answers as `judgements` marked them."""
    return parse(name).per_query(judged)


def judge(ranking: Ranking, benchmark: Benchmark, queries: NDArray[np.int64]) -> Judged:
    """Mark the answers to the chosen queries as right or wrong."""
    rows, wanted = ranking.rows, benchmark.queries.labels
    positives = benchmark.positives
    if len(queries) < len(rows):
        rows, wanted, positives = rows[queries], wanted[queries], positives[queries]
    labels = np.append(benchmark.gallery.labels, -1).astype(np.int32)  # row -1, a missing answer, is of no class
    return Judged(labels[rows] == wanted[:, None].astype(np.int32), positives)


def _judge_part(ranking: Ranking, benchmark: Benchmark, part: str) -> Judged:
    """Mark the answers that lie in one part of the gallery; the others are taken out, and what follows moves up."""
    kept = {"old": benchmark.old_rows, "new": benchmark.new_rows}[part]
    positives = benchmark.positives_among(kept)
    queries = np.flatnonzero(positives)
    rows = ranking.rows[queries]
    inside = (rows >= kept.start) & (rows < kept.stop)
    order = np.argsort(~inside, axis=1, kind="stable")
    rows = np.take_along_axis(np.where(inside, rows, MISSING), order, axis=1)
    labels = np.append(benchmark.gallery.labels, -1)
    return Judged(labels[rows] == benchmark.queries.labels[queries][:, None], positives[queries])


def _why_not(measure: Measure, judged: Judged, scope: Scope) -> str:
    if measure.metric.part and not scope.incremental:
        return "no image was added to the gallery"
    if not len(judged.positives):
        return "no query has a positive in the gallery"
    if not measure.metric.at_k and judged.top_k < min(judged.positives.max(), scope.gallery):
        return f"a query has {judged.positives.max()} positives but only {judged.top_k} answers were kept"
    if scope.top_k < min(measure.k, scope.gallery):
        return f"only {scope.top_k} results are kept for a query"
    return ""


def _check(ranking: Ranking, benchmark: Benchmark) -> None:
    if len(ranking) != len(benchmark.queries):
        raise ContractError(f"{len(benchmark.queries)} queries but {len(ranking)} of them answered")
    if ranking.rows.size and ranking.rows.max() >= len(benchmark.gallery):
        raise ContractError(f"answer {ranking.rows.max()} in a gallery of {len(benchmark.gallery)} images")
    own = benchmark.own_rows
    if own.max() >= 0 and ((ranking.rows == own[:, None]) & (own[:, None] >= 0)).any():
        raise ContractError("a query's own photograph is among its answers: remove it by identity before scoring")
