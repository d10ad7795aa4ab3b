"""A baseline is the old one or the new one, whenever a process that updates it is killed."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from raising import raises
from toy_results import draw, make

from irbench.core.errors import StoreError
from irbench.results import files, hits
from irbench.results.regression import baseline
from irbench.results.schema import Cost


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def filled(folders):
    """Three stored cells, of which two were run again; and things that have no place in a baseline."""
    rng = np.random.default_rng(0)
    old, new = (draw(rng, positives=10, quality=quality) for quality in (0.9, 0.8))
    for method in ("a", "b", "c"):
        folders.put(folders.before, make(old, method=method), old)
    (folders.before.results / "README").write_text("by hand")
    folders.put(folders.after, make(new, method="a"), new)
    folders.put(folders.after, make(new, method="b", cost=Cost()), None)
    folders.put(folders.after, make(method="c", status="failed", reason="no"), None)
    folders.put(folders.after, make(new, method="d", variant="epochs-1", shortened={"epochs": 1}), new)
    return folders


def update(folders) -> int:
    made, _ = files.read_all(folders.after.results)
    return baseline.update(made, folders.after, folders.before.results)


def test_good_results_of_whole_runs_replace_their_cells_and_no_others(filled):
    stored = filled.before.results
    stored.chmod(0o755)
    before = content(stored)
    assert update(filled) == 2
    after = content(stored)
    assert {name for name in before | after if before.get(name) != after.get(name)} == {
        *(name for name in before | after if name.startswith(("toy/a/", "toy/b/")))
    }
    assert after["README"] == b"by hand"
    read = {result.method: result for result in files.read_all(stored)[0]}
    assert hits.load(read["a"].hits, stored / "toy" / "a")
    assert read["b"].hits is None  # neither they nor its ranking are anywhere
    assert stored.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in stored.parent.iterdir() if path.name.startswith(".")] == []
    assert update(filled) == 2
    assert content(stored) == after


def test_updates_at_once_wait_for_each_other(filled):
    """Each writes a cell of its own; without the lock, some find the baseline gone and some cells are lost."""
    children = []
    for number in range(6):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                made = [r for r in files.read_all(filled.after.results)[0] if r.method == "a"]
                with baseline.locked(filled.before.results):
                    baseline.update([replace(made[0], method=f"a{number}")], filled.after, filled.before.results)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 6
    stored = {result.method for result in files.read_all(filled.before.results)[0]}
    assert stored == {"a", "b", "c", *(f"a{number}" for number in range(6))}


def test_the_first_baseline_is_made_and_a_place_that_cannot_be_written_is_told(filled, tmp_path):
    made, _ = files.read_all(filled.after.results)
    assert baseline.update(made, filled.after, tmp_path / "deep" / "new") == 2
    assert len(files.read_all(tmp_path / "deep" / "new")[0]) == 2
    (tmp_path / "file").write_text("")
    with raises(StoreError, "not-writable", tmp_path / "file" / "new", "--baseline"):
        baseline.update(made, filled.after, tmp_path / "file" / "new")


def killed_at(step: int, folders) -> bool:
    """Update in a process that ends before its `step`-th write to disk; False where it came to its end."""
    child = os.fork()
    if child == 0:
        count = 0
        status = 1
        for name in ("fsync", "rename", "replace"):
            real = getattr(os, name)

            def counted(*arguments, real=real, **options):
                nonlocal count
                count += 1
                if count == step:
                    os._exit(9)
                return real(*arguments, **options)

            setattr(os, name, counted)
        try:
            update(folders)
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9


def test_a_kill_at_any_step_leaves_the_old_baseline_or_the_new_one(filled, tmp_path):
    stored = filled.before.results
    saved = tmp_path / "saved"
    shutil.copytree(stored, saved)
    update(filled)
    old, new = content(saved), content(stored)
    assert old != new
    seen = []
    step = 0
    while True:
        shutil.rmtree(stored)
        shutil.copytree(saved, stored)
        step += 1
        if not killed_at(step, filled):
            break
        baseline.recover(stored)
        seen.append(content(stored))
        assert seen[-1] in (old, new), f"step {step}"
    assert step > 10
    assert old in seen
    assert new in seen
    assert update(filled) == 2
    assert [path.name for path in stored.parent.iterdir() if path.name.startswith(".")] == []


def test_hits_of_another_result_are_not_taken_for_its_own(filled):
    made, _ = files.read_all(filled.after.results)
    result = next(r for r in made if r.method == "a")
    lost = replace(result, hits=replace(result.hits, sha256="0" * 64))
    assert baseline.update([lost], filled.after, filled.before.results) == 1
    read = {r.method: r for r in files.read_all(filled.before.results)[0]}
    assert read["a"].hits is None
