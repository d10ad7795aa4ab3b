"""How a cost grows with the gallery, as a law a + b N^c; what it predicts, and where two laws cross."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

LOGARITHMIC, PROPORTIONAL = (0.0,), (1.0,)  # exponents of a law
ANY = (*LOGARITHMIC, *np.linspace(0.05, 1, 20).round(2).tolist())
_DRAWS = 400
_BETWEEN = (2.5, 97.5)  # percentiles of the draws: a 95 % interval
_STEPS = 200  # in a decade, where crossings are looked for

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Law:
    """A cost a + b N^c of a gallery of N images, with a, b >= 0 and c of 0 to 1; for c = 0 it is a + b ln N."""

    constant: float
    slope: float
    exponent: float

    def __call__(self, sizes: Values) -> Values:
        """Return the cost at each size [S]."""
        return np.asarray(self.constant + self.slope * _grown(sizes, self.exponent))


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """The size from which on one cost is above another, with a 95 % interval; None: at none that was looked at."""

    size: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured:
    """Costs [S] at sizes [S], and the exponents of the laws that may describe them."""

    sizes: Values
    costs: Values
    exponents: tuple[float, ...] = ANY

    @property
    def parameters(self) -> int:
        """How many numbers of a law are fitted."""
        return 2 + (len(self.exponents) > 1)

    def without_largest(self) -> "Measured":
        """Return all but the largest size."""
        rest = self.sizes < self.sizes.max()
        return replace(self, sizes=self.sizes[rest], costs=self.costs[rest])


def fit(measured: Measured) -> Law:
    """Return the law with the least sum of squared relative errors."""
    sizes, costs = measured.sizes, measured.costs
    laws = [_fitted(sizes, costs, exponent) for exponent in measured.exponents]
    return min(laws, key=lambda law: float(((law(sizes) / costs - 1) ** 2).sum()))


def _fitted(sizes: Values, costs: Values, exponent: float) -> Law:
    """Return the best law of one exponent: least squares in two unknowns, neither of them negative."""
    one, grown = 1 / costs, _grown(sizes, exponent) / costs
    squares, product = (one @ one, grown @ grown), one @ grown
    determinant = squares[0] * squares[1] - product**2
    if determinant > 0:
        constant = (squares[1] * one.sum() - product * grown.sum()) / determinant
        slope = (squares[0] * grown.sum() - product * one.sum()) / determinant
        if constant >= 0 and slope >= 0:
            return Law(constant=constant, slope=slope, exponent=exponent)
    flat = Law(constant=one.sum() / squares[0], slope=0.0, exponent=exponent)
    if not squares[1]:
        return flat
    steep = Law(constant=0.0, slope=grown.sum() / squares[1], exponent=exponent)
    return min(flat, steep, key=lambda law: float(((law(sizes) / costs - 1) ** 2).sum()))


def _grown(sizes: Values, exponent: float) -> Values:
    return np.log(sizes) if exponent == 0 else sizes**exponent


def redrawn(measured: Measured, rng: np.random.Generator) -> Law:
    """Return the law of costs as they might have been measured: a parametric bootstrap with relative errors.

    The errors have the spread of the residuals, noise and misfit alike, which is itself drawn, since a few sizes hardly
    tell it: intervals are then as wide as those of Student's t.
    """
    sizes, fitted = measured.sizes, fit(measured)(measured.sizes)
    free = max(1, len(sizes) - measured.parameters)
    squares = float((np.log(measured.costs / fitted) ** 2).sum())
    spread = np.sqrt(squares / rng.chisquare(free))
    return fit(replace(measured, costs=fitted * np.exp(spread * rng.normal(size=len(sizes)))))


def crossing(one: Law, other: Law, up_to: float) -> float:
    """Return the size from which on, up to `up_to`, `other` costs more than `one`; infinite where it does not."""
    sizes = np.geomspace(1, up_to, round(_STEPS * np.log10(up_to)) + 1)
    is_above = other(sizes) > one(sizes)
    if not is_above[-1]:
        return float("inf")
    below = np.flatnonzero(~is_above)
    return float(sizes[below[-1] + 1]) if len(below) else float(sizes[0])


def crossing_of(one: Measured, other: Measured, up_to: float) -> Crossing:
    """Return from which size on, up to `up_to`, `other` costs more than `one`."""
    rng = np.random.default_rng(0)
    draws = [crossing(redrawn(one, rng), redrawn(other, rng), up_to) for _ in range(_DRAWS)]
    ends = np.percentile(np.array(draws), _BETWEEN, method="nearest")
    size, low, high = (float(at) if np.isfinite(at) else None for at in (crossing(fit(one), fit(other), up_to), *ends))
    return Crossing(size=size, low=low, high=high)


def held_out(measured: Measured) -> float | None:
    """Return the cost at the largest size as the law of the smaller ones predicts it, relative to the measured one.

    None where there are no more smaller sizes than numbers that are fitted.
    """
    rest = measured.without_largest()
    if len(rest.sizes) <= rest.parameters:
        return None
    largest = measured.sizes.argmax()
    return float(fit(rest)(measured.sizes)[largest] / measured.costs[largest])
