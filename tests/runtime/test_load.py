"""Queries under load: closed loops of clients, whose times are what the answers took."""

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest

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
    assert 20 < one.queries_per_s < 53  # an answer more may fall into the time
    assert 2.5 * one.queries_per_s < four.queries_per_s < 212
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
    assert (found.queries_per_s < 53) == (way == "threads")


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
    assert 45 < found.queries_per_s < 103  # of 100; by the queries that also began within it, it would be half
    assert found.mean_ms == pytest.approx(1000 * 32 / found.queries_per_s)


MEASURES = pytest.mark.parametrize("measure", [load._in_threads, load._in_processes])


@MEASURES
def test_what_fails_in_a_client_is_raised(measure: Callable) -> None:
    def fails(number: int) -> None:
        raise ZeroDivisionError("no answer")

    with pytest.raises(ZeroDivisionError):
        measure(fails, 2, 0.1)


@MEASURES
def test_clients_without_an_answer_are_given_up(measure: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_PATIENCE", 0.3)
    released = threading.Event()
    with pytest.raises(load.Unanswered):
        measure(lambda _: released.wait(20), 2, 0.1)
    released.set()


def test_a_client_that_crashes_is_noticed_before_patience_is_at_its_end() -> None:
    start = time.perf_counter()
    with pytest.raises(load.Unanswered):
        load._in_processes(lambda _: os._exit(3), 2, 0.1)
    assert time.perf_counter() - start < load._PATIENCE / 2


def test_a_load_without_answers_has_a_reason_and_nothing_is_measured_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_PATIENCE", 0.3)
    released = threading.Event()

    def ask(number: int) -> None:
        released.wait(20)

    (found,) = load.loads(ask, lambda _: [1], clients=(1, 2), seconds=0.1)
    released.set()
    assert (found.clients, found.queries_per_s) == (1, None)
    assert "no answer" in found.reason


def test_numbers_are_plain_even_where_few_were_answered() -> None:
    begins = np.arange(0, 4, 0.05)
    found = load._summed_up(load.Load(clients=1), np.stack([begins, begins + 0.05], axis=1), 2.0)
    assert (type(found.steady), found.steady) == (bool, True)
    assert json.loads(json.dumps(asdict(found)))["queries_per_s"] == pytest.approx(20, rel=0.03)


@pytest.mark.parametrize(("fault", "words"), [("no", ""), ("other", "other"), ("hangs", "no"), ("ends", "crashes")])
def test_what_does_not_survive_a_fork_is_told(fault: str, words: str) -> None:
    parent = os.getpid()

    def answer(number: int) -> list[int]:
        if os.getpid() != parent and fault != "no":
            if fault == "ends":
                os._exit(3)
            if fault == "hangs":
                time.sleep(30)
            return [-number]
        return [number]

    expected = [np.array([number]) for number in range(load._COMPARED)]
    reason = load._in_a_fork(answer, expected, 1.0)
    assert words in reason
    assert bool(reason) == (fault != "no")


def test_threads_that_get_other_answers_are_told() -> None:
    main = threading.get_ident()
    expected = [np.array([number]) for number in range(load._COMPARED)]
    assert load._at_once(lambda number: [number], expected, 5.0) == ""
    assert "other" in load._at_once(lambda number: [number + (threading.get_ident() != main)], expected, 5.0)


def test_a_client_computes_with_one_thread(runtime: Runtime) -> None:
    seen = set[int]()
    faiss = pytest.importorskip("faiss")
    load.under_load(lambda _: seen.add(faiss.omp_get_max_threads()), 2, "threads", 0.1)
    assert seen == {1}
