"""Code of the user's that goes wrong where nothing has begun yet, or leaves more behind than an answer."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

FILE = """
import os, signal, sys, time
from dataclasses import dataclass
import numpy as np
from irbench import Description, Embeddings
{at_import}


@dataclass(frozen=True)
class Config:
    shift: int = 0


class MineEncoder:
    def __init__(self, config, runtime):
        {in_constructor}

    def encode(self, images):
        {in_encode}
        return Embeddings(np.array(images.labels[:, None] == np.arange(10), np.float32))

    def describe(self):
        return Description()
"""


@pytest.fixture
def plug_in(tmp_path: Path) -> Callable:
    """Write a recipe and its Python file, with a fault in one place."""

    def write(**faults: str) -> None:
        places = dict.fromkeys(("at_import", "in_constructor", "in_encode"), "pass") | faults
        (tmp_path / "methods").mkdir(exist_ok=True)
        (tmp_path / "methods/mine.py").write_text(FILE.format(**places))
        (tmp_path / "methods/mine.toml").write_text('# mine\nretriever = "dense"\nencoder = "mine"\n')

    return write


def cells(done) -> dict[str, str]:
    assert done.stdout, done.stderr
    return {result["method"]: result["status"] for result in json.loads(done.stdout)["results"]}


RUN = ("run", "-m", "mine", "-m", "pixels", "--max-queries", "9", "--json")


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("raise RuntimeError('boom')", "failed"),
        ("sys.exit(3)", "failed"),
        ("os._exit(0)", "failed"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "failed"),
        ("time.sleep(90)", "timeout"),
        ("print('chatter'); os.write(1, b'more of it')", "ok"),
    ],
)
@pytest.mark.parametrize("place", ["at_import", "in_constructor"])
def test_a_fault_before_anything_is_computed_ends_its_own_cell(
    irbench: Callable, plug_in, place, fault, status
) -> None:
    plug_in(**{place: fault})
    done = irbench(*RUN, *(("--timeout", "10") if status == "timeout" else ()))
    assert cells(done) == {"mine": status, "pixels": "ok"}
    assert done.returncode == (status != "ok")
    assert "stored already" in irbench("run", "-m", "pixels", "--max-queries", "9").stderr


def test_a_key_of_a_plug_in_is_set_without_importing_it_here(irbench: Callable, plug_in) -> None:
    plug_in(at_import="open('imported', 'a').write(f'{os.getpid()} ')")
    done = irbench("run", "-m", "mine", "--set", "shift=2", "--dry-run")
    assert "(shift-2)" in done.stderr
    assert str(os.getpid()) not in Path("imported").read_text().split()
    assert "[unknown-key]" in irbench("run", "-m", "mine", "--set", "shifted=2", "--dry-run").stderr


SEARCHER = """
import os
from dataclasses import dataclass
from typing import ClassVar

open('imported', 'a').write(f'{os.getpid()} ')


@dataclass(frozen=True)
class Config:
    sweep: ClassVar = ((('width', 2),), (('width', 4),))
    width: int = 4


class NearSearcher:
    pass
"""


def test_a_search_of_ones_own_names_its_settings_without_being_imported_here(irbench: Callable, tmp_path: Path) -> None:
    (tmp_path / "methods/search").mkdir(parents=True)
    (tmp_path / "methods/search/near.py").write_text(SEARCHER)
    (tmp_path / "methods/search/near.toml").write_text('# near\nsearcher = "near"\n')
    planned = irbench("ablate", "index", "-m", "pixels+near", "--dry-run").stderr
    assert "2 cells to run" in planned
    assert "pixels+near (width-2) on digits" in planned
    assert str(os.getpid()) not in Path("imported").read_text().split()


def test_a_plug_in_that_cannot_be_asked_for_its_keys_ends_its_own_cell(irbench: Callable, plug_in) -> None:
    plug_in(at_import="os._exit(0)")
    done = irbench(*RUN, "--set", "shift=2")
    assert cells(done) == {"mine": "failed", "pixels": "ok"}
    assert {result["overrides"].get("shift") for result in json.loads(done.stdout)["results"]} == {2, None}


def test_what_is_wrong_with_a_file_is_still_the_users_error(irbench: Callable, plug_in) -> None:
    plug_in(at_import="class OtherEncoder: pass")
    done = irbench(*RUN)
    assert done.returncode == 2
    assert "[bad-python-file]" in done.stderr
    assert not Path("runs/results").exists()


def test_a_folder_that_is_changed_does_not_move_the_results(irbench: Callable, plug_in, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    plug_in(in_constructor=f"os.chdir({str(tmp_path / 'elsewhere')!r})")
    assert cells(irbench(*RUN)) == {"mine": "ok", "pixels": "ok"}
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("ending", ["os.kill(os.getpid(), signal.SIGSEGV)", "pass"])
def test_nothing_that_a_cell_starts_outlives_it(irbench: Callable, plug_in, tmp_path: Path, ending: str) -> None:
    pid = tmp_path / "pid"
    child = f"open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    plug_in(in_encode=f"if os.fork() == 0: os.setsid(); {child}\n        time.sleep(0.5); {ending}")
    start = time.monotonic()
    done = irbench(*RUN)
    assert cells(done) == {"mine": "ok" if ending == "pass" else "failed", "pixels": "ok"}
    assert time.monotonic() - start < 120
    while Path("/proc", pid.read_text(), "exe").exists():  # it is ended, and then its parent has to take notice
        assert time.monotonic() - start < 150
        time.sleep(0.1)
