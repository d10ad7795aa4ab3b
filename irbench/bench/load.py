"""Queries of several clients at once against one index: throughput and latency as the load grows.

Clients are closed loops: each sends its next query when the last one is answered. Threads share the index and Python's
lock, which libraries release or not; processes share it as it was when they were forked, and no lock.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from irbench.bench.search import Plan as SearchPlan
from irbench.bench.search import Vectors, prepare, searcher_of
from irbench.config import recipes
from irbench.core.embeddings import Embeddings
from irbench.core.errors import Unavailable, check_choice
from irbench.protocols import LibrarySearcher
from irbench.retrievers.search_index import SearchIndex
from irbench.retrievers.searchers._quiet import STDERR, STDOUT, silenced
from irbench.runtime.machine import Runtime

WAYS = ("threads", "processes")
_WARM_UP = 0.25  # of the seconds that are measured
_STEADY = 0.1  # most by which the throughput of the two halves may differ, beyond chance
_ATTEMPTS = 3  # at a steady state
_PATIENCE = 30.0  # seconds until clients that do not end are given up

Times = NDArray[np.float64]  # [N,2] begin and end of each query, in seconds of the system's clock


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured."""

    vectors: SearchPlan
    clients: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    ways: tuple[str, ...] = WAYS
    seconds: float = 2.0  # of a steady state

    def __post_init__(self) -> None:
        for way in self.ways:
            check_choice("--with", way, WAYS)


@dataclass(frozen=True, kw_only=True)
class Load:
    """One index under the load of some clients; without numbers but with a reason where it was not measured."""

    search: str
    way: str = ""
    clients: int = 0
    queries_per_s: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    drift: float | None = None  # throughput of the second half relative to the first
    steady: bool | None = None
    reason: str = ""


def measure(plan: Plan, runtime: Runtime, vectors: Vectors | None = None) -> Iterator[Load]:
    """Build each index once and put it under the load of each number of clients."""
    vectors = vectors or prepare(plan.vectors, runtime)
    queries = [vectors.queries.array[row : row + 1] for row in range(len(vectors.queries))]
    for name in plan.vectors.searches or recipes.names("methods/search"):
        with threadpool_limits(1):  # each client has a thread of its own
            try:
                index = searcher_of(name, (), replace(runtime, threads=1))
                index.build(vectors.gallery)
            except Unavailable as error:
                yield Load(search=name, reason=str(error))
                continue
            ask = _asked(index, queries, plan.vectors.k)
            for way in plan.ways:
                if way == "processes" and not _answers_in_a_fork(index, Embeddings(queries[0]), plan.vectors.k):
                    yield Load(search=name, way=way, reason="gives no answers, or others, in a process that is forked")
                    continue
                for clients in plan.clients:
                    yield replace(under_load(ask, clients, way, plan.seconds), search=name)


def _answers_in_a_fork(index: SearchIndex, query: Embeddings, k: int) -> bool:
    """Does an index answer in a forked process as here? SPANN's engine reads its lists by a queue that is not there."""
    here = index.search(query, k).rows
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        with silenced(STDOUT, STDERR):
            sender.send(index.search(query, k).rows)
        os._exit(0)

    process = context.Process(target=child, daemon=True)
    process.start()
    sender.close()
    try:
        return receiver.poll(_PATIENCE) and bool(np.array_equal(receiver.recv(), here))
    except EOFError:  # it has crashed
        return False
    finally:
        process.kill()
        process.join()


def _asked(index: SearchIndex, queries: Sequence[NDArray[np.float32]], k: int) -> Callable[[int], object]:
    """Return the function that answers the n-th query, by the library alone where that can be asked."""
    searcher = index.searcher
    if isinstance(searcher, LibrarySearcher):
        return lambda number: searcher.call_library(queries[number % len(queries)], k)
    embeddings = [Embeddings(query) for query in queries]
    return lambda number: index.search(embeddings[number % len(embeddings)], k)


