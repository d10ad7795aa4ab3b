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


def spread(values: NDArray[np.floating[Any]], classes: NDArray[np.integer[Any]] | None) -> Spread | None:
    """Return mean and variance of `values` [..,S,Q]; None where there are fewer than two queries.

    `classes` [Q] are those of the queries; where it is None, or all are the same, each query counts as its own.
    """
    seeds, queries = values.shape[-2:]
    if queries < 2:
        return None
    groups = np.arange(queries) if classes is None else np.unique(classes, return_inverse=True)[1]
    if groups.max() == 0:
        groups = np.arange(queries)
    count = int(groups.max()) + 1
    mean = values.mean(axis=(-1, -2))
    # [..,S,G] what each class adds to the mean, times G: around 0, and the class's own mean where all are of one size
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(count))
    centred = values[..., order] - mean[..., None, None]
    deviations = np.add.reduceat(centred, starts, axis=-1) * (count / queries)
    by_class, by_seed = deviations.mean(axis=-2), deviations.mean(axis=-1)
    class_square = seeds * (by_class**2).sum(axis=-1) / (count - 1)
    seed_square = np.zeros_like(class_square)
    if seeds > 1:
        rest = deviations - by_class[..., None, :] - by_seed[..., :, None]
        freedom = (count - 1) * (seeds - 1)
        by_chance = fdtri(seeds - 1, freedom, 0.5) * (rest**2).sum(axis=(-1, -2)) / freedom  # the median without effect
        seed_square = np.maximum(count * (by_seed**2).sum(axis=-1) / (seeds - 1) - by_chance, 0)
    cells = count * seeds
    return Spread(mean, class_square / cells, seed_square / cells, count, seeds)


def interval(
    values: NDArray[np.floating[Any]], classes: NDArray[np.integer[Any]] | None = None, *, level: float = 0.95
) -> tuple[float, float] | None:
    """Return the confidence interval of the mean of `values` [S,Q], or [Q] of one seed, over classes and seeds.

    Scores between 0 and 1 have Wilson's interval, which stays between these and has a width even where no query failed;
    other scores have a symmetric one. None where there are fewer than two queries.
    """
    values = np.atleast_2d(np.asarray(values, np.float64))
    found = spread(values, classes)
    if found is None:
        return None
    mean, variance = float(found.mean), float(found.variance)
    squared = float(found.half_width_squared((1 + level) / 2))
    if values.min() < 0 or values.max() > 1:
        return mean - squared**0.5, mean + squared**0.5
    if variance == 0:
        if 0 < mean < 1:  # nothing varies, and nothing tells by how much it could
            return mean, mean
        quantile = float(stdtrit(found.classes - 1, (1 + level) / 2)) ** 2
        return _wilson(mean, quantile / values.shape[1], 0.0)
    # half-widths are z·sqrt(p(1-p)/n) for an effective n and the z that both variances together amount to
    return _wilson(mean, squared / (mean * (1 - mean)), squared)


def _wilson(mean: float, z2_over_n: float, squared: float) -> tuple[float, float]:
    """Return Wilson's interval for z²/n, where `squared` is z²·p(1-p)/n."""
    middle = mean + z2_over_n / 2
    half = (squared + z2_over_n**2 / 4) ** 0.5
    low, high = ((middle + sign * half) / (1 + z2_over_n) for sign in (-1, 1))
    return (0.0 if mean == 0 else low), (1.0 if mean == 1 else high)


def p_value(differences: NDArray[np.floating[Any]], classes: NDArray[np.integer[Any]] | None) -> Floats:
    """Return two-sided p-values that mean differences [..,S,Q] are 0, over classes and seeds.

    Those of a t test with Satterthwaite's degrees of freedom, and at least 0.05 where the 95 % interval holds 0: with
    few seeds that test alone calls too many differences significant. Corrections for many tests need small p-values,
    which the intervals of two or three seeds could never give.
    """
    found = spread(differences, classes)
    if found is None:
        return np.ones(differences.shape[:-2])
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(found.freedom, -np.abs(found.mean) / np.sqrt(found.variance))
    p = np.where(found.mean == 0, 1.0, np.where(found.variance == 0, 0.0, p))
    return np.where(found.half_width_squared(0.975) >= found.mean**2, np.maximum(p, 0.05), p)
