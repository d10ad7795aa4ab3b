"""Metrics of rankings, each precisely defined, for every query, over whole arrays.

h_i is 1 if a query's i-th result is relevant to it (a hit), and n is the number of such images in the gallery (its
positives), the query's own image not counted. Relevant are the images of its class, or what judgements tell: these may
have grades g_i, and name junk, which is removed from the ranking first. A missing result is a miss. A query with n = 0
cannot be scored: such queries are counted and left out. Shape letters: Q queries, Q' queries with n > 0, K ranking
depth.

The name of a metric is its specification: "precision@10", "map@100", "r_precision".

Where half of the gallery was added after training, there are metrics of the old and of the new images: results and
positives of the other half are removed from a query's ranking, as if they had never been in the gallery. A ranking has
the benchmark's depth; results beyond it are misses.

Where there are no labels, the K exact nearest neighbours of a query are relevant, another set for each K, and so are
results that are as near as the last of them. Recall@K, and precision@K, of these is the recall of ann-benchmarks.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark
from irbench.core.errors import ContractError, UsageError, nearest
from irbench.core.judgements import JUNK, Grades
from irbench.core.ranking import MISSING, Ranking

Values = NDArray[np.float64]  # [Q'] one number for each query with a positive
PARTS = ("old", "new")  # of an incremental gallery
NEAREST = "nearest"  # what the names of judgements begin with of which the K nearest neighbours are the positives
_OF_NEAREST = ("precision", "recall")  # the same where the K nearest are relevant, unless there are fewer than K
_AS_NEAR = 1e-5  # relative difference of squared distances that arithmetic in float32 may make
NEVER = np.iinfo(np.int64).max  # a rank beyond every K


@dataclass(frozen=True, eq=False)
class Judged:
    """The results of Q' queries, each with at least one positive, marked as hits or misses.

    What several metrics need is computed once, for all of them and for every K.
    """

    hits: NDArray[np.bool_]  # [Q',K]
    positives: NDArray[np.int64]  # [Q'] n
    classes: NDArray[np.int64] | None = None  # [Q'] of the queries; None where each counts as its own
    found: NDArray[np.int64] | None = None  # [Q'] results, K where there are no more to be had; None: not known
    grades: Grades | None = None  # [Q',K] of the results; None: 1 for each hit
    best: Grades | None = None  # [Q',T] the highest grades of positives, in descending order; None: 1 for each

    @property
    def top_k(self) -> int:
        """K, the depth of the ranking."""
        return self.hits.shape[1]

    @cached_property
    def counts(self) -> NDArray[np.int32]:
        """[Q',1+K] number of hits among the first 0, 1 … K results."""
        counts = np.zeros((len(self.hits), 1 + self.top_k), np.int32)
        np.cumsum(self.hits, axis=1, dtype=np.int32, out=counts[:, 1:])
        return counts

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """[Q'] rank of the first hit, counted from 1; NEVER where there is none."""
        return np.where(self.counts[:, -1] > 0, 1 + (self.counts[:, 1:] == 0).sum(axis=1), NEVER)

    @cached_property
    def last(self) -> NDArray[np.int64]:
        """[Q'] rank of the last of all n positives; NEVER where not all were retrieved."""
        complete = self.counts[:, -1] == self.positives
        return np.where(complete, 1 + (self.counts[:, 1:] < self.positives[:, None]).sum(axis=1), NEVER)

    @cached_property
    def summed_precision(self) -> Values:
        """[Q',1+K] sum of the precision at each hit among the first 0, 1 … K results."""
        summed = np.zeros((len(self.hits), 1 + self.top_k))
        at_hits = summed[:, 1:]
        np.multiply(self.counts[:, 1:], self.hits, out=at_hits)
        at_hits /= np.arange(1, 1 + self.top_k)
        return np.cumsum(summed, axis=1, out=summed)

    @cached_property
    def summed_trapezoids(self) -> Values:
        """[Q',1+K] sum of the mean of precision before and at each hit among the first 0, 1 … K results."""
        summed = np.zeros((len(self.hits), 1 + self.top_k))
        ranks = np.arange(1, 1 + self.top_k)
        before = np.ones(self.hits.shape)  # of no results
        before[:, 1:] = self.counts[:, 1:-1] / ranks[:-1]
        summed[:, 1:] = self.hits * (before + self.counts[:, 1:] / ranks) / 2
        return np.cumsum(summed, axis=1, out=summed)

    @cached_property
    def summed_gains(self) -> Values:
        """[Q',1+K] discounted cumulative gain of the first 0, 1 … K results."""
        return _discounted(self.hits if self.grades is None else self.grades)

    @cached_property
    def _summed_best_gains(self) -> Values:
        return _discounted(np.ones((1, int(self.positives.max(initial=0)))) if self.best is None else self.best)

    def best_gains(self, k: int) -> Values:
        """Return the largest discounted cumulative gain [Q'] that `k` results could have."""
        summed = self._summed_best_gains
        if self.best is None:
            return np.asarray(summed[0, np.minimum(self.positives, k)])
        return np.asarray(summed[:, min(k, self.best.shape[1])])

    def short(self, k: int) -> float | None:
        """Return the share of queries with fewer than `k` results, or than n where `k` is 0; None: not known."""
        if self.found is None:
            return None
        wanted = np.minimum(k or self.positives, self.top_k)
        return float((self.found < wanted).mean()) if len(self.found) else 0.0

    def hits_in(self, k: int) -> NDArray[np.int32]:
        """Return the number of hits [Q'] among the first `k` results."""
        return self.counts[:, min(k, self.top_k)]


def _discounted(gains: NDArray[np.generic]) -> Values:
    summed = np.zeros((len(gains), 1 + gains.shape[1]))
    np.multiply(gains, 1 / np.log2(np.arange(2, 2 + gains.shape[1])), out=summed[:, 1:])
    return np.cumsum(summed, axis=1, out=summed)


def precision(judged: Judged, k: int) -> Values:
    """Σh/K, as trec_eval's P_K."""
    return judged.hits_in(k) / k


def precision_irgen(judged: Judged, k: int) -> Values:
    """The precision of the published code (yakt00/IRGen:utils/evaluate.py:84-90), which may reduce K.

    Where all n > 1 positives are among the first r < K results it divides by r. A single positive is exempt there by
    accident (a comparison with an empty array), and so here.
    """
    shortened = (judged.positives > 1) & (judged.last < k)
    return judged.hits_in(k) / np.where(shortened, judged.last, k)


def hit_rate(judged: Judged, k: int) -> Values:
    """1 if any of the first K is a hit: named Recall@K in the metric-learning literature and in the paper's Table 2."""
    return (judged.first <= k).astype(np.float64)


def recall(judged: Judged, k: int) -> Values:
    """Σh/n, the true positive rate of the paper's Figure 3."""
    return judged.hits_in(k) / judged.positives


def mrr(judged: Judged, k: int) -> Values:
    """1/rank of the first hit, 0 if it is beyond K."""
    return np.where(judged.first <= k, 1 / judged.first, 0.0)


def average_precision(judged: Judged, k: int) -> Values:
    """Sum of the precision at each hit among K, divided by the largest possible number of hits, min(n, K)."""
    return judged.summed_precision[:, min(k, judged.top_k)] / np.minimum(judged.positives, k)


def average_precision_cut(judged: Judged, k: int) -> Values:
    """Sum of the precision at each hit among K, divided by n: trec_eval's map_cut_K, and its map where K is N."""
    return judged.summed_precision[:, min(k, judged.top_k)] / judged.positives


def average_precision_trapezoid(judged: Judged, k: int) -> Values:
    """The area under precision over recall by the trapezoidal rule, up to K: the AP of Oxford and Paris.

    As in compute_ap.cpp of the Oxford Buildings and filipradenovic/revisitop:python/evaluate.py.
    """
    return judged.summed_trapezoids[:, min(k, judged.top_k)] / judged.positives


def ndcg(judged: Judged, k: int) -> Values:
    """Σ g_i/log2(i + 1) over K results, divided by the largest possible sum: Järvelin and Kekäläinen (2002).

    Gains are grades, as in trec_eval, not 2^g - 1.
    """
    return judged.summed_gains[:, min(k, judged.top_k)] / judged.best_gains(k)


def r_precision(judged: Judged, _: int) -> Values:
    """Precision at K = n, which differs between queries; the ranking has to be deep enough."""
    rank = np.minimum(judged.positives, judged.top_k)
    return judged.counts[np.arange(len(rank)), rank] / judged.positives


@dataclass(frozen=True)
class Metric:
    """The definition of a metric and how it is displayed."""

    name: str
    label: str
    formula: str
    function: Callable[[Judged, int], Values]
    at_k: bool = True
    higher_is_better: bool = True
    part: str = ""  # one of PARTS: only results and positives in this part of an incremental gallery count
    of_judgements: bool = False  # is it computed unasked only where relevance is judged image by image?


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
        Metric("map_cut", "MAP (cut)", "mean of Σ(precision at each hit)/n", average_precision_cut, of_judgements=True),
        Metric("map_trapezoid", "MAP (trapezoidal)", "mean of Σ(mean precision before and at each hit)/n",
               average_precision_trapezoid, of_judgements=True),
        Metric("ndcg", "nDCG", "Σ g_i/log2(i + 1) of K results, over that of the best ranking; g: grade", ndcg),
        Metric("r_precision", "R-precision", "hits in the first n, divided by n", r_precision, at_k=False),
        Metric("precision_old", "Precision on old images", "Σh/K of the ranking without the images that were added",
               precision, part="old"),
        Metric("precision_new", "Precision on new images", "Σh/K of the ranking of the added images alone",
               precision, part="new"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """A metric at a K; `str(measure)` is the name that `parse` reads."""

    metric: Metric
    k: int = 0  # 0 for a metric without a K

    def __str__(self) -> str:
        return f"{self.metric.name}@{self.k}" if self.metric.at_k else self.metric.name

    def of(self, judged: Mapping[str, Judged]) -> Judged:
        """Return what the metric is computed from: its part of the gallery, or the judgement by K neighbours."""
        return judged.get(f"{NEAREST}{self.k}", judged[self.metric.part])

    def per_query(self, judged: Mapping[str, Judged]) -> Values:
        """Return what each query scored; a metric that gives anything but a number for each is a `ContractError`."""
        hits = self.of(judged)
        values = np.asarray(self.metric.function(hits, self.k), np.float64)
        if values.shape != hits.positives.shape or not np.isfinite(values).all():
            raise ContractError(
                f"metric '{self}' has to give a finite number for each of {len(hits.positives)} queries",
                code="bad-metric",
            )
        return values


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What of a ranking is scored: all that the names of its metrics, and the reasons for having none, depend on."""

    ks: tuple[int, ...]
    top_k: int  # to which rankings are stored
    gallery: int  # images
    incremental: bool  # was a part of the gallery added after training?
    nearest: bool = False  # are exact neighbours relevant, for want of labels?
    judged: bool = False  # was it judged image by image what is relevant?

    @classmethod
    def of(cls, benchmark: Benchmark) -> "Scope":
        """Return the scope of rankings of a benchmark."""
        return cls(
            ks=benchmark.ks,
            top_k=benchmark.top_k,
            gallery=len(benchmark.gallery),
            incremental=benchmark.incremental > 0,
            nearest=benchmark.nearest is not None,
            judged=benchmark.judgements is not None,
        )


def parse(name: str) -> Measure:
    """Return the measure named "precision@10" or "r_precision"; `UsageError` if there is none."""
    base, at, k = name.partition("@")
    if base not in METRICS:
        raise UsageError(
            f"unknown metric '{name}'{nearest(base, METRICS)} (irbench list metrics)", code="unknown-metric"
        )
    metric = METRICS[base]
    if not metric.at_k:
        if at:
            raise UsageError(f"metric '{name}': {base} has no K; use '{base}'", code="bad-metric-name")
        return Measure(metric)
    if not (k.isascii() and k.isdigit() and int(k) > 0):
        raise UsageError(f"metric '{name}': {base} needs a K, such as '{base}@10'", code="bad-metric-name")
    return Measure(metric, int(k))


def names(scope: Scope | Benchmark) -> list[str]:
    """Return every metric that a ranking of this scope is scored with."""
    scope = scope if isinstance(scope, Scope) else Scope.of(scope)
    ks = [k for k in scope.ks if k <= scope.top_k]
    if scope.nearest:
        return [str(Measure(METRICS[name], k)) for name in _OF_NEAREST for k in ks]
    apply = [
        metric
        for metric in METRICS.values()
        if (scope.incremental or not metric.part) and (scope.judged or not metric.of_judgements)
    ]
    measures = [Measure(metric, k) for metric in apply if metric.at_k for k in ks]
    if scope.top_k >= 100 and 100 not in ks:
        measures.append(Measure(METRICS["map"], 100))
    return [str(measure) for measure in (*measures, *(Measure(metric) for metric in apply if not metric.at_k))]


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores:
    """The scores of each query. A metric is either in `values` or, with the reason, in `unscored`.

    The values of a metric of one part of the gallery are those of the queries with a positive there.
    """

    values: Mapping[str, Values]
    unscored: Mapping[str, str]
    queries: NDArray[np.int64]  # [Q'] rows of the scored queries
    left_out: int  # queries without a positive in the gallery

    @cached_property
    def means(self) -> Mapping[str, float]:
        """The mean of each metric over the scored queries."""
        return {name: float(values.mean()) for name, values in self.values.items()}


def score(ranking: Ranking, benchmark: Benchmark, names: Sequence[str]) -> Scores:
    """Score a ranking from which each query's own image has been removed; `ContractError` if it is still there."""
    measures = {name: parse(name) for name in names}
    parts, ks = {measure.metric.part for measure in measures.values()}, {measure.k for measure in measures.values()}
    judged = judgements(ranking, benchmark, parts, ks)
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
    reasons = {name: _why_not(measure, measure.of(judged), scope) for name, measure in measures.items()}
    values = {name: measure.per_query(judged) for name, measure in measures.items() if not reasons[name]}
    return values, {name: reason for name, reason in reasons.items() if reason}


def judgements(
    ranking: Ranking, benchmark: Benchmark, parts: Collection[str] | None = None, ks: Collection[int] = ()
) -> dict[str, Judged]:
    """Return the hits in the whole gallery ("") and in `parts`, by default both parts of an incremental one.

    Where neighbours are relevant, return the hits among the K nearest for each of `ks`, by default the benchmark's, and
    as those in the whole gallery the hits among as many as there are results.
    """
    _check(ranking, benchmark)
    if benchmark.nearest is not None:
        depths = {f"{NEAREST}{k}": k for k in ks or benchmark.ks if k} | {"": ranking.top_k}
        return {part: _judge_nearest(ranking, benchmark, benchmark.nearest, k) for part, k in depths.items()}
    if parts is None:
        parts = PARTS if benchmark.incremental else ()
    whole = judge(ranking, benchmark, np.flatnonzero(benchmark.positives))
    return {"": whole} | {part: _judge_part(ranking, benchmark, part) for part in set(parts) - {""}}


def per_query(judged: Mapping[str, Judged], name: str) -> Values:
    """Return what each query scored by metric `name`, from its results as `judgements` marked them."""
    return parse(name).per_query(judged)


def judge(ranking: Ranking, benchmark: Benchmark, queries: NDArray[np.int64], part: range | None = None) -> Judged:
    """Return the hits and positives of the chosen queries, in the whole gallery or a part of its rows.

    What is junk, or not of the part, is removed from the ranking.
    """
    relevance, gallery = benchmark.relevance, range(len(benchmark.gallery))
    part = gallery if part is None else part
    rows = ranking.rows if len(queries) == len(ranking) else ranking.rows[queries]
    grades, found, junk = relevance.grades(queries, rows), (rows != MISSING).sum(axis=1), relevance.junk[queries]
    is_complete = found >= min(ranking.top_k, len(gallery) - 1)  # as many as there may be, of both parts
    if part != gallery or junk.any():
        left = (grades != JUNK) & (rows >= part.start) & (rows < part.stop)
        order = np.argsort(~left, axis=1, kind="stable")
        grades = np.take_along_axis(np.where(left, grades, 0).astype(np.int8), order, axis=1)
        found = left.sum(axis=1)
    if part == gallery:
        is_complete = found >= len(gallery) - (benchmark.own_rows[queries] >= 0) - junk
    return Judged(
        hits=grades > 0,
        positives=benchmark.positives_among(part)[queries],
        classes=benchmark.queries.labels[queries] if benchmark.judgements is None else None,
        found=np.where(is_complete, grades.shape[1], found),
        grades=grades.astype(np.int8, copy=False) if relevance.graded else None,
        best=_best(benchmark, queries, part) if relevance.graded else None,
    )


def _best(benchmark: Benchmark, queries: NDArray[np.int64], part: range) -> Grades:
    """Return the highest grades [Q',T] of each query's positives in a part of the gallery, in descending order."""
    best = np.zeros((len(queries), benchmark.top_k), np.int8)
    for place, query in enumerate(queries.tolist()):
        rows, grades = benchmark.relevance.of_query(query)
        counted = (grades > 0) & (rows != benchmark.own_rows[query]) & (rows >= part.start) & (rows < part.stop)
        highest = np.sort(grades[counted])[::-1][: benchmark.top_k]
        best[place, : len(highest)] = highest
    return best


def _judge_part(ranking: Ranking, benchmark: Benchmark, part: str) -> Judged:
    """Return the hits and positives in one part of the gallery of the queries that have positives there."""
    rows = {"old": benchmark.old_rows, "new": benchmark.new_rows}[part]
    return judge(ranking, benchmark, np.flatnonzero(benchmark.positives_among(rows)), rows)


def _judge_nearest(ranking: Ranking, benchmark: Benchmark, nearest: Ranking, k: int) -> Judged:
    """Return the hits among the first `k` results: those no farther than the query's `k` nearest neighbours."""
    rows, queries = ranking.rows[:, :k], np.arange(len(ranking))
    positives = np.minimum(k, (nearest.rows != MISSING).sum(axis=1))
    last = nearest.scores[queries, np.maximum(positives, 1) - 1] * (1 + _AS_NEAR)  # scores are negative
    near = (nearest.scores >= last[:, None]) & (nearest.rows != MISSING)
    keys = queries[:, None] * len(benchmark.gallery)  # a row of one query's is another number than that of another's
    hits = np.isin(rows + keys, (nearest.rows + keys)[near]) & (rows != MISSING)
    found = (rows != MISSING).sum(axis=1)
    complete = (ranking.rows != MISSING).sum(axis=1) >= len(benchmark.gallery) - (benchmark.own_rows >= 0)
    return Judged(hits, positives, None, np.where(complete, rows.shape[1], found))


def _why_not(measure: Measure, judged: Judged, scope: Scope) -> str:
    if scope.nearest and measure.metric.name not in _OF_NEAREST:
        return "there are no labels, only recall of exact neighbours"
    if measure.metric.part and not scope.incremental:
        return "no image was added to the gallery"
    if not len(judged.positives):
        return "no query has a positive in the gallery"
    if not measure.metric.at_k and judged.top_k < min(judged.positives.max(), scope.gallery):
        return f"a query has {judged.positives.max()} positives but only {judged.top_k} results are stored"
    if scope.top_k < min(measure.k, scope.gallery):
        return f"only {scope.top_k} results are stored for a query"
    return ""


def _check(ranking: Ranking, benchmark: Benchmark) -> None:
    if len(ranking) != len(benchmark.queries):
        raise ContractError(
            f"a ranking of {len(ranking)} queries for a benchmark of {len(benchmark.queries)}", code="wrong-shape"
        )
    if ranking.rows.size and ranking.rows.max() >= len(benchmark.gallery):
        raise ContractError(
            f"row {ranking.rows.max()} in a ranking of a gallery of {len(benchmark.gallery)} images", code="no-such-row"
        )
    own = benchmark.own_rows
    if own.max() >= 0 and ((ranking.rows == own[:, None]) & (own[:, None] >= 0)).any():
        raise ContractError(
            "a query's own image is among its results: remove it by its id before scoring", code="query-in-results"
        )
