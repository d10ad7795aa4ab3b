"""What others do on the machine, which no time is compared beside."""

import subprocess
import sys
from pathlib import Path

import pytest

from irbench.runtime import machine
from irbench.runtime.machine import ConcurrentLoad

BURN = "import time; end = time.perf_counter() + 0.5\nwhile time.perf_counter() < end: pass"


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux tells")
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


def test_what_this_process_computes_is_not_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(machine, "Path", lambda _: stat)

    def at(seconds: float, ticks: str, *, own: float) -> None:
        stat.write_text(f"cpu  {ticks}\ncpu0 {ticks}\n")
        monkeypatch.setattr(machine, "perf_counter", lambda: seconds)
        monkeypatch.setattr("os.times", lambda: (own, 0.0, 0.0, 0.0, seconds))

    at(0.0, "100 0 10 500 0 0 0 0 0 0", own=1.0)  # user nice system idle iowait irq softirq steal guest guest_nice
    others = ConcurrentLoad()
    at(2.0, "380 20 30 700 9 9 9 20 7 0", own=2.5)
    assert others.cores() == pytest.approx((3.4 - 1.5) / 2)


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "none")
    assert ConcurrentLoad().cores() is None
