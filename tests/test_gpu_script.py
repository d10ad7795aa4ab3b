"""scripts/gpu.sh asks irbench only for what it can do, runs nothing twice, and goes on where it was stopped."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from irbench.cli.bench import _numbers, _pair
from irbench.cli.main import _request, app
from irbench.core.cell import Cell
from irbench.experiments.ablations import ablation_cells
from irbench.experiments.plan import cells

ROOT = Path(__file__).parents[1]
COMMAND: Any = get_command(app)
pytestmark = pytest.mark.skipif(
    not (shutil.which("timeout") and shutil.which("bash")), reason="GNU timeout is not here"
)
STAND_IN = """#!/usr/bin/env bash
line=$(printf '%s\\037' "$@")
echo "$line" >>"$CALLS"
case "$*" in *"$BROKEN"*) exit 1 ;; esac
"""


class Script:
    """The script, with a stand-in for Python that notes what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.calls, self.python, self.work = folder / "calls", folder / "python", folder / "work"
        self.python.write_text(STAND_IN)
        self.python.chmod(0o755)

    def run(self, *pieces: str, status: int = 0, broken: str = "nothing is", **environment: str) -> list[list[str]]:
        """Return the calls of Python that these pieces make."""
        self.calls.write_text("")
        own = {"PYTHON": str(self.python), "WORK": str(self.work), "CALLS": str(self.calls), "BROKEN": broken}
        for piece in pieces:
            done = subprocess.run(
                [ROOT / "scripts" / "gpu.sh", piece],
                check=False,
                env={**os.environ, **own, **environment},
                capture_output=True,
            )
            assert done.returncode == status, done.stderr
        return [line.removesuffix("\037").split("\037") for line in self.calls.read_text().splitlines()]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def parsed(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the command that the arguments name, and its options; what cannot be parsed is an error."""
    assert arguments[:2] == ["-m", "irbench"]
    command, names, rest = COMMAND, [], arguments[2:]
    while hasattr(command, "commands"):
        name, *rest = rest
        names.append(name)
        command = command.commands[name]
    return " ".join(names), command.make_context(names[-1], rest).params


def asked(calls: list[list[str]]) -> list[Cell]:
    """Return the cells of all runs and ablations among the calls."""
    found: list[Cell] = []
    for name, options in map(parsed, calls):
        if name == "run":
            found += cells(_request(options))
        elif name == "ablate":
            found += ablation_cells(options["what"], _request(options))
    return found


@pytest.mark.parametrize("small", ["", "1"])
def test_every_command_of_every_piece_is_one_that_irbench_knows(script: Script, small: str) -> None:
    calls = script.run("bench", SMALL=small)
    calls.remove(["scripts/floor.py", "cpu" if small else "cuda"])
    for _, options in map(parsed, calls):
        _numbers("--batches", options["batches"])
        _numbers("--beam-sizes", options.get("beam-sizes", "1"))
        assert all(map(_pair, filter(None, options.get("compare", "").split(","))))
    trained, timed = (asked(script.run(piece, SMALL=small)) for piece in ("train", "grid"))
    assert {cell.max_queries for cell in trained} == {8}
    assert {cell.max_queries for cell in timed} == {None}
    assert {cell.seed for cell in timed} == ({0} if small else {0, 1, 2})
    assert {cell.name for cell in timed} == {
        "irgen", *(f"{m}+{s}" for m in ("ft-clip", "cgd", "irt-r") for s in ("linear", "ivfpq", "scann", "spann"))
    }  # fmt: skip
    assert len(set(timed)) == (3 - 2 * bool(small)) * (12 + 6 + 3)
    written = [(cell.identifier, dict(cell.overrides).get("num_codebooks", 4)) for cell in timed if cell.identifier]
    kinds = [(kind, 4) for kind in ("semantic", "hkm", "random", "hkm-200", "hkm-500", "rqvae")]
    assert written[:10] == [*kinds, *(("semantic", length) for length in (2, 4, 6, 8))]


def test_the_tests_that_need_a_gpu_are_where_the_script_looks(script: Script) -> None:
    (call,) = script.run("check")
    folders = [argument for argument in call if argument.startswith("tests/")]
    marked = {path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py") if "mark.gpu" in path.read_text()}
    assert len(folders) == 4
    assert all(
        any(path.is_relative_to(folder) for folder in folders) for path in marked - {Path(__file__).relative_to(ROOT)}
    )


def test_what_has_ended_is_not_run_again_and_what_has_failed_is(script: Script) -> None:
    few = {"SEEDS": "0", "ENCODERS": "ft-clip", "IDENTIFIERS": "hkm random", "LENGTHS": ""}
    assert len(script.run("bench", broken="fp32", status=1)) == 3
    assert len(script.run("bench")) == 4
    assert script.run("bench") == []
    assert len(script.run("train", broken="hkm", status=123, **few)) == 3
    assert {cell.identifier for cell in asked(script.run("grid", **few))} == {None, "random"}
    assert [cell.identifier for cell in asked(script.run("train", **few))] == ["hkm"]
    assert script.run("train", **few) == []
    assert {cell.identifier for cell in asked(script.run("grid", **few))} == {"hkm"}
    assert asked(script.run("grid", **few)) == []


def test_a_piece_is_stopped_in_time_and_leaves_what_is_finished(script: Script) -> None:
    script.python.write_text(STAND_IN + 'case "$*" in *random*) sleep 60 ;; esac\n')
    few = {"SEEDS": "0", "ENCODERS": "", "IDENTIFIERS": "hkm random", "LENGTHS": "", "LIMIT": "2", "JOBS": "2"}
    assert len(script.run("train", status=75, **few)) == 2
    assert [path.name for path in (script.work / "trained").iterdir()] == [
        "run_--method_irgen_--identifier_hkm_--seed_0"
    ]
    assert (script.work.parent / "out" / "results.tgz").exists()


def test_who_stops_the_script_stops_all_that_it_has_started(script: Script) -> None:
    script.python.write_text("#!/usr/bin/env bash\necho started\nexec sleep 60\n")
    own = {**os.environ, "PYTHON": str(script.python), "WORK": str(script.work)}
    with subprocess.Popen(
        ["scripts/gpu.sh", "check"], cwd=ROOT, env=own, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "started\n"
        running.terminate()
        running.communicate(timeout=20)  # ends when nobody is left who could write
    assert running.returncode == 128 + 15
