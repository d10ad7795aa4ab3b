"""A table that was printed is printed again without computing it, and never when anything differs that it shows."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from irbench.cli import table as command
from irbench.results import files
from irbench.results.schema import Estimate

STORED = Path(__file__).parents[2] / "results" / "digits"
CELLS = ("ft-clip+linear", "ft-clip+ivfpq", "pixels+linear")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for cell in CELLS:
        shutil.copytree(STORED / cell, tmp_path / "results" / "digits" / cell)
    return tmp_path / "results"


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders from which tables were computed, and not recalled."""
    made: list[Path] = []
    read = command.read_results
    monkeypatch.setattr(command, "read_results", lambda folder: made.append(folder) or read(folder))
    return made


def raised(path: Path) -> None:
    result = files.read(path)
    metrics = result.metrics | {"precision@1": Estimate(mean=0.5, ci95=(0.4, 0.6), short=0.0)}
    path.write_text(files.sealed(files.document(result) | {"metrics": {k: vars(v) for k, v in metrics.items()}}))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


CHANGES: dict[str, Callable[[Path], object]] = {
    "a number": lambda folder: raised(next(folder.glob("digits/pixels*/*.json"))),
    "a result is gone": lambda folder: shutil.rmtree(folder / "digits" / CELLS[1]),
    "a result more": lambda folder: shutil.copytree(STORED / "classify", folder / "digits" / "classify"),
    "hits are damaged": lambda folder: cut(next(folder.glob("digits/ft-clip+linear/*.safetensors"))),
    "a document is damaged": lambda folder: cut(next(folder.glob("digits/ft-clip+linear/*.json"))),
    "a recipe of one's own": lambda folder: (
        (folder.parent / "datasets").mkdir() or (folder.parent / "datasets" / "new.toml").write_text("")
    ),
}


def test_the_second_table_is_the_first_and_computes_nothing(irbench, results, computed):
    for options in ([], ["--metric", "cost"], ["--format", "json"], ["--table", "1"]):
        first, second = (irbench("table", "--results", "results", *options) for _ in range(2))
        assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, first.stderr)
    assert len(computed) == 4


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_has_changed_is_computed_anew(irbench, results, computed, change):
    before = irbench("table")
    change(results)
    after, fresh = irbench("table"), irbench("table", XDG_CACHE_HOME="elsewhere")
    assert len(computed) == 3
    assert (after.returncode, after.stdout, after.stderr) == (fresh.returncode, fresh.stdout, fresh.stderr)
    assert after.stdout != before.stdout or change is CHANGES["a recipe of one's own"]


def test_another_width_environment_or_place_is_another_question(irbench, results, computed, monkeypatch, tmp_path):
    irbench("table")
    assert max(map(len, irbench("table", COLUMNS="60").stdout.splitlines())) <= 60
    irbench("table", TERM="dumb")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    irbench("table", "--results", "../results")
    assert len(computed) == 4


def test_faults_own_code_and_names_of_folders_are_never_remembered(irbench, results, computed, tmp_path):
    cut(next(results.glob("digits/pixels*/*.json")))
    assert [irbench("table").returncode for _ in range(2)] == [1, 1]
    shutil.rmtree(results / "digits" / "pixels+linear")
    assert [irbench("table", "--dataset", "digits").returncode for _ in range(2)] == [0, 0]
    (tmp_path / "metrics").mkdir()
    assert [irbench("table").returncode for _ in range(2)] == [0, 0]
    assert len(computed) == 6


def test_a_damaged_answer_is_made_again_and_the_oldest_are_deleted(irbench, results, computed, tmp_path, monkeypatch):
    first = irbench("table")
    (answer,) = (tmp_path / "cache").rglob("*.json")
    for content in (answer.read_text().replace("digits", "forged"), "[" * 200_000, "[]", ""):
        answer.write_text(content)
        assert irbench("table").stdout == first.stdout
    monkeypatch.setattr("irbench.cli.remembered._KEPT", 2)
    for metric in ("map", "mrr", "recall"):
        irbench("table", "--metric", metric)
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 2
    assert len(computed) == 8


def test_what_is_no_result_is_neither_waited_for_nor_read_into_memory(irbench, results, computed):
    folder = results / "digits" / CELLS[0]
    os.mkfifo(folder / "seed0-x.safetensors")
    with (folder / "seed0-y.safetensors").open("wb") as file:
        file.truncate(1 << 40)
    assert [irbench("table").returncode for _ in range(2)] == [0, 0]
    assert len(computed) == 1
    os.mkfifo(folder / "seed8.json")
    assert irbench("table").returncode == 1


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(irbench, results, computed, tmp_path):
    (tmp_path / "file").write_text("")
    assert [irbench("table", XDG_CACHE_HOME=str(tmp_path / "file")).returncode for _ in range(2)] == [0, 0]
    assert len(computed) == 2
