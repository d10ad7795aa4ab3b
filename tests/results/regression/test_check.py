"""`irbench check`: from two folders of results to what is printed and the exit status."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_results import change, draw, make

from irbench.cli.main import main
from irbench.experiments.experiment import Experiment
from irbench.experiments.plan import Request, cells
from irbench.experiments.run import index, measure
from irbench.experiments.settings import Settings
from irbench.report.regression import _rows, as_text
from irbench.results import files
from irbench.results.regression.limits import Limits
from irbench.retrievers.searchers.linear import LinearSearcher


def rank_less(search: Callable) -> Callable:
    """A searcher that drops its best answer for 3 % of the queries."""

    def planted(self, queries, k):
        ranking = search(self, queries, k)
        spoilt = np.random.default_rng(0).random(len(ranking)) < 0.03
        return ranking.without(np.where(spoilt, ranking.rows[:, 0], -1))

    return planted


def answer_later(search: Callable) -> Callable:
    def planted(self, queries, k):
        time.sleep(0.006)  # more than what other processes cost a query of some milliseconds
        return search(self, queries, k)

    return planted


@pytest.fixture
def check(monkeypatch, capsys):
    """Run `irbench check` in this process; returns status, standard output and standard error."""

    def run(folder: str, *options: str) -> tuple[int, str, str]:
        arguments = ["check", "--results", folder, "--baseline", "stored", "--work", "work", *options]
        monkeypatch.setattr(sys, "argv", ["irbench", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), *capsys.readouterr()

    return run


def test_the_whole_way_from_a_planted_searcher_to_the_exit_status(monkeypatch, tmp_path, check):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "irbench.runtime.conditions.ConcurrentLoad.cores", lambda _: 0.0
    )  # times of a busy machine are not compared
    (cell,) = cells(Request(methods=("pixels+linear",)))

    def run(folder: str) -> Path:
        settings = Settings(data=tmp_path, work=tmp_path / "work", results=tmp_path / folder)
        one = Experiment(cell, settings)
        files.write(measure(one, index(one)), settings.results)
        return settings.results

    search = LinearSearcher.search
    stored, _ = run("stored"), run("again")
    for folder, fault in (("drops", rank_less), ("slower", answer_later)):
        monkeypatch.setattr(LinearSearcher, "search", fault(search))
        run(folder)
    path = stored / "digits" / "pixels+linear" / "seed0.json"
    files.write(replace(files.read(path), hits=None), stored)  # as before hits were kept: the ranking is scored
    assert not list(stored.rglob("*.safetensors"))

    status, out, err = check("again", "--slower", "9", "--json")
    assert status == 0, err
    (one,) = json.loads(out)["cells"]
    assert [(c["p"], c["worse"], c["better"], c["of"]) for c in one["quality"]] == [(1.0, 0, 0, 898)] * 3
    status, out, _ = check("drops", "--slower", "9")
    assert status == 1
    assert "worse: pixels+linear on digits: map@100" in out
    status, out, _ = check("slower", "--complete")
    assert status == 1
    assert "worse: pixels+linear on digits: query ms" in out
    assert "map@100 5" not in out.partition("worse:")[2]

    status, out, err = check("drops", "--update")
    assert status == 0
    assert "worse: pixels+linear on digits: map@100" in out
    assert "1 results are now the baseline" in err
    assert files.read(path) == files.read(tmp_path / "drops" / path.relative_to(stored))
    assert check("drops", "--slower", "9")[0] == 0


def test_cells_that_the_two_folders_do_not_share_are_no_comparison(monkeypatch, folders, tmp_path, check):
    monkeypatch.chdir(tmp_path)
    judged = draw(np.random.default_rng(0), positives=10, quality=0.9)
    for number in range(9):
        folders.put(folders.before, make(judged, method=f"old{number}"), judged)
    folders.put(folders.after, make(judged, method="new"), judged)
    folders.before.results.rename(tmp_path / "stored")
    status, out, err = check("after")
    assert status == 2
    assert "[nothing-compared]" in err
    assert "9 missing, 1 new" in out
    assert "9 missing on toy: " in out
    assert json.loads(check("after", "--json")[1])["passed"] is False
    assert check("after", "--update")[0] == 0


def test_an_update_tells_what_it_does_not_store_and_a_check_that_all_was_skipped(monkeypatch, folders, tmp_path, check):
    monkeypatch.chdir(tmp_path)
    judged = draw(np.random.default_rng(0), positives=10, quality=0.9)
    folders.put(folders.before, make(judged), judged)
    folders.before.results.rename(tmp_path / "stored")
    for status, code in (("skipped", 2), ("failed", 1)):
        folders.put(folders.after, make(None, status=status, reason="no library"), None)
        found, _, err = check("after", "--skipped", "pass")
        assert found == code
        assert ("no library" in err and "[nothing-compared]" in err) == (status == "skipped")
        found, _, err = check("after", "--update")
        assert found == 0
        assert (
            f"0 results are now the baseline in stored; not stored, so that the baseline keeps what it has: 1 {status}"
            in err
        )
        assert files.read(tmp_path / "stored" / "toy" / "m" / "seed0.json").status == "ok"


@pytest.mark.parametrize("width", [40, 60, 72])
def test_a_narrow_terminal_shows_each_number_beside_its_cell_and_verdict(folders, width):
    good = draw(np.random.default_rng(5), positives=90, quality=0.9)
    folders.both(good, change(good, worse=25, better=0), method="a-method-of-thirty-characters")
    found = list(folders.compare().values())
    (_, *numbers), (row,) = _rows("toy", found)
    shown = as_text(found, Limits(), width=width).partition("worse:")[0]
    assert max(map(len, shown.splitlines())) <= width
    blocks = shown.strip().split("\n\n")
    assert len(blocks) > 1
    for block in blocks:
        assert "".join(line.split()[0] for line in block.splitlines()[2:]) == row[0]
        assert row[-1] in block
    for text in (*numbers, *row[1:]):
        assert text in shown


def test_a_page_of_markdown_has_every_cell_and_reason(monkeypatch, folders, tmp_path, check):
    monkeypatch.chdir(tmp_path)
    good = draw(np.random.default_rng(5), positives=90, quality=0.9)
    folders.both(good, change(good, worse=25, better=0), method="worse_m_x")
    folders.both(good, good, method="same")
    folders.before.results.rename(tmp_path / "stored")
    status, out, _ = check("after", "--format", "markdown")
    assert status == 1
    lines = out.splitlines()
    assert lines[0] == "### irbench check: failed"
    assert any(line.startswith(r"- worse: worse\_m\_x on toy: precision@1 ") for line in lines)
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 4
    assert len({line.count("|") for line in table}) == 1
    assert [line.split("|")[-2].strip() for line in table[2:]] == ["same", "worse"]
    assert json.loads(check("after", "--format", "json")[1]) == json.loads(check("after", "--json")[1])


@pytest.mark.parametrize(
    ("folder", "options", "message"),
    [
        ("nowhere", (), "no results in nowhere to check"),
        ("after", ("--dataset", "digits"), "no results of --dataset digits in after to check"),
        ("after", (), "no results in stored to compare with"),
    ],
)
def test_nothing_to_compare_is_no_pass(monkeypatch, folders, tmp_path, check, folder, options, message):
    monkeypatch.chdir(tmp_path)
    folders.put(folders.after, make(), None)
    status, out, err = check(folder, *options)
    assert (status, out) == (2, "")
    assert message in err


def test_a_damaged_file_on_either_side_is_no_pass(monkeypatch, folders, tmp_path, check):
    monkeypatch.chdir(tmp_path)
    judged = draw(np.random.default_rng(0), positives=10, quality=0.9)
    for kept in (folders.before, folders.after):
        folders.put(kept, make(judged), judged)
    folders.before.results.rename(tmp_path / "stored")
    assert check("after")[0] == 0
    for folder in ("stored", "after"):
        broken = tmp_path / folder / "toy" / "broken" / "seed0.json"
        broken.parent.mkdir()
        broken.write_text("{")
        status, _, err = check("after")
        assert status == 1
        assert str(broken.relative_to(tmp_path)) in err
        document = json.loads(check("after", "--json")[1])
        assert (document["passed"], len(document["problems"])) == (False, 1)
        broken.unlink()
    assert check("after")[0] == 0


def test_a_folder_without_hits_and_without_rankings_is_told(folders):
    judged = draw(np.random.default_rng(0), positives=10, quality=0.9)
    folders.put(folders.before, make(judged), None)
    folders.put(folders.after, make(judged), judged)
    (note,) = folders.compare()["m"].notes
    assert "before/toy/m/seed0.json" in note
