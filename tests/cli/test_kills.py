"""A command that is killed at any file operation loses nothing, and the next one leaves nothing of it behind."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from killing import in_a_fork

from irbench.cli.main import main
from irbench.results import files

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
    return tmp_path


def carry_out(command: str) -> None:
    sys.argv = ["irbench", *command.split()]
    main()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_kill_at_any_file_operation(irbench: Callable, world: Path, command: str) -> None:
    def run(kill_at: int) -> int:
        return in_a_fork(carry_out, COMMANDS[command], root=world, kill_at=kill_at)

    assert irbench(*COMMANDS[command].split()).returncode == 0  # every fork then has the libraries
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
