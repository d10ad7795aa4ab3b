"""Queries of several clients at once: throughput and latency as the load grows.

Clients are closed loops: each sends its next query when the last one is answered. Threads share what answers and
Python's lock, which libraries release or not; processes share it as it was when they were forked, and no lock.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from irbench.runtime.silence import STDERR, STDOUT, silenced

WAYS = ("threads", "processes")
_WARM_UP = 0.25  # of the seconds that are measured
_STEADY = 0.1  # most by which the throughput of the two halves may differ, beyond chance
_CHANCE = 2  # over the root of their number: the spread of that ratio, if answers came by chance
_ANSWERS, _EACH = 40, 4  # at least so many are measured, and so many of each client …
_LONGEST = 120.0  # … unless that takes more seconds
_APART = 7919  # queries between the first ones of two clients
_ATTEMPTS = 3  # at a steady state
_COMPARED, _AT_ONCE = 20, 4  # queries whose answers are compared, and threads that ask for them at once
_PATIENCE = 30.0  # seconds until clients that do not end are given up

Times = NDArray[np.float64]  # [N,2] begin and end of each query, in seconds of the system's clock


class Unanswered(Exception):  # noqa: N818 -- no error of ours
    """Some clients could not be had, or got no answer; says which."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What some clients got at once; without numbers but with a reason where it was not measured."""

    way: str = ""
    clients: int = 0
    queries_per_s: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    drift: float | None = None  # throughput of the second half relative to the first
    steady: bool | None = None
    reason: str = ""

    @property
    def mean_ms(self) -> float | None:
        """Mean time of a query by Little's law, those included that a lock keeps waiting beyond the measured time."""
        return 1000 * self.clients / self.queries_per_s if self.queries_per_s else None


def loads(
    ask: Callable[[int], object],
    answer: Callable[[int], ArrayLike],
    *,
    clients: Sequence[int],
    ways: Sequence[str] = WAYS,
    seconds: float,
) -> Iterator[Load]:
    """Yield the load of each number of clients, in each of `WAYS`; nothing more once clients got no answer.

    Args:
        ask: answers the n-th query; this is timed.
        answer: returns the answer to the n-th query as an array, to be compared with what clients are answered.
        clients: how many ask at once.
        ways: those that are measured.
        seconds: of a steady state; more where so few answers come that they would tell nothing.
    """
    start = perf_counter()
    expected = [np.asarray(answer(number)) for number in range(_COMPARED)]
    patience = _PATIENCE + 2 * _AT_ONCE * (perf_counter() - start)
    for way in ways:
        compare = _in_a_fork if way == "processes" else _at_once
        if reason := compare(answer, expected, patience):
            yield Load(way=way, reason=f"not measured: {reason}")
            if way == "threads":  # which may still be at work
                return
            continue
        for count in clients:
            load = under_load(ask, count, way, seconds)
            yield load
            if load.reason:
                return


def _at_once(answer: Callable[[int], ArrayLike], expected: Sequence[NDArray[Any]], patience: float) -> str:
    """Return what is wrong with the answers that threads get at once; nothing where they are as expected."""
    found: list[list[ArrayLike]] = []
    threads = [
        threading.Thread(target=lambda: found.append(list(map(answer, range(_COMPARED)))), daemon=True)
        for _ in range(_AT_ONCE)
    ]
    deadline = perf_counter() + patience
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - perf_counter()))
    if len(found) < _AT_ONCE:
        return "threads that ask at once get no answer"
    alike = all(np.array_equal(*pair) for one in found for pair in zip(one, expected, strict=True))
    return "" if alike else "threads that ask at once get other answers"


