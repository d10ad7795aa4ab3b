"""Bootstrap intervals against SciPy, which draws the same resamples from the same seed."""

import numpy as np
import pytest
import scipy.stats

from irbench import significance
from irbench.significance import intervals


@pytest.mark.parametrize("level", [0.95, 0.5])
def test_equals_scipy(level):
    values = np.random.default_rng(1).random(57)
    ours = intervals({"m": values}, seed=3, resamples=999, level=level)["m"]
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=999, method="percentile", confidence_level=level, rng=np.random.default_rng(3)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_all_metrics_share_the_resamples_and_chunks_change_nothing(monkeypatch):
    values = {name: np.random.default_rng(i).random(40) for i, name in enumerate("abc")}
    together = intervals(values)
    monkeypatch.setattr(significance, "_CHUNK_BYTES", 8 * 40 * 7)
    for name in values:
        assert intervals({name: values[name]})[name] == pytest.approx(together[name], abs=1e-12)
    assert intervals(values, seed=1) != together


def test_the_edges():
    assert intervals({}) == {}
    assert intervals({"m": np.array([0.3])})["m"] == pytest.approx((0.3, 0.3))
    assert intervals({"m": np.ones(1000)})["m"] == (1.0, 1.0)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    samples = {str(i): (rng.random(200) < 0.3).astype(float) for i in range(400)}
    covered = [low <= 0.3 <= high for low, high in intervals(samples, resamples=500).values()]
    assert 0.91 < np.mean(covered) < 0.98
