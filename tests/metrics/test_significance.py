"""Tests of pairs against SciPy and against all signs; Holm's steps."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from irbench.metrics import significance
from irbench.metrics.significance import holm, pairwise, randomised
from irbench.metrics.uncertainty import p_value


def test_few_differences_are_tried_with_all_their_signs():
    differences = np.array([0.5, 0.0, 0.25, -0.125, 0.5, 0.0, 0.25])
    theirs = scipy.stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert randomised(differences) == pytest.approx(theirs.pvalue)
    assert randomised(np.zeros(9)) == 1.0
    assert randomised(-differences) == pytest.approx(randomised(differences))


def test_random_signs_and_the_normal_limit_agree(monkeypatch):
    differences = np.random.default_rng(3).normal(0.01, 0.3, 900)
    monkeypatch.setattr(significance, "_MANY", 1000)
    drawn = randomised(differences, resamples=40_000)
    assert 0.01 < drawn < 0.2  # where a wrong tail or a lost factor of two would show
    monkeypatch.setattr(significance, "_CHUNK_BYTES", 8 * 900 * 7)
    assert randomised(differences, resamples=4000, seed=1) == pytest.approx(drawn, abs=0.015)
    monkeypatch.setattr(significance, "_MANY", 100)
    assert randomised(differences) == pytest.approx(drawn, abs=0.005)


def test_the_test_errs_as_often_as_it_says():
    rng = np.random.default_rng(1)
    p = [randomised(np.round(rng.normal(0, 1, 30), 1), resamples=499, seed=i) for i in range(200)]
    assert 0.02 <= np.mean(np.array(p) < 0.1) <= 0.17


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_bonferroni_over_every_set_that_a_test_is_in(p_values):
    tests = range(len(p_values))
    sets = [s for size in tests for s in itertools.combinations(tests, size + 1)]
    for test, corrected in zip(tests, holm(p_values), strict=True):
        worst = max(len(s) * min(p_values[i] for i in s) for s in sets if test in s)
        assert corrected == pytest.approx(min(worst, 1.0))


def test_holm_of_nothing():
    assert holm([]) == []


def test_rankings_are_tested_pair_by_pair():
    scores = np.random.default_rng(6).random((2, 3, 4, 30))
    classes = np.arange(30) % 5
    p = pairwise(scores, classes)
    assert p.shape == (2, 3, 3)
    for c, i, j in itertools.product(range(2), range(3), range(3)):
        assert p[c, i, j] == pytest.approx(p_value(scores[c, i] - scores[c, j], classes), abs=1e-9)
    assert (p[:, range(3), range(3)] == 1).all()