def _in_a_fork(answer: Callable[[int], ArrayLike], expected: Sequence[NDArray[Any]], patience: float) -> str:
    """Return what is wrong with the answers of a forked process; SPANN's engine gives none."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        with silenced(STDOUT, STDERR):
            sender.send([np.asarray(answer(number)) for number in range(_COMPARED)])
        os._exit(0)

    process = context.Process(target=child, daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(patience):
            return "a forked process gives no answer"
        return "" if all(map(np.array_equal, receiver.recv(), expected)) else "a forked process gives other answers"
    except EOFError:
        return "a forked process crashes"
    finally:
        process.kill()
        process.join()


def under_load(ask: Callable[[int], object], clients: int, way: str, seconds: float) -> Load:
    """Measure until the throughput is steady, at most three times; `ask` answers the n-th query."""
    load = Load(way=way, clients=clients)
    measure = _in_threads if way == "threads" else _in_processes
    try:
        seconds = max(seconds, min(_LONGEST, max(_ANSWERS, _EACH * clients) * _alone(ask)))
        for _ in range(_ATTEMPTS):
            load = _summed_up(load, measure(ask, clients, seconds), seconds)
            if load.steady:
                break
    except Unanswered as why:
        return replace(load, reason=f"{clients} of them {why}")
    return load


def _alone(ask: Callable[[int], object]) -> float:
    """Return the seconds that a query takes while there is no other; `Unanswered` where it gets no answer."""
    _in_threads(ask, 1, 0.0)  # what is done once, at first
    begin, end = _in_threads(ask, 1, 0.0)[-1]
    return float(end - begin)


def _summed_up(load: Load, times: Times, seconds: float) -> Load:
    """Return what the queries say that were answered within the measured seconds, whenever they had begun."""
    start = times[:, 0].min() + _WARM_UP * seconds
    middle, end = start + seconds / 2, start + seconds
    counted = times[(times[:, 1] >= start) & (times[:, 1] <= end)]
    if len(counted) < 2:
        return replace(load, reason=f"fewer than two queries were answered in {seconds:g} s")
    first = int((counted[:, 1] < middle).sum())
    second = len(counted) - first
    drift = second / first if first else None
    p50, p95, p99 = np.percentile(1000 * (counted[:, 1] - counted[:, 0]), (50, 95, 99)).tolist()
    return replace(
        load,
        queries_per_s=len(counted) / seconds,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        drift=drift,
        steady=drift is not None and bool(abs(drift - 1) <= max(_STEADY, _CHANCE / np.sqrt(len(counted)))),
        reason="",
    )


def _client(
    ask: Callable[[int], object], first: int, begin: Callable[[], object], seconds: float, stopped: threading.Event
) -> Times:
    """Send one query after the other for the warm-up, the time that is measured, and a little after it."""
    taken: list[tuple[float, float]] = []
    with threadpool_limits(1):  # OpenMP's limit is one of each thread that calls it: a new one has none
        begin()
        number, last = first, perf_counter() + (1 + 1.5 * _WARM_UP) * seconds
        while not stopped.is_set() and (not taken or taken[-1][1] < last):
            start = perf_counter()
            ask(number)
            taken.append((start, perf_counter()))
            number += 1
    return np.array(taken)


def _in_threads(ask: Callable[[int], object], clients: int, seconds: float) -> Times:
    found: list[Times] = []
    failed: list[BaseException] = []
    barrier, stopped = threading.Barrier(clients), threading.Event()

    def client(number: int) -> None:
        try:
            found.append(_client(ask, _APART * number, barrier.wait, seconds, stopped))
        except BaseException as error:  # is raised again where somebody sees it
            failed.append(error)
            stopped.set()
            barrier.abort()

    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(clients)]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError as error:
        stopped.set()
        barrier.abort()
        raise Unanswered(f"cannot be had ({error})") from error
    deadline = perf_counter() + _PATIENCE + 2 * seconds
    for thread in threads:
        thread.join(max(0.0, deadline - perf_counter()))
    stopped.set()
    if failed:
        raise next((one for one in failed if not isinstance(one, threading.BrokenBarrierError)), failed[0])
    if any(thread.is_alive() for thread in threads):
        raise Unanswered("get no answer")
    return np.concatenate(found)


def _in_processes(ask: Callable[[int], object], clients: int, seconds: float) -> Times:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(clients)

    def client(number: int, sender: Any) -> None:
        try:
            with silenced(STDOUT, STDERR):  # engines in C++ chatter in a process that they did not expect
                answer: Times | BaseException = _client(ask, _APART * number, barrier.wait, seconds, threading.Event())
        except BaseException as error:  # is raised again by the parent
            answer = error
        with suppress(BrokenPipeError):
            sender.send(answer)
        os._exit(0)  # whatever the parent would do at its end is the parent's

    processes, receivers = [], []
    try:
        for number in range(clients):
            try:
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=client, args=(number, sender), daemon=True)
                process.start()
            except OSError as error:
                raise Unanswered(f"cannot be had ({error})") from error
            processes.append(process)
            receivers.append(receiver)
            sender.close()  # the child's is the only one: who crashes is noticed at once
        deadline = perf_counter() + _PATIENCE + 2 * seconds
        return np.concatenate([_received(receiver, deadline) for receiver in receivers])
    finally:
        for process in processes:
            process.kill()
            process.join()


def _received(receiver: Any, deadline: float) -> Times:
    """Return what a client has measured; `Unanswered` where nothing comes any more."""
    try:
        if not receiver.poll(max(0.0, deadline - perf_counter())):
            raise Unanswered("get no answer")
        found = receiver.recv()
    except EOFError:
        raise Unanswered("crash") from None
    if isinstance(found, BaseException):
        raise found
    return np.asarray(found)
