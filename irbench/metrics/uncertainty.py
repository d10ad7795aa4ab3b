"""The uncertainty of a mean over queries, where queries of one class resemble each other and networks differ by seed.

A score has two sources of chance beside the query itself: which classes were asked about and which seed the network
was trained with. Their variances are those of a two-way layout of classes and seeds (Searle, Casella and McCulloch,
Variance Components, 1992), in closed form what resampling whole classes with replacement estimates. Each variance
counts with the t quantile of its own degrees of freedom, much as in Cochran's approximation for two unequal variances.
Near 0 and 1 the interval is Wilson's for the effective number of queries (Dean and Pagano, Evaluating
confidence interval methods for binomial proportions in clustered surveys, 2015). `scripts/intervals.py` shows how
often such intervals cover known truths; docs/metrics.md has its table.

Shape letters: Q queries, S seeds, G classes; any leading axes are those of independent problems.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtri, stdtr, stdtrit

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Spread:
    """The mean over queries and seeds, and the two parts of its variance; arrays of one shape, that of the problems."""

    mean: Floats
    of_classes: Floats  # variance of the mean by the choice of classes
    of_seeds: Floats  # variance of the mean by the choice of seeds; 0 where there is one seed
    classes: int
    seeds: int

    @property
    def variance(self) -> Floats:
        """Both parts together."""
        return self.of_classes + self.of_seeds

    @property
    def freedom(self) -> Floats:
        """Satterthwaite's degrees of freedom of the variance."""
        by_class = self.of_classes**2 / (self.classes - 1)
        by_seed = self.of_seeds**2 / (self.seeds - 1) if self.seeds > 1 else 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.variance > 0, self.variance**2 / (by_class + by_seed), np.inf)

    def half_width_squared(self, tail: Floats | float) -> Floats:
        """Return the squared half-width of the interval that leaves this probability out on each side."""
        by_classes = stdtrit(self.classes - 1, tail) ** 2 * self.of_classes
        if self.seeds == 1:
            return np.asarray(by_classes)
        return np.asarray(by_classes + stdtrit(self.seeds - 1, tail) ** 2 * self.of_seeds)


@dataclass(frozen=True, eq=False)
class ByClass:
    """Scores by class of query. Both arrays are linear in the scores, so that those of differences are differences."""

    mean: Floats  # [..]
    deviations: (
        Floats  # [..,S,G] what each class adds to the mean, times G: around 0; of classes of one size their means
    )

    def __sub__(self, other: "ByClass") -> "ByClass":
        return ByClass(self.mean - other.mean, self.deviations - other.deviations)

    def at(self, row: int) -> "ByClass":
        """Return one of the last of the leading axes, which stays with length 1."""
        return ByClass(self.mean[..., row : row + 1], self.deviations[..., row : row + 1, :, :])


def by_class(values: NDArray[np.floating[Any]], classes: NDArray[np.integer[Any]] | None) -> ByClass | None:
    """Return scores [..,S,Q] by class; None where there are fewer than two queries.

    `classes` [Q] are those of the queries; where it is None, or all are the same, each query counts as its own.
    """
    queries = values.shape[-1]
    if queries < 2:
        return None
    groups = np.arange(queries) if classes is None else np.unique(classes, return_inverse=True)[1]
    if groups.max() == 0:
        groups = np.arange(queries)
    count = int(groups.max()) + 1
    mean = values.mean(axis=(-1, -2))
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(count))
    centred = values[..., order] - mean[..., None, None]
    return ByClass(mean, np.add.reduceat(centred, starts, axis=-1) * (count / queries))


def spread(scores: ByClass) -> Spread:
    """Return the mean of scores, and its variance by classes and by seeds."""
    deviations = scores.deviations
    seeds, count = deviations.shape[-2:]
    by_class, by_seed = deviations.mean(axis=-2), deviations.mean(axis=-1)
    class_square = seeds * (by_class**2).sum(axis=-1) / (count - 1)
    seed_square = np.zeros_like(class_square)
    if seeds > 1:
        rest = deviations - by_class[..., None, :] - by_seed[..., :, None]
        freedom = (count - 1) * (seeds - 1)
        by_chance = fdtri(seeds - 1, freedom, 0.5) * (rest**2).sum(axis=(-1, -2)) / freedom  # the median without effect
        seed_square = np.maximum(count * (by_seed**2).sum(axis=-1) / (seeds - 1) - by_chance, 0)
    cells = count * seeds
    return Spread(scores.mean, class_square / cells, seed_square / cells, count, seeds)


