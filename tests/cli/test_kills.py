"""A command that is killed at any file operation loses nothing, and the next one leaves nothing of it behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from irbench.results import files

KILLER = """
import os, signal, sys

left = int(os.environ.get("KILL_AT", 0))


def watch(event, arguments):
    global left
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")
    if left and (writes or event in {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}):
        if str(arguments[0]).startswith(os.environ["KILL_IN"]) or not str(arguments[0]).startswith("/"):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(watch)
"""
COMMANDS = {
    "export": "export --out out/trec",
    "report": "report --out out/site",
    "import": "import out/given.txt --method theirs --dataset digits --force",
}


def state(folder: Path) -> dict[str, bytes]:
    """Everything that a user would find, but for locks and the lists of what is where."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture
def world(irbench: Callable, tmp_path: Path) -> Path:
    """One stored result, and what each command makes of it."""
    assert irbench("run", "-m", "pixels").returncode == 0
    assert irbench("export", "--out", "out/trec").returncode == 0
    (given,) = (tmp_path / "out/trec").glob("*/pixels*")
    given.rename(tmp_path / "out/given.txt")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(KILLER)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_kill_at_any_file_operation(world: Path, command: str) -> None:
    def run(kill_at: int) -> int:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(world / "site"), *sys.path]),
            "KILL_AT": str(kill_at),
            "KILL_IN": str(world),
        }
        line = [sys.executable, "-m", "irbench", *COMMANDS[command].split()]
        return subprocess.run(
            line, cwd=world, env=environment, capture_output=True, check=False, timeout=120
        ).returncode

    assert run(0) == 0
    before, kills = state(world), 0
    for kill_at in (1, 3, 8):
        if run(kill_at) != -signal.SIGKILL:
            break  # it has no more file operations
        kills += 1
        found, problems = files.read_all(world / "runs/results")
        assert not problems  # at no moment is anything half-written
        assert found
    assert kills > 1
    assert run(0) == 0
    after = state(world)
    assert after.keys() == before.keys()
    stamped = {name for name in after if after[name] != before[name]}
    assert all(name.endswith(("seed0.json", ".html")) for name in stamped)  # which tell when they were made
