"""What a query costs, measured on a retriever that takes a known time."""

import time
from pathlib import Path

import numpy as np
import pytest

from irbench.core.benchmark import ImageSet
from irbench.core.ranking import Ranking
from irbench.experiments import latency
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import caches_bypassed, span, subspan


class Slow:
    """Two milliseconds to encode a query, one to search, and a first call that warms up."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def search(self, queries: ImageSet, k: int) -> Ranking:
        assert caches_bypassed()
        time.sleep(0 if self.sizes else 0.2)
        self.sizes.append(len(queries))
        with span("encode"):
            with subspan("read"):
                time.sleep(0.001 * len(queries))
            time.sleep(0.001 * len(queries))
        with span("search"):
            time.sleep(0.001 * len(queries))
        rows = np.zeros((len(queries), 1), np.int64)
        return Ranking(rows, rows.astype(np.float32))


@pytest.fixture
def queries() -> ImageSet:
    return ImageSet(name="queries", ids=tuple(map(str, range(130))), labels=np.zeros(130, np.int64), root=Path("/"))


def test_single_queries_are_timed_by_stage_after_a_warm_up(runtime: Runtime, queries: ImageSet) -> None:
    slow = Slow()
    times = latency.latency(slow, queries, 1, runtime)
    assert set(slow.sizes) == {1}
    assert times.batch == 1
    assert times.encode_p50 == pytest.approx(2, rel=0.3)
    assert times.search_p50 == pytest.approx(1, rel=0.4)
    assert times.read_p50 == pytest.approx(1, rel=0.4)  # a part of encoding
    assert (
        3 <= times.total_p50 <= times.total_p95 <= times.total_p99 < 100
    )  # the 200 ms of the first call are not in it


def test_a_batch_is_priced_by_the_query(runtime: Runtime, queries: ImageSet) -> None:
    slow = Slow()
    times = latency.batched(slow, queries, 1, runtime)
    assert set(slow.sizes) == {latency.BATCH, len(queries) % latency.BATCH}
    assert times.batch == latency.BATCH
    assert (times.encode_p50, times.search_p50, times.read_p50) == pytest.approx((2, 1, 1), rel=0.2)
    assert times.total_p50 == pytest.approx(3, rel=0.2)
    assert times.decoder_p50 is None
    assert latency.batched(slow, queries.take(slice(5)), 1, runtime).batch == 5


def test_a_retriever_that_marks_no_stages_has_a_total_only(runtime: Runtime, queries: ImageSet) -> None:
    class Silent(Slow):
        def search(self, queries: ImageSet, k: int) -> Ranking:
            return Ranking(np.zeros((len(queries), 1), np.int64), np.zeros((len(queries), 1), np.float32))

    times = latency.latency(Silent(), queries, 1, runtime)
    assert times.encode_p50 is None
    assert times.search_p50 is None
    assert times.total_p50 is not None
