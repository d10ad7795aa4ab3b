"""The load of other processes is seen, that of this one is not; the load of several pieces of work is their mean."""

import subprocess
import sys
from hashlib import sha256
from threading import Thread
from time import perf_counter, thread_time
from types import SimpleNamespace

import pytest

from irbench.runtime import conditions
from irbench.runtime.conditions import (
    ConcurrentLoad,
    OwnLoad,
    Work,
    average_load,
    processor_and_steering,
    processor_name,
    significant,
)

BURN = "import time; end = time.perf_counter() + 0.5\nwhile time.perf_counter() < end: pass"


def test_a_process_beside_this_one_is_seen() -> None:
    others = ConcurrentLoad()
    child = subprocess.Popen([sys.executable, "-c", BURN])
    try:
        while child.poll() is None:
            seen = others.cores()
    finally:
        child.kill()
    assert seen is not None
    assert seen > 0.3


def test_what_this_process_computes_is_not_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def at(seconds: float, user: float, steal: float, *, own: float) -> None:
        times = SimpleNamespace(user=user, system=1.0, idle=500.0, nice=0.25, steal=steal)
        monkeypatch.setattr("psutil.cpu_times", lambda: times)
        monkeypatch.setattr(conditions, "perf_counter", lambda: seconds)
        monkeypatch.setattr("os.times", lambda: (own, 0.0, 0.0, 0.0, seconds))

    at(0.0, user=1.0, steal=0.0, own=1.0)
    others = ConcurrentLoad()
    assert others.cores() is None
    at(2.0, user=4.0, steal=0.5, own=2.5)
    assert others.cores() == pytest.approx((3.5 - 1.5) / 2)


def test_the_cores_of_all_threads_of_this_process_are_counted() -> None:
    own, start, computed = OwnLoad(), perf_counter(), list[float]()

    def spin() -> None:
        while perf_counter() < start + 0.4:
            sha256(bytes(1 << 20))  # without the lock of the interpreter
        computed.append(thread_time())

    spinning = [Thread(target=spin) for _ in range(3)]
    for one in spinning:
        one.start()
    for one in spinning:
        one.join()
    seconds, cores = perf_counter() - start, own.cores()
    assert cores == pytest.approx(sum(computed) / seconds, rel=0.2, abs=0.05)


def test_a_load_counts_for_as_long_as_the_work_took() -> None:
    assert average_load([Work(30.0, load=1.0), Work(10.0, load=0.0), Work(0.0)]) == 0.75
    assert average_load([Work(30.0, load=1.0), Work(10.0)]) is None  # a part of it nobody watched
    assert average_load([]) is None


def test_opening_a_model_is_no_part_of_its_training() -> None:
    opened, tokenizer, decoder = Work(0.5, "here"), Work(9.0, "there"), Work(300.0, "there")
    assert significant([opened, tokenizer, decoder]) == (tokenizer, decoder)
    assert significant([Work(0.001, "here")]) == (Work(0.001, "here"),)  # nothing was trained


def test_variables_that_steer_libraries_are_told_with_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in conditions._STEERING:
        monkeypatch.delenv(name, raising=False)
    assert processor_and_steering() == processor_name()
    monkeypatch.setenv("LD_PRELOAD", "/home/somebody/lib/a.so:/opt/b.so c.so")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert processor_and_steering() == f"{processor_name()} (ONEDNN_MAX_CPU_ISA=AVX2, LD_PRELOAD=a.so b.so c.so)"