def interval(
    values: NDArray[np.floating[Any]], classes: NDArray[np.integer[Any]] | None = None, *, level: float = 0.95
) -> tuple[float, float] | None:
    """Return the confidence interval of the mean of `values` [S,Q], or [Q] of one seed, over classes and seeds.

    Scores between 0 and 1 have Wilson's interval, which stays between these and has a width even where no query failed;
    other scores have a symmetric one. None where there are fewer than two queries.
    """
    values = np.atleast_2d(np.asarray(values, np.float64))
    found = intervals(values, classes, level=level)
    return None if found is None else (float(found[0]), float(found[1]))


def intervals(
    values: NDArray[np.floating[Any]], classes: NDArray[np.integer[Any]] | None = None, *, level: float = 0.95
) -> tuple[Floats, Floats] | None:
    """Return the bounds [..] of the `interval` of each of many means, of `values` [..,S,Q]."""
    scores = by_class(values, classes)
    if scores is None:
        return None
    found = spread(scores)
    mean, squared = found.mean, found.half_width_squared((1 + level) / 2)
    # half-widths are z·sqrt(p(1-p)/n) for an effective n and the z that both variances together amount to
    of_one = stdtrit(found.classes - 1, (1 + level) / 2) ** 2 / values.shape[-1]  # where all queries agree, n is Q
    with np.errstate(divide="ignore", invalid="ignore"):
        z2_over_n = np.where(found.variance > 0, squared / (mean * (1 - mean)), of_one)
        wilson = _wilson(mean, z2_over_n, np.where(found.variance > 0, squared, 0.0))
    plain = (mean - squared**0.5, mean + squared**0.5)
    is_share = (values.min(axis=(-1, -2)) >= 0) & (values.max(axis=(-1, -2)) <= 1)
    # where nothing varies between 0 and 1, nothing tells by how much it could
    is_fixed = ~is_share | ((found.variance == 0) & (mean > 0) & (mean < 1))
    low, high = (np.where(is_fixed, one, other) for one, other in zip(plain, wilson, strict=True))
    return low, high


def _wilson(mean: Floats, z2_over_n: Floats, squared: Floats) -> tuple[Floats, Floats]:
    """Return Wilson's interval for z²/n, where `squared` is z²·p(1-p)/n."""
    middle = mean + z2_over_n / 2
    half = (squared + z2_over_n**2 / 4) ** 0.5
    low, high = ((middle + sign * half) / (1 + z2_over_n) for sign in (-1, 1))
    return np.where(mean == 0, 0.0, low), np.where(mean == 1, 1.0, high)


def p_value(differences: NDArray[np.floating[Any]], classes: NDArray[np.integer[Any]] | None) -> Floats:
    """Return two-sided p-values that mean differences [..,S,Q] are 0, over classes and seeds.

    Those of a t test with Satterthwaite's degrees of freedom, and at least 0.05 where the 95 % interval holds 0: with
    few seeds that test alone calls too many differences significant. Corrections for many tests need small p-values,
    which the intervals of two or three seeds could never give.
    """
    scores = by_class(differences, classes)
    return np.ones(differences.shape[:-2]) if scores is None else p_value_of(scores)


def p_value_of(differences: ByClass) -> Floats:
    """Return `p_value` of differences by class."""
    found = spread(differences)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(found.freedom, -np.abs(found.mean) / np.sqrt(found.variance))
    p = np.where(found.mean == 0, 1.0, np.where(found.variance == 0, 0.0, p))
    return np.where(found.half_width_squared(0.975) >= found.mean**2, np.maximum(p, 0.05), p)
