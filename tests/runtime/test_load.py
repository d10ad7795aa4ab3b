"""Queries under load: closed loops of clients, whose times are what the answers took."""

import os
import threading
import time

import numpy as np
import pytest

from irbench.bench.search import searcher_of
from irbench.core.embeddings import Embeddings
from irbench.core.ranking import Ranking
from irbench.runtime import load
from irbench.runtime.machine import Runtime

WAYS = pytest.mark.parametrize("way", load.WAYS)


@WAYS
def test_clients_that_wait_for_their_answers_add_up(way: str) -> None:
    def ask(number: int) -> None:
        time.sleep(0.02)

    one, four = (load.under_load(ask, clients, way, 0.6) for clients in (1, 4))
    assert one.queries_per_s is not None
    assert four.queries_per_s is not None
    assert 20 < one.queries_per_s <= 50
    assert 2.5 * one.queries_per_s < four.queries_per_s <= 200
    assert 20 <= four.p50_ms <= four.p95_ms <= four.p99_ms < 400
    assert (four.way, four.clients) == (way, 4)


@WAYS
def test_one_lock_is_one_server(way: str) -> None:
    lock = threading.Lock()  # each process has its own

    def ask(number: int) -> None:
        with lock:
            time.sleep(0.02)

    found = load.under_load(ask, 4, way, 0.6)
    assert found.queries_per_s is not None
    assert (found.queries_per_s <= 50) == (way == "threads")


def test_what_gets_slower_is_not_steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_ATTEMPTS", 1)
    taken = [0.001]

    def ask(number: int) -> None:
        taken[0] += 2e-5
        time.sleep(taken[0])

    found = load.under_load(ask, 1, "threads", 1.0)
    assert found.steady is False
    assert found.drift < 0.9


def test_what_is_answered_within_the_measured_seconds_counts_whenever_it_began() -> None:
    begins = np.arange(0, 4, 0.01)
    times = np.stack([begins, begins + 0.4], axis=1)
    found = load._summed_up(load.Load(clients=40), times, 2.0)
    assert found.queries_per_s == pytest.approx(100, abs=1)
    assert (found.p50_ms, found.steady) == (pytest.approx(400), True)
    assert found.mean_ms == pytest.approx(400, rel=0.01)
    few = load._summed_up(load.Load(), times[:1], 2.0)
    assert (few.queries_per_s, bool(few.reason)) == (None, True)


def test_many_clients_of_a_slow_server_are_not_undercounted() -> None:
    lock = threading.Lock()

    def ask(number: int) -> None:
        with lock:
            time.sleep(0.01)

    found = load.under_load(ask, 32, "threads", 0.5)
    assert found.queries_per_s == pytest.approx(98, rel=0.06)
    assert found.mean_ms == pytest.approx(1000 * 32 / 98, rel=0.06)


@WAYS
def test_clients_without_an_answer_are_given_up(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(number: int) -> None:
        raise ZeroDivisionError("no answer")

    with pytest.raises(ZeroDivisionError):
        load.under_load(fails, 2, way, 0.2)
    monkeypatch.setattr(load, "_PATIENCE", 0.3)
    hangs = load.under_load(lambda _: time.sleep(3), 2, way, 0.2)
    assert (hangs.queries_per_s, bool(hangs.reason)) == (None, True)


@pytest.mark.parametrize(("fault", "answers"), [("no", True), ("other", False), ("hangs", False), ("ends", False)])
def test_an_index_that_does_not_survive_a_fork_is_told(
    fault: str, answers: bool, monkeypatch, runtime: Runtime
) -> None:
    index, parent = searcher_of("linear", (), runtime), os.getpid()
    vectors = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    index.build(Embeddings(vectors))
    search = index.search

    def forked(queries: Embeddings, k: int) -> Ranking:
        if os.getpid() != parent and fault != "no":
            if fault == "ends":
                os._exit(3)
            if fault == "hangs":
                time.sleep(30)
            return search(Embeddings(-queries.array), k)
        return search(queries, k)

    monkeypatch.setattr(index, "search", forked)
    monkeypatch.setattr(load, "_PATIENCE", 1.0)
    assert load._answers_in_a_fork(lambda _: index.search(Embeddings(vectors[:1]), 5).rows) is answers


def test_a_client_computes_with_one_thread(runtime: Runtime) -> None:
    seen = set[int]()
    faiss = pytest.importorskip("faiss")
    load.under_load(lambda _: seen.add(faiss.omp_get_max_threads()), 2, "threads", 0.1)
    assert seen == {1}
