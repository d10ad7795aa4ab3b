"""Cells on a Ray cluster of two machines, as processes of this one: lost workers and machines cost nothing but time."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("ray", reason="the extra irbench[ray] is not installed")

SLOW = """
import os
import time
from pathlib import Path

import numpy as np
from irbench.core.description import Description
from irbench.core.ranking import Ranking


class Slow:
    def train(self, images):
        here = Path(__file__).parent
        with (here / "attempts").open("a") as file:
            file.write(f"{os.getpid()}\\n")
        while not (here / "go").exists():
            time.sleep(0.05)

    def index(self, gallery):
        pass

    def search(self, queries, k):
        rows = np.tile(np.arange(k), (len(queries), 1))
        return Ranking.from_topk(rows, -rows.astype(np.float32))

    def describe(self):
        return Description()
"""


class Machines:
    """Two machines with one core each, and one that only directs them."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(2)]

    def lose(self, process: psutil.Process) -> None:
        """Lose the machine that this process runs on, as if its power had failed."""
        ancestors = {one.pid for one in process.parents()}
        (node,) = [n for n in self.nodes if n.all_processes["raylet"][0].process.pid in ancestors]
        workers = [w for w in process.parents() if w.pid != os.getpid() and "raylet" not in w.name()]
        self.cluster.remove_node(node, allow_graceful=False)
        for one in (process, *workers):
            if one.is_running() and one.name().startswith("ray::"):
                one.kill()
        self.nodes.remove(node)
        self.nodes.append(self.cluster.add_node(num_cpus=1))


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # which ends workers for the memory of other processes
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.setenv("RAY_worker_niceness", "0")  # by default 15: beside other programs its workers hardly run
        made = Machines()
        yield made
        made.cluster.shutdown()


def started(folder: Path, machines: Machines, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "irbench", "run", "--executor", "ray", "--address", machines.cluster.address]
    return subprocess.Popen(
        [*command, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def attempt(folder: Path, number: int) -> psutil.Process:
    """Wait for an attempt at the slow training, and return its process."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        lines = (folder / "attempts").read_text().split() if (folder / "attempts").exists() else []
        if len(lines) >= number:
            return psutil.Process(int(lines[number - 1]))
        time.sleep(0.05)
    raise AssertionError(f"no attempt {number}")


def worker_of(process: psutil.Process) -> psutil.Process:
    (worker,) = [one for one in process.parents() if any("ray::" in word for word in one.cmdline())]
    return worker


def scores(folder: Path) -> dict[str, dict[str, float]]:
    results = (json.loads(path.read_text()) for path in folder.rglob("seed*.json"))
    return {f"{r['method']}+{r['search']}": {k: m["mean"] for k, m in r["metrics"].items()} for r in results}


def test_a_grid_on_two_machines_has_the_metrics_of_one_process_after_the_other(
    call: Callable, machines: Machines, tmp_path: Path
) -> None:
    grid = ["--method", "pixels", "--method", "ft-clip", "--search", "linear", "--search", "ivfpq", "--epochs", "1"]
    grid += ["--max-queries", "100"]
    run = started(tmp_path, machines, *grid, "--results", "there")
    status, _, _ = call("run", *grid, "--results", "here", "--work", "other")
    out, _ = run.communicate(timeout=300)
    assert (status, run.returncode) == (0, 0), out
    assert len(scores(tmp_path / "here")) == 4
    assert scores(tmp_path / "there") == scores(tmp_path / "here")
    assert len([one for one in (tmp_path / "runs" / "work" / "model").iterdir() if one.is_dir()]) == 1


@pytest.mark.parametrize("loses", ["worker", "machine"])
def test_what_is_lost_is_done_again_elsewhere(machines: Machines, tmp_path: Path, loses: str) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    run = started(tmp_path, machines, "--method", "slow=slow.py", "--max-queries", "50")
    first = attempt(tmp_path, 1)
    if loses == "worker":
        worker_of(first).kill()
    else:
        machines.lose(first)
    second = attempt(tmp_path, 2)
    assert not first.is_running()  # nothing goes on unseen
    assert second.pid != first.pid
    (tmp_path / "go").touch()
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 0, out
    (result,) = [json.loads(path.read_text()) for path in tmp_path.rglob("seed0.json")]
    assert result["status"] == "ok"


def test_stopping_the_command_ends_its_jobs_on_all_machines(machines: Machines, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    run = started(tmp_path, machines, "--method", "slow=slow.py")
    job = attempt(tmp_path, 1)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert run.returncode == 130
    psutil.wait_procs([job], timeout=20)
    assert not job.is_running()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--executor", "ray", "--address", "127.0.0.1:1"], "no-cluster"),
        (["--executor", "ray", "--jobs", "2"], "unused-option"),
        (["--address", "auto"], "unused-option"),
        (["--executor", "dask"], "unknown-choice"),
        (["--jobs", "4096"], "bad-value"),
    ],
)
def test_an_executor_that_cannot_be_had_is_one_message(call: Callable, arguments: list[str], code: str) -> None:
    status, out, err = call("run", "--method", "pixels", *arguments)
    assert status == 2
    assert f"[{code}]" in err
    assert out == ""
