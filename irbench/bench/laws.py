"""How a cost grows with the gallery, as a law a + b N^c; what it predicts, and where two costs cross."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOGARITHMIC, ROOT, PROPORTIONAL = (0.0,), (0.5,), (1.0,)  # exponents of a law
ANY = (*LOGARITHMIC, *np.linspace(0.05, 1, 20).round(2).tolist())
_WEIGHT = 1.5  # the power of a size by which its relative error counts
_DRAWS = 400
_BETWEEN = (2.5, 97.5)  # percentiles of the draws: a 95 % interval
_STEPS = 200  # in a decade, where crossings are looked for

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Law:
    """A cost a + b N^c of a gallery of N images, with a, b >= 0 and c of 0 to 1.

    For c = 0 it is a + b ln N, which is not negative at the smallest size that it is fitted to.
    """

    constant: float
    slope: float
    exponent: float

    def __call__(self, sizes: Values) -> Values:
        """Return the cost at each size [S]."""
        return np.asarray(self.constant + self.slope * _grown(sizes, self.exponent))


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured:
    """Costs [S] at sizes [S] in ascending order, and the exponents of the laws that may describe them.

    `steady` costs follow their law at all sizes. Others jump where galleries no longer lie in the processor's caches:
    between the sizes they are interpolated, and a law whose exponent is known is one of large galleries.
    """

    sizes: Values
    costs: Values
    exponents: tuple[float, ...] = ANY
    steady: bool = False

    @property
    def weights(self) -> Values:
        """The weight of each size's relative error [S] in the law; they sum up to 1.

        They are equal, since every size tells an exponent; where it is known, large sizes weigh more.
        """
        equal = self.steady or len(self.exponents) > 1
        weights = np.ones_like(self.sizes) if equal else self.sizes**_WEIGHT
        return np.asarray(weights / weights.sum())

    @property
    def parameters(self) -> int:
        """How many numbers of a law are fitted."""
        return 2 + (len(self.exponents) > 1)

    def without_largest(self) -> "Measured":
        """Return all but the largest size."""
        return replace(self, sizes=self.sizes[:-1], costs=self.costs[:-1])


@dataclass(frozen=True, eq=False)
class Curve:
    """The cost at any size from the smallest on.

    Steady costs are those of the law. Others are interpolated between the sizes, and grow with the law beyond them.
    """

    measured: Measured
    law: Law

    def __call__(self, sizes: Values) -> Values:
        """Return the cost at each size [S]."""
        known = self.measured
        if known.steady:
            return self.law(sizes)
        within = np.exp(np.interp(np.log(sizes), np.log(known.sizes), np.log(known.costs)))
        growth = self.law(np.maximum(sizes, known.sizes[-1])) / self.law(known.sizes[-1:])  # 1 within
        return np.asarray(within * growth)


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """The size from which on one cost is above another, with a 95 % interval; None: at none that was looked at."""

    size: float | None
    low: float | None
    high: float | None


def fit(measured: Measured) -> Law:
    """Return the law with the least weighted sum of squared relative errors."""
    laws = [_fitted(measured, exponent) for exponent in measured.exponents]
    return min(laws, key=lambda law: _misfit(law, measured))


def _misfit(law: Law, measured: Measured) -> float:
    return float(measured.weights @ (law(measured.sizes) / measured.costs - 1) ** 2)


def _fitted(measured: Measured, exponent: float) -> Law:
    """Return the best law of one exponent: least squares in two unknowns, neither of them negative.

    A logarithm counts from the smallest size.
    """
    sizes, weights = measured.sizes, measured.weights
    start = np.log(sizes[0]) if exponent == 0 else 0.0
    one, grown = 1 / measured.costs, (_grown(sizes, exponent) - start) / measured.costs

    def law(constant: Any, slope: Any) -> Law:
        return Law(constant=float(constant - slope * start), slope=float(slope), exponent=exponent)

    squares, product = (weights @ one**2, weights @ grown**2), weights @ (one * grown)
    sums = (weights @ one, weights @ grown)
    determinant = squares[0] * squares[1] - product**2
    if determinant > 0:
        constant = (squares[1] * sums[0] - product * sums[1]) / determinant
        slope = (squares[0] * sums[1] - product * sums[0]) / determinant
        if constant >= 0 and slope >= 0:
            return law(constant, slope)
    flat = law(sums[0] / squares[0], 0.0)
    if not squares[1]:
        return flat
    steep = law(0.0, sums[1] / squares[1])
    return min(flat, steep, key=lambda one: _misfit(one, measured))


def _grown(sizes: Values, exponent: float) -> Values:
    return np.log(sizes) if exponent == 0 else sizes**exponent


def curve(measured: Measured) -> Curve:
    """Return the cost at any size."""
    return Curve(measured, fit(measured))


def redrawn(measured: Measured, rng: np.random.Generator) -> Curve:
    """Return the curve of costs as they might have been measured: a parametric bootstrap with relative errors.

    Their spread is drawn too, since a few sizes hardly tell it: intervals are then as wide as those of Student's t.
    """
    steps = _steps(measured.sizes)
    off = steps @ np.log(measured.costs)
    products = steps @ steps.T
    free = np.trace(products) ** 2 / (products**2).sum()  # Satterthwaite's: neighbouring steps share sizes
    spread = np.sqrt(off @ off / len(off) * free / rng.chisquare(free))
    around = fit(measured)(measured.sizes) if measured.steady else measured.costs
    return curve(replace(measured, costs=around * np.exp(spread * rng.normal(size=len(around)))))


def _steps(sizes: Values) -> Values:
    """Return the matrix [S-2,S] from log costs to how far each is off the line between its neighbours.

    Its rows have length 1. These pseudo-residuals tell the noise whatever the law (Gasser, Sroka, Jennen-Steinmetz,
    1986), and what a size is off by itself.
    """
    x, steps = np.log(sizes), np.zeros((len(sizes) - 2, len(sizes)))
    for row, step in enumerate(steps):
        before = (x[row + 2] - x[row + 1]) / (x[row + 2] - x[row])
        step[row : row + 3] = before, -1, 1 - before
    return np.asarray(steps / np.linalg.norm(steps, axis=1, keepdims=True))


def crossing(one: Curve, other: Curve, up_to: float) -> float:
    """Return the size from which on, up to `up_to`, `other` costs more than `one`; infinite where it does not.

    It is the smallest size that both were measured at where `other` costs more at every size.
    """
    start = max(one.measured.sizes[0], other.measured.sizes[0])
    sizes = np.geomspace(start, up_to, round(_STEPS * np.log10(up_to / start)) + 1)
    is_above = other(sizes) > one(sizes)
    if not is_above[-1]:
        return float("inf")
    below = np.flatnonzero(~is_above)
    return float(sizes[below[-1] + 1]) if len(below) else float(start)


def crossing_of(one: Measured, other: Measured, up_to: float) -> Crossing:
    """Return from which size on, up to `up_to`, `other` costs more than `one`."""
    rng = np.random.default_rng(0)
    draws = [crossing(redrawn(one, rng), redrawn(other, rng), up_to) for _ in range(_DRAWS)]
    ends = np.percentile(np.array(draws), _BETWEEN, method="nearest")
    found = crossing(curve(one), curve(other), up_to)
    size, low, high = (float(at) if np.isfinite(at) else None for at in (found, *ends))
    return Crossing(size=size, low=low, high=high)


def held_out(measured: Measured) -> float | None:
    """Return the cost at the largest size as the law of the smaller ones predicts it, relative to the measured one.

    None where there are no more smaller sizes than numbers that are fitted.
    """
    rest = measured.without_largest()
    if len(rest.sizes) <= rest.parameters:
        return None
    return float((fit(rest)(measured.sizes) / measured.costs)[-1])