def under_load(ask: Callable[[int], object], clients: int, way: str, seconds: float) -> Load:
    """Measure until the throughput is steady, at most three times; `ask` answers the n-th query."""
    load = Load(search="", way=way, clients=clients)
    for _ in range(_ATTEMPTS):
        try:
            found = _in_threads(ask, clients, seconds) if way == "threads" else _in_processes(ask, clients, seconds)
        except TimeoutError:
            return replace(load, reason=f"clients that are {way} got no answer")
        load = _summed_up(load, found, seconds)
        if load.steady:
            break
    return load


def _summed_up(load: Load, times: Times, seconds: float) -> Load:
    """Return what the queries say that were answered within the measured seconds, all of which began within them."""
    start = times[:, 0].min() + _WARM_UP * seconds
    middle, end = start + seconds / 2, start + seconds
    counted = times[(times[:, 0] >= start) & (times[:, 1] <= end)]
    if len(counted) < 2:
        return replace(load, reason=f"fewer than two queries were answered in {seconds:g} s")
    first = int((counted[:, 1] < middle).sum())
    second = len(counted) - first
    chance = 3 * np.sqrt(len(counted)) / len(counted)  # of counts, as of events by chance
    drift = second / first if first else float("inf")
    p50, p95, p99 = np.percentile(1000 * (counted[:, 1] - counted[:, 0]), (50, 95, 99)).tolist()
    return replace(
        load,
        queries_per_s=len(counted) / seconds,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        drift=drift,
        steady=bool(abs(drift - 1) <= max(_STEADY, chance)),
        reason="",
    )


def _client(ask: Callable[[int], object], first: int, begin: Callable[[], object], seconds: float) -> Times:
    """Send one query after the other for the time that is given, the warm-up before it and a little after it."""
    taken: list[tuple[float, float]] = []
    with threadpool_limits(1):  # OpenMP's limit is one of each thread that calls it: a new one has none
        begin()
        number, last = first, perf_counter() + (1 + 1.5 * _WARM_UP) * seconds
        while not taken or taken[-1][1] < last:
            start = perf_counter()
            ask(number)
            taken.append((start, perf_counter()))
            number += 1
    return np.array(taken)


def _in_threads(ask: Callable[[int], object], clients: int, seconds: float) -> Times:
    found: list[Times] = []
    failed: list[BaseException] = []
    barrier = threading.Barrier(clients)

    def client(number: int) -> None:
        try:
            found.append(_client(ask, 7919 * number, barrier.wait, seconds))
        except BaseException as error:  # is raised again where somebody sees it
            failed.append(error)
            barrier.abort()

    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    deadline = perf_counter() + _PATIENCE + 2 * seconds
    for thread in threads:
        thread.join(max(0.0, deadline - perf_counter()))
    if failed:
        raise next((one for one in failed if not isinstance(one, threading.BrokenBarrierError)), failed[0])
    if any(thread.is_alive() for thread in threads):
        raise TimeoutError
    return np.concatenate(found)


def _in_processes(ask: Callable[[int], object], clients: int, seconds: float) -> Times:
    context = multiprocessing.get_context("fork")
    begin = context.Event()
    pipes = [context.Pipe(duplex=False) for _ in range(clients)]

    def client(number: int, sender: Any) -> None:
        try:
            answer: Times | BaseException = _client(ask, 7919 * number, begin.wait, seconds)
        except BaseException as error:  # is raised again by the parent
            answer = error
        with suppress(BrokenPipeError):
            sender.send(answer)
        os._exit(0)  # whatever the parent would do at its end is the parent's

    processes = [context.Process(target=client, args=(i, sender), daemon=True) for i, (_, sender) in enumerate(pipes)]
    try:
        for process in processes:
            process.start()
        sleep(0.05)  # until they wait
        begin.set()
        found, deadline = [], perf_counter() + _PATIENCE + 2 * seconds
        for receiver, _ in pipes:
            if not receiver.poll(max(0.0, deadline - perf_counter())):
                raise TimeoutError
            found.append(receiver.recv())
            if isinstance(found[-1], BaseException):
                raise found[-1]
        return np.concatenate(found)
    finally:
        for process in processes:
            process.kill()
            process.join()
