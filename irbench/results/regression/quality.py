"""Quality before and after, tested on the scores of single queries."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import numpy as np

from irbench.core.errors import StoreError
from irbench.metrics import retrieval
from irbench.metrics.retrieval import Judged, Values
from irbench.metrics.significance import holm, randomised
from irbench.results.artefacts import Artefacts
from irbench.results.regression.limits import Limits, Verdict, judge
from irbench.results.regression.pairs import Pair, data_of
from irbench.results.schema import Result

_WIDE = 3  # standard deviations between draws of one network that are still chance
_TRAINED_S = 0.1  # seconds of training from which on a cell is taken to have trained something
_ASSUMED = 0.005  # deviation over seeds of what is trained, at least: digits has 0.0001 to 0.007

_Judged = Mapping[str, Judged]


@dataclass(frozen=True, eq=False, kw_only=True)
class Movement:
    """A metric before and after, means over queries and shared seeds, without a verdict yet."""

    metric: str
    before: float
    after: float
    by_draw: float  # how far another draw of the network may move it
    differences: Values | None  # [Q'] after - before, the seeds averaged; None where single queries are not known
    changed: float = 1.0  # share of the queries whose hits are at other ranks
    apart: bool = False  # the two intervals are disjoint: for where single queries are not known

    @property
    def differs(self) -> bool:
        """Does the score of any query differ?"""
        return self.differences is not None and bool(self.differences.any())


@dataclass(frozen=True, kw_only=True)
class Change:
    """A metric before and after, and the verdict."""

    metric: str
    before: float
    after: float
    verdict: Verdict
    # None where single queries are not known
    p: float | None = None  # corrected for all tests
    p_alone: float | None = None  # of this test
    worse: int | None = None  # queries
    better: int | None = None
    of: int | None = None
    least: float | None = None  # the smallest drop that this test would call one; None also where it would call none so


def movements(pair: Pair, before: Artefacts, after: Artefacts) -> tuple[list[Movement], list[str]]:
    """Return how the metrics of a cell moved, and a note where they could not be compared query by query."""
    still = _unmoved(pair, before)
    if still is not None:
        return still, []
    try:
        old = [before.judged(pair.before[seed]) for seed in pair.seeds]
        # what was answered again to the bit is not read and scored a second time
        same = [_is_same(pair, seed) for seed in pair.seeds]
        new = [
            judged if is_same else after.judged(pair.after[seed])
            for seed, judged, is_same in zip(pair.seeds, old, same, strict=True)
        ]
    except StoreError as error:
        return _by_intervals(pair), [f"compared by means and intervals only: {error}"]
    names = _names(pair.both(), min(judged[""].top_k for judged in (*old, *new)))
    return [_by_queries(pair, before, name, old, new) for name in names], []


def _is_same(pair: Pair, seed: int) -> bool:
    """Has a seed the same hits as before?"""
    return pair.before[seed].hits == pair.after[seed].hits is not None


def _unmoved(pair: Pair, artefacts: Artefacts) -> list[Movement] | None:
    """Return the metrics of a cell that was answered again to the bit, by its stored means; no query is scored again.

    None where a seed's hits are others or damaged, or the two sides do not have the same mean of a metric.
    """
    if not all(_is_same(pair, seed) for seed in pair.seeds):
        return None
    try:
        shapes = [artefacts.hits.shapes(result) for result, _ in pair.both()]
    except StoreError:
        return None
    names = _names(pair.both(), min(shape[""][1] for shape in shapes))
    old, new = ([[_mean(one, name) for name in names] for one in side] for side in zip(*pair.both(), strict=True))
    if old != new:
        return None
    still = [_still(name, means, shapes[0]) for name, means in zip(names, zip(*old, strict=True), strict=True)]
    return [movement for movement in still if movement] if all(still) else None


def _still(name: str, means: Sequence[float | None], shapes: Mapping[str, tuple[int, int]]) -> Movement | None:
    """Return a metric that did not move, by its means over the seeds; None where one is not known."""
    known = [mean for mean in means if mean is not None]
    if len(known) < len(means):
        return None
    measure = retrieval.parse(name)
    queries, _ = shapes.get(f"{retrieval.NEAREST}{measure.k}", shapes[measure.metric.part])
    mean = fmean(known)
    return Movement(metric=name, before=mean, after=mean, by_draw=0.0, differences=np.zeros(queries), changed=0.0)


def changes(moved: Sequence[Sequence[Movement]], limits: Limits) -> list[list[Change]]:
    """Return the verdicts on the movements of all cells, corrected for the number of tests.

    Where the score of no query differs there is nothing to test: p is 1 and takes no part in the correction.
    """
    tests = [movement for cell in moved for movement in cell if movement.differs]
    # so many signs that the smallest p of a test can still pass when it is multiplied by the number of tests
    resamples = max(9999, math.ceil(4 * len(tests) / limits.alpha))
    p = [randomised(m.differences, resamples=resamples) for m in tests if m.differences is not None]
    alone, corrected = (dict(zip(map(id, tests), values, strict=True)) for values in (p, holm(p)))

    def change(movement: Movement) -> Change:
        p_values = alone.get(id(movement), 1.0), corrected.get(id(movement), 1.0)
        return _change(movement, p_values, len(tests), limits)

    return [[change(movement) for movement in cell] for cell in moved]


def _change(movement: Movement, p_values: tuple[float, float], tests: int, limits: Limits) -> Change:
    """Return the verdict on a movement, of `p_values` alone and corrected for the number of tests."""
    move = movement.after - movement.before
    matters = move != 0 and abs(move) >= max(limits.floor, movement.by_draw)
    plain = Change(metric=movement.metric, before=movement.before, after=movement.after, verdict="same")
    if movement.differences is None:
        return replace(plain, verdict=_verdict(move, matters=matters, counts=matters and movement.apart))
    worse, better = int((movement.differences < 0).sum()), int((movement.differences > 0).sum())
    alone, p = p_values
    of = len(movement.differences)
    net = (better - worse if move > 0 else worse - better) / max(1, of)
    counts = p <= limits.alpha and (matters or (movement.changed <= limits.few and net >= limits.net))
    verdict = _verdict(move, matters=matters, counts=counts)
    least = _least(movement, tests, limits)
    return replace(plain, verdict=verdict, p=p, p_alone=alone, worse=worse, better=better, of=of, least=least)


def _verdict(move: float, *, matters: bool, counts: bool) -> Verdict:
    return "undecided" if matters and not counts else judge(move, counts=counts)


def _least(movement: Movement, tests: int, limits: Limits) -> float | None:
    """Return the smallest drop that is called one, if none gains and each loses as much as those that changed here.

    Of k queries that all lose, the signs of all agree by chance in two of 2^k cases.
    """
    if movement.differences is None or not movement.differs:
        return None
    needed = math.ceil(1 + math.log2(max(1, tests) / limits.alpha))
    if needed > len(movement.differences):
        return None
    each = float(np.abs(movement.differences[movement.differences != 0]).mean())
    return max(limits.floor, movement.by_draw, needed * each / len(movement.differences))


def _by_queries(
    pair: Pair, artefacts: Artefacts, name: str, old: Sequence[_Judged], new: Sequence[_Judged]
) -> Movement:
    scores = [retrieval.per_query(judged, name) for judged in old]
    before = np.stack(scores)
    after = np.stack(
        [
            score if judged is same else retrieval.per_query(judged, name)
            for score, judged, same in zip(scores, new, old, strict=True)
        ]
    )
    means = dict(zip(pair.seeds, before.mean(axis=1).tolist(), strict=True))
    return Movement(
        metric=name,
        before=float(before.mean()),
        after=float(after.mean()),
        by_draw=_by_draw(
            pair,
            [means[one.seed] if one.seed in means else _mean(one, name, artefacts) for one in _stored(pair)],
        ),
        differences=(after - before).mean(axis=0),
        changed=fmean(0.0 if a is b else _changed(a[""], b[""]) for a, b in zip(old, new, strict=True)),
    )


def _by_intervals(pair: Pair) -> list[Movement]:
    """Compare means and intervals: all that is left where single queries are not known."""
    both = pair.both()
    known = [{n for n, estimate in result.metrics.items() if estimate.ci95} for one in both for result in one]
    depth = max((retrieval.parse(name).k for name in set.intersection(*known) if name.startswith("map@")), default=0)
    names = [name for name in _names(both, depth) if name in set.intersection(*known)]
    return [_by_interval(pair, name, *zip(*both, strict=True)) for name in names]


def _by_interval(pair: Pair, name: str, before: Sequence[Result], after: Sequence[Result]) -> Movement:
    old, new = (
        [fmean(values) for values in zip(*((e.mean or 0.0, *(e.ci95 or ())) for e in estimates), strict=True)]
        for estimates in ([result.metrics[name] for result in side] for side in (before, after))
    )  # [mean, low, high] each
    return Movement(
        metric=name,
        before=old[0],
        after=new[0],
        by_draw=_by_draw(pair, [_mean(result, name) for result in _stored(pair)]),
        differences=None,
        apart=new[2] < old[1] or old[2] < new[1],
    )


def _changed(old: Judged, new: Judged) -> float:
    depth = min(old.top_k, new.top_k)
    differs = (old.hits[:, :depth] != new.hits[:, :depth]).any(axis=1)
    return float(differs.mean())


def _names(both: Sequence[tuple[Result, Result]], depth: int) -> list[str]:
    """Return the metrics that are tested: the usual ones, and MAP, which depends on every result."""
    have = [
        {n for n, estimate in result.metrics.items() if estimate.mean is not None} for one in both for result in one
    ]
    ks = sorted(retrieval.parse(name).k for name in set.intersection(*have) if name.startswith("precision@"))
    parts = [f"precision_{part}@{ks[-1]}" for part in retrieval.PARTS if ks and both[0][0].dataset.incremental]
    return list(dict.fromkeys([*(f"precision@{k}" for k in (*ks[:1], *ks[-1:])), *parts, f"map@{depth}"]))


def _stored(pair: Pair) -> list[Result]:
    """Return the baseline's results of all seeds on the data that are compared."""
    data = data_of(pair.before[pair.seeds[0]])
    return [result for result in pair.before.values() if result.status == "ok" and data_of(result) == data]


def _mean(result: Result, name: str, artefacts: Artefacts | None = None) -> float | None:
    """Return a metric's mean from the result, or from its single queries where the result has none."""
    estimate = result.metrics.get(name)
    if estimate is not None or artefacts is None:
        return estimate.mean if estimate else None
    with suppress(StoreError):
        return float(retrieval.per_query(artefacts.judged(result), name).mean())
    return None


def _by_draw(pair: Pair, means: Sequence[float | None]) -> float:
    """Return how far the mean over the shared seeds may move when the network is trained again."""
    known = [mean for mean in means if mean is not None]
    trained = any((result.cost.train_s or 0) >= _TRAINED_S for result in pair.before.values())
    least = _ASSUMED if trained else 0.0  # also where three seeds agree by chance
    deviation = max(least, stdev(known)) if len(known) > 1 else least
    return _WIDE * deviation * math.sqrt(2 / len(pair.seeds))
