"""What a method can do to the grid: crash, hang, raise, answer nonsense. The other cells do not notice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

FAULTY = """
import os, signal, time
from dataclasses import dataclass
import numpy as np
from irbench.core.embeddings import Embeddings
from irbench.core.errors import MissingLibrary
from irbench.core.description import Description
from irbench.core.ranking import Ranking


@dataclass(frozen=True)
class Config:
    pass


class Faulty:
    def __init__(self, config, runtime, parts):
        self.fault = os.environ.get("IRBENCH_FAULT")

    def index(self, gallery):
        self.size = len(gallery)
        if self.fault == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.fault == "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        if self.fault == "raise":
            raise ZeroDivisionError("in the depths of a plug-in")
        if self.fault == "memory":
            raise MemoryError("cannot have 99 GiB")
        if self.fault == "library":
            raise MissingLibrary("needs quux: pip install quux")
        if self.fault == "twice":
            self.size = 1

    def search(self, queries, k):
        if self.fault == "chatter":
            os.write(1, b"a library prints")
        rows = np.tile(np.arange(k) % self.size, (len(queries), 1))
        return Ranking.from_topk(rows, np.zeros(rows.shape, np.float32))

    def describe(self):
        return Description(details={"size": np.int64(self.size)})


class NanEncoder:
    def __init__(self, config, runtime):
        pass

    def encode(self, images):
        vectors = np.ones((len(images), 3), np.float32)
        vectors[7] = np.nan
        return Embeddings(vectors)

    def describe(self):
        return Description()
"""


@pytest.fixture
def faulty(irbench: Callable, plug_in: Callable) -> Callable:
    plug_in(FAULTY, {"retriever:faulty": "Faulty", "encoder:nan": "NanEncoder"})
    return irbench


def result(folder: Path, cell: str) -> dict:
    return json.loads((folder / "runs" / "results" / "digits" / cell / "seed0.json").read_text())


@pytest.mark.parametrize(
    ("fault", "status", "reason", "code"),
    [
        ("segfault", "failed", "SIGSEGV", 1),
        ("raise", "failed", "ZeroDivisionError: in the depths of a plug-in", 1),
        ("memory", "out_of_memory", "cannot have 99 GiB", 1),
        ("library", "skipped", "pip install quux", 0),
        ("twice", "failed", "query 0: ", 1),
    ],
)
def test_a_fault_ends_its_own_cell_only(faulty: Callable, tmp_path: Path, fault, status, reason, code) -> None:
    done = faulty("run", "-m", "faulty", "-m", "pixels", IRBENCH_FAULT=fault)
    assert done.returncode == code, done.stderr
    assert result(tmp_path, "faulty")["status"] == status
    assert reason in result(tmp_path, "faulty")["reason"]
    assert result(tmp_path, "pixels+linear")["status"] == "ok"
    assert "Traceback" not in done.stderr


def test_where_cells_are_prepared_side_by_side_each_fault_ends_its_own_and_is_told(faulty: Callable, tmp_path) -> None:
    (tmp_path / "methods" / "broken.py").write_text("class BrokenEncoder: pass\nraise ZeroDivisionError('at import')\n")
    (tmp_path / "methods" / "broken.toml").write_text('# class: methods/broken.py\n# Broken\nencoder = "broken"\n')
    methods = ("-m", "broken", "-m", "faulty", "-m", "pixels")
    done = faulty("run", *methods, "--jobs", "2", "--max-queries", "9", IRBENCH_FAULT="segfault")
    assert done.returncode == 1
    for cell, status in (("broken+linear", "failed"), ("faulty", "failed"), ("pixels+linear", "ok")):
        assert result(tmp_path, f"{cell}@queries-9")["status"] == status
    assert "ZeroDivisionError" in done.stderr
    assert "SIGSEGV" in done.stderr


def test_a_hang_that_ignores_being_asked_is_ended_by_the_timeout(faulty: Callable, tmp_path: Path) -> None:
    start = time.monotonic()
    done = faulty("run", "-m", "faulty", "--timeout", "2", IRBENCH_FAULT="hang")
    assert time.monotonic() - start < 40
    assert done.returncode == 1
    assert result(tmp_path, "faulty")["status"] == "timeout"
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in processes


def test_a_failure_does_not_replace_a_good_result(faulty: Callable, tmp_path: Path) -> None:
    assert faulty("run", "-m", "faulty").returncode == 0
    before = result(tmp_path, "faulty")
    assert faulty("run", "-m", "faulty", "--force", IRBENCH_FAULT="raise").returncode == 1
    assert result(tmp_path, "faulty") == before


def test_what_a_library_prints_stays_out_of_the_json(faulty: Callable) -> None:
    done = faulty("run", "-m", "faulty", "--json", IRBENCH_FAULT="chatter")
    document = json.loads(done.stdout)
    assert [entry["status"] for entry in document["run"]] == ["ok"]
    assert document["results"][0]["retriever"] == {"size": 899, "all_tied": 1.0}


def test_nan_in_embeddings_is_one_message_that_names_the_row(faulty: Callable) -> None:
    done = faulty("run", "-m", "nan+linear")
    assert done.returncode == 1
    assert "embedding of row 7 " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopping_the_command_stops_the_cell_and_the_next_run_goes_on(faulty: Callable, tmp_path: Path, sign) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *sys.path]),
        "IRBENCH_FAULT": "hang",
    }
    command = [sys.executable, "-m", "irbench", "run", "-m", "pixels", "-m", "faulty"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 -- a background job ignores it
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("[2/2]"):
            break
    time.sleep(3)  # into the hang
    process.send_signal(sign)
    assert process.wait(20) in (130, -sign)
    time.sleep(1)
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in processes.splitlines() if "forkserver" in line and str(tmp_path) in line]
    done = faulty("run", "-m", "pixels", "-m", "faulty")
    assert done.returncode == 0
    assert "1 cell stored already" in done.stderr
