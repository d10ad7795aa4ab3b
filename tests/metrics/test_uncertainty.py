"""Intervals and tests against variance components by loops, resampled classes, SciPy, and known truths."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from irbench.core import pyfile
from irbench.metrics.uncertainty import by_class, interval, p_value, spread

SCRIPT = pyfile.load(Path(__file__).parents[2] / "scripts" / "intervals.py")


def by_loops(values, classes):
    """The two variances of the mean of values [S,Q], from the mean squares of a two-way layout of equal classes."""
    labels = sorted(set(classes))
    table = np.array([[one[classes == label].mean() for label in labels] for one in values])  # [S,G]
    S, G = table.shape
    grand = table.mean()
    of_class = S * sum((table[:, g].mean() - grand) ** 2 for g in range(G)) / (G - 1)
    if S == 1:
        return of_class / (G * S), 0.0
    of_seed = G * sum((table[s].mean() - grand) ** 2 for s in range(S)) / (S - 1)
    rest = sum(
        (table[s, g] - table[s].mean() - table[:, g].mean() + grand) ** 2 for s in range(S) for g in range(G)
    ) / ((S - 1) * (G - 1))
    chance = rest * scipy.stats.f.ppf(0.5, S - 1, (S - 1) * (G - 1))
    return of_class / (G * S), max(0, of_seed - chance) / (G * S)


@given(st.integers(1, 4), st.integers(2, 6), st.integers(1, 5), st.integers(0, 99))
def test_the_variances_are_those_of_a_two_way_layout(seeds, count, each, seed):
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.repeat(np.arange(count), each))
    values = rng.random((seeds, len(classes))) + rng.normal(0, 1, (seeds, 1)) + rng.normal(0, 1, count)[classes]
    found = spread(by_class(values, classes))
    assert (float(found.of_classes), float(found.of_seeds)) == pytest.approx(by_loops(values, classes))
    assert found.mean == pytest.approx(values.mean())


def test_the_variance_is_that_of_resampled_classes_of_unequal_sizes():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(40), rng.integers(2, 20, 40))
    values = (rng.random(len(classes)) < rng.random(40)[classes]).astype(float)
    sums, sizes = np.bincount(classes, values), np.bincount(classes)
    drawn = rng.integers(0, 40, (20_000, 40))
    resampled = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    assert float(spread(by_class(values[None], classes)).variance) == pytest.approx(resampled.var() * 40 / 39, rel=0.05)


def test_without_classes_and_seeds_it_is_wilsons_interval_with_a_t_quantile():
    values = np.repeat([1.0, 0.0], [27, 3])
    for classes in (None, np.zeros(30, int), np.arange(30)):
        low, high = interval(values, classes)
        z2, n = scipy.stats.t.ppf(0.975, 29) ** 2, 29  # the variance of 30 queries has a denominator of 29
        middle, half = 0.9 + z2 / (2 * n), (z2 * 0.09 / n + z2**2 / (4 * n**2)) ** 0.5
        assert (low, high) == pytest.approx(((middle - half) / (1 + z2 / n), (middle + half) / (1 + z2 / n)))
    assert interval(np.array([3.0, 5.0, 7.0])) == pytest.approx(
        scipy.stats.t.interval(0.95, 2, loc=5, scale=2 / 3**0.5)
    )  # a score that is no share


def test_an_interval_has_a_width_where_no_query_failed_and_stays_between_0_and_1():
    classes = np.arange(800) % 10
    low, high = interval(np.ones((3, 800)), classes)
    assert high == 1
    assert 0.99 < low < 0.995
    assert interval(np.zeros(800), classes) == pytest.approx((0, 1 - low))
    almost = np.ones(800)
    almost[5] = 0
    assert interval(almost, classes)[1] < 1
    assert interval(np.full(9, 0.25)) == (0.25, 0.25)
    assert interval(np.ones(1)) is None


@given(st.integers(1, 4), st.integers(0, 99), st.sampled_from([0.0, 0.5, 3.0]))
def test_a_difference_is_significant_only_where_its_interval_excludes_0(seeds, seed, size):
    rng = np.random.default_rng(seed)
    classes = np.arange(60) % 6
    differences = rng.normal(size, 2, (seeds, 60)) + rng.normal(0, 0.3, (seeds, 1))  # their intervals are symmetric
    p = float(p_value(differences, classes))
    low, high = interval(differences, classes)
    assert (p < 0.05) <= (low > 0 or high < 0)
    if seeds == 1:  # a t test of the classes, which are of one size
        sums = np.bincount(classes, differences[0])
        assert p == pytest.approx(max(scipy.stats.ttest_1samp(sums, 0).pvalue, 0.05 * (low <= 0 <= high)))
    assert p_value(np.zeros((2, 3, 60)), None).tolist() == [1.0, 1.0]


def test_three_seeds_are_enough_for_a_large_difference_among_many():
    rng = np.random.default_rng(0)
    differences = (rng.random((3, 900)) < 0.06).astype(float)  # six points, everywhere alike
    assert p_value(differences, np.arange(900) % 10) < 0.05 / 91


@pytest.mark.parametrize(("seeds", "mean"), [(1, 0.9), (3, 0.5), (3, 0.98)])
def test_intervals_cover_known_truths_and_equal_methods_are_seldom_called_different(seeds, mean):
    found = SCRIPT.simulate(SCRIPT.Setting(40, 10, seeds, mean), 300, np.random.default_rng(1))
    assert 0.92 <= found.covered <= 0.99
    assert found.covered > found.by_queries + 0.05
    assert found.called <= 0.08
    assert found.called_by_queries > found.called
