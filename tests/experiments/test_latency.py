"""What a query costs, measured on a retriever that takes a known time."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from raising import raises

from irbench.core.benchmark import ImageSet
from irbench.core.errors import ContractError
from irbench.core.ranking import Ranking
from irbench.experiments import latency
from irbench.protocols import Retriever
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


def timed(retriever: Retriever, queries: ImageSet, runtime: Runtime, *, brief: bool = False) -> latency.Timed:
    gallery = ImageSet(name="gallery", ids=tuple(f"g{row}" for row in range(64)), labels=np.zeros(64, np.int64))
    return latency.time_queries(retriever, queries, gallery, 1, runtime, brief=brief)


def test_single_queries_are_timed_by_stage_after_a_warm_up(runtime: Runtime, queries: ImageSet) -> None:
    slow = Slow()
    times = timed(slow, queries, runtime).single
    assert times.batch == 1
    assert times.encode_p50 == pytest.approx(2, rel=0.6)
    assert times.search_p50 == pytest.approx(1, rel=0.6)
    assert times.read_p50 == pytest.approx(1, rel=0.6)  # a part of encoding
    assert (
        3 <= times.total_p50 <= times.total_p95 <= times.total_p99 < 100
    )  # the 200 ms of the first call are not in it


def test_a_batch_is_priced_by_the_query(runtime: Runtime, queries: ImageSet) -> None:
    slow = Slow()
    times = timed(slow, queries, runtime).batched
    assert set(slow.sizes) == {1, latency.BATCH, 130 - 43 - latency.BATCH}  # a third of the queries are sent singly
    assert times.batch == latency.BATCH
    assert (times.encode_p50, times.search_p50, times.read_p50) == pytest.approx((2, 1, 1), rel=0.6)
    assert times.total_p50 == pytest.approx(3, rel=0.6)
    assert times.decoder_p50 is None
    assert timed(slow, queries.take(slice(5)), runtime).batched.batch == 4
    assert timed(slow, queries.take(slice(1)), runtime).batched.batch == 1


def test_a_brief_measurement_asks_half_as_much_and_for_no_parts(
    runtime: Runtime, queries: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "BATCH", 4)
    monkeypatch.setattr(latency, "BATCHED", 16)
    asked = []
    for brief in (False, True):
        slow = Slow()
        found = timed(slow, queries, runtime, brief=brief)
        asked.append((slow.sizes.count(1) - latency.WARM_UP, slow.sizes.count(4) - 1))
        assert (found.single.total_p50, found.batched.total_p50) == pytest.approx((3, 3), rel=0.6)
        assert (found.single.read_p50 is None, found.batched.read_p50 is None) == (brief, brief)
    assert asked == [(43 + 43, 12 + 4), (21, 6)]  # what has parts is asked once more for them


def test_a_retriever_that_marks_no_stages_has_a_total_only(runtime: Runtime, queries: ImageSet) -> None:
    class Silent(Slow):
        def search(self, queries: ImageSet, k: int) -> Ranking:
            return Ranking(np.zeros((len(queries), 1), np.int64), np.zeros((len(queries), 1), np.float32))

    times = timed(Silent(), queries, runtime).single
    assert times.encode_p50 is None
    assert times.search_p50 is None
    assert times.total_p50 is not None


class Remembering(Slow):
    """Fifty milliseconds for a query that it has not seen before."""

    def __init__(self) -> None:
        self.known: set[str] = set()

    def search(self, queries: ImageSet, k: int) -> Ranking:
        time.sleep(0.05 * len(set(queries.ids) - self.known))
        self.known |= set(queries.ids)
        return Ranking(np.zeros((len(queries), 1), np.int64), np.zeros((len(queries), 1), np.float32))


def test_a_query_counts_when_it_is_asked_for_the_first_time(runtime: Runtime, queries: ImageSet) -> None:
    found = timed(Remembering(), queries.take(slice(30)), runtime)
    assert found.single.total_p50 == pytest.approx(50, rel=0.5)
    assert found.batched.total_p50 == pytest.approx(50, rel=0.5)


@pytest.mark.parametrize("cheats", [False, True])
def test_timed_answers_are_those_that_are_scored(runtime: Runtime, queries: ImageSet, cheats: bool) -> None:
    class Hasty:
        """The right answer is the query's own number, backwards; asked for one query, it may answer row 0."""

        def search(self, queries: ImageSet, k: int) -> Ranking:
            rows = (np.array([[int(name.lstrip("g"))] for name in queries.ids]) + 64 - np.arange(20)) % 64
            rows = np.zeros_like(rows[:, :1]) if cheats and len(queries) == 1 else rows
            return Ranking(rows, np.repeat(-np.arange(rows.shape[1], dtype=np.float32)[None], len(rows), 0))

    asked, own = replace(queries, ids=tuple(map(str, range(900))), labels=np.zeros(900, np.int64)), np.full(900, -1)
    found = timed(Hasty(), asked, runtime)
    assert sum(len(one.queries) for one in found.answers) >= 900
    ranking = Hasty().search(asked, 20)
    if cheats:
        with pytest.raises(ContractError) as refused:
            latency.check_answers(found.answers, ranking, lambda one, rows: one.without(own[rows]))
        assert refused.value.code == "other-answers"
    else:
        latency.check_answers(found.answers, ranking, lambda one, rows: one.without(own[rows]))


@pytest.mark.parametrize("scored", [0, 2, 10])
def test_what_only_timed_queries_are_answered_with_does_not_agree(scored: int) -> None:
    rows = np.arange(20)[None]
    whole = Ranking(rows, -rows.astype(np.float32))
    part = np.where(rows < scored, rows, -1)
    ranking = Ranking(part, np.where(part < 0, -np.inf, -rows).astype(np.float32))
    answers = [latency.Answers(np.array([0]), whole)]
    if scored == 10:
        latency.check_answers(answers, ranking, lambda one, _: one)
    else:
        with raises(ContractError, "other-answers", 10 * scored):
            latency.check_answers(answers, ranking, lambda one, _: one)
