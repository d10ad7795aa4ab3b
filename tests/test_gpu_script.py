"""scripts/gpu.sh asks irbench only for what its command line understands."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from irbench.cli.main import app

ROOT = Path(__file__).parents[1]
COMMAND: Any = get_command(app)
STAND_IN = '#!/usr/bin/env bash\nline=$(printf \'%s\\037\' "$@")\necho "$line" >>"$CALLS"\n'


def understood(arguments: list[str]) -> str:
    """Return the name of the command that the arguments call; what cannot be parsed is an error."""
    assert arguments[:2] == ["-m", "irbench"]
    command, names, rest = COMMAND, [], arguments[2:]
    while hasattr(command, "commands"):
        name, *rest = rest
        names.append(name)
        command = command.commands[name]
    command.make_context(names[-1], rest)
    return " ".join(names)


@pytest.mark.skipif(not (shutil.which("timeout") and shutil.which("bash")), reason="GNU timeout is not here")
def test_every_piece_calls_commands_that_exist(tmp_path: Path) -> None:
    python, calls = tmp_path / "python", tmp_path / "calls"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    own = {"PYTHON": str(python), "WORK": str(tmp_path / "work"), "CALLS": str(calls), "SMALL": "1"}
    for piece in ("bench", "train", "grid"):
        subprocess.run([ROOT / "scripts" / "gpu.sh", piece], check=True, env={**os.environ, **own}, capture_output=True)
    asked = [line.removesuffix("\037").split("\037") for line in calls.read_text().splitlines()]
    asked.remove(["scripts/floor.py", "cpu"])
    assert {understood(call) for call in asked} == {"bench encode", "bench beam", "run", "ablate"}
