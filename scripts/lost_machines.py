"""Lose a worker or a machine of a Ray cluster while a grid runs on it: python scripts/lost_machines.py --loses machine.

A grid on digits runs on two nodes of this machine, undisturbed first, and then once for each moment, at which the
process of a job is killed, or all that one of the nodes runs. Printed for each: what was lost, whether all metrics are
those of the undisturbed run, how many networks were trained, and their training seconds as shares of the undisturbed
ones. Needs the extra irbench[ray].
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer

GRID = ("pixels+linear", "ft-clip+linear", "ft-clip+ivfpq", "irgen")
_SETTINGS = {
    "RAY_memory_monitor_refresh_ms": "0",  # which ends workers for the memory of other processes
    "RAY_health_check_period_ms": "500",
    "RAY_worker_niceness": "0",  # by default 15: beside other programs its workers hardly run
}


class Machines:
    """Two nodes with one core each, and one that only directs them."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(2)]

    def jobs(self) -> list[psutil.Process]:
        """Return the workers that run a job of irbench."""
        raylets = [node.all_processes["raylet"][0].process.pid for node in self.nodes]
        workers = [one for pid in raylets for one in psutil.Process(pid).children()]
        return [one for one in workers if any("ray::prepare" in w or "ray::measure" in w for w in _words(one))]

    def lose(self, worker: psutil.Process, *, machine: bool) -> None:
        """Kill a worker and what it has started; or the node that it runs on, in whose place there is another one."""
        lost = [*worker.children(recursive=True), worker]
        if machine:
            (node,) = [n for n in self.nodes if n.all_processes["raylet"][0].process.pid == worker.ppid()]
            self.cluster.remove_node(node, allow_graceful=False)
            self.nodes.remove(node)
        for one in lost:
            if one.is_running():
                one.kill()
        if machine:
            self.nodes.append(self.cluster.add_node(num_cpus=1))


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def started(folder: Path, machines: Machines) -> subprocess.Popen[str]:
    """Start the grid in a fresh folder."""
    command = [sys.executable, "-m", "irbench", "run", "--executor", "ray", "--address", machines.cluster.address]
    methods = [word for name in GRID for word in ("--method", name)]
    return subprocess.Popen(
        [*command, *methods], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def results(folder: Path) -> dict[str, dict[str, object]]:
    """Return what was stored, by cell."""
    read = (json.loads(path.read_text()) for path in sorted(folder.glob("runs/results/*/*/seed0.json")))
    return {f"{one['method']}+{one['search']}": one for one in read}


def scores(folder: Path) -> dict[str, dict[str, float]]:
    """Return the means of all metrics, by cell."""
    return {name: {metric: one["mean"] for metric, one in r["metrics"].items()} for name, r in results(folder).items()}


def trained(folder: Path) -> dict[str, float]:
    """Return the training seconds of each network; of one that cells share, the largest that any of them states."""
    seconds: dict[str, float] = {}
    for one in results(folder).values():
        for task, facts in one["retriever"].get("training", {}).items():
            seconds[task] = max(seconds.get(task, 0.0), facts["seconds"])
    return seconds


@dataclass(frozen=True)
class Undisturbed:
    """What the grid gives where nothing is lost."""

    seconds: float
    scores: dict[str, dict[str, float]]
    trained: dict[str, float]

    @classmethod
    def run(cls, folder: Path, machines: Machines) -> "Undisturbed":
        """Run the grid to its end."""
        begun = time.monotonic()
        run = started(folder, machines)
        out, _ = run.communicate()
        if run.returncode:
            sys.exit(out)
        return cls(time.monotonic() - begun, scores(folder), trained(folder))

    def compared(self, folder: Path) -> str:
        """Return in words how another run came out."""
        models = len([one for one in (folder / "runs/work/model").iterdir() if one.is_dir()])
        shares = ", ".join(f"{task} {seconds / self.trained[task]:.2f}" for task, seconds in trained(folder).items())
        return f"{models} models, training seconds {shares}"


def disturbed(folder: Path, machines: Machines, after: float, *, machine: bool) -> tuple[str, str, int]:
    """Run the grid and lose the job that runs after so many seconds; return which, the output and the status."""
    run = started(folder, machines)
    time.sleep(after)
    while run.poll() is None and not machines.jobs():
        time.sleep(0.02)
    lost = "nothing, it had ended"
    if jobs := machines.jobs():
        lost = " ".join(" ".join(_words(jobs[0])).split())
        machines.lose(jobs[0], machine=machine)
    out, _ = run.communicate()
    return lost, out, run.returncode


def main(
    moments: Annotated[int, typer.Option(min=1, help="How many, evenly over the undisturbed run.")] = 10,
    loses: Annotated[str, typer.Option(help="worker or machine.")] = "worker",
) -> None:
    """Lose something at each moment, and compare."""
    os.environ |= _SETTINGS
    machines, failed = Machines(), 0
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root) / str(number) for number in range(moments + 1)]
        for folder in folders:
            folder.mkdir()
        whole = Undisturbed.run(folders[0], machines)
        typer.echo(f"undisturbed: {whole.seconds:.0f} s, {whole.compared(folders[0])}")
        for folder, share in zip(folders[1:], np.linspace(0.05, 0.95, moments).tolist(), strict=True):
            lost, out, status = disturbed(folder, machines, share * whole.seconds, machine=loses == "machine")
            same = status == 0 and scores(folder) == whole.scores
            failed += not same
            typer.echo(f"{share:.2f} {lost}: {'same metrics' if same else 'DIFFERS'}, {whole.compared(folder)}")
            if not same:
                typer.echo(out[-2000:])
    machines.cluster.shutdown()
    raise typer.Exit(failed > 0)


if __name__ == "__main__":
    typer.run(main)
