"""The same command gives the same numbers, killed on its way or not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from engines import SPANN_RUNS

from irbench.results.files import read_all

REPEATED = [
    "ft-clip+scann",
    *(["ft-clip+spann"] if SPANN_RUNS else ["ft-clip+ivfpq"]),
    "irgen",
]  # whatever draws random numbers


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_equal_seeds_give_equal_metrics_also_after_a_kill(irbench: Callable, tmp_path: Path) -> None:
    short = [*(part for name in REPEATED for part in ("--method", name)), "--epochs", "1", "--max-queries", "200"]
    assert irbench("run", *short, "--work", "unbroken", "--results", "first").returncode == 0

    environment = {**os.environ, "IRBENCH_WORK": "broken", "IRBENCH_RESULTS": "second"}
    command = [sys.executable, "-m", "irbench", "run", *short]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "[3/3] irgen" in line:
            break
    time.sleep(2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = irbench("run", *short, "--work", "broken", "--results", "second")
    assert done.returncode == 0, done.stderr
    assert "2 cells stored already" in done.stderr

    first, second = ({r.cell: r for r in read_all(tmp_path / folder)[0]} for folder in ("first", "second"))
    assert sorted(first) == sorted(f"{name}@epochs-1,queries-200" for name in REPEATED)
    for cell, result in first.items():
        assert result.shortened == {"max_queries": 200, "epochs": 1}
        assert second[cell].metrics == result.metrics, cell
        assert second[cell].ranking == result.ranking, cell
