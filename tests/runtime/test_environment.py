"""What is reported of the machine: the load that others put on it, and the peak of memory."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from irbench.runtime import environment
from irbench.runtime.environment import ConcurrentLoad, peak_memory
from irbench.runtime.machine import Runtime

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
        monkeypatch.setattr(environment, "perf_counter", lambda: seconds)
        monkeypatch.setattr("os.times", lambda: (own, 0.0, 0.0, 0.0, seconds))

    at(0.0, user=1.0, steal=0.0, own=1.0)
    others = ConcurrentLoad()
    assert others.cores() is None
    at(2.0, user=4.0, steal=0.5, own=2.5)
    assert others.cores() == pytest.approx((3.5 - 1.5) / 2)


def test_the_peak_of_memory_is_in_bytes(runtime: Runtime) -> None:
    block = np.ones(1 << 25)  # 268 MB, touched
    host, device = peak_memory(runtime)
    assert block.nbytes < host < 1 << 40
    assert device is None
