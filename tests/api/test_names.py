"""What is stored under a name stays what was stored under it."""

from dataclasses import replace
from pathlib import Path

import pytest
from own_objects import MINE, Backwards, Grey, grey

import irbench
from irbench import IrbenchError, evaluate, load_results
from irbench import run as run_all


def test_what_is_named_twice_runs_once_and_two_things_of_one_name_do_not(digits) -> None:
    encoder = Grey()
    twice = irbench.run([encoder, encoder], [digits], search=["linear", "linear"], seeds=(0, 0), progress=False)
    assert {one.cell for one in twice} == {"Grey+linear"}
    assert len(twice) == 1
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.run([Grey(), Grey()], [digits])
    assert raised.value.code == "name-taken"


def test_objects_are_named_by_a_mapping_and_files_on_the_command_line(digits, irbench, tmp_path: Path) -> None:
    vectors = grey(digits.queries), grey(digits.gallery)
    made = run_all({"one": Grey(), "other": vectors}, [digits], search={"loop": Backwards()}, progress=False)
    assert [one.cell for one in made] == ["one+loop", "other+loop"]
    assert run_all(list(vectors), [digits], progress=False)[0].cell == "vectors+linear"
    (tmp_path / "below").mkdir()
    for place in ("mine.py", "below/mine.py"):
        (tmp_path / place).write_text(MINE)
    command = ("run", "--max-queries", "20", "-m")
    assert irbench(*command, "./mine.py", "-m", "below/mine.py").returncode == 2  # two methods called "mine"
    assert irbench(*command, "./mine.py").returncode == 0
    other = irbench(*command, "below/mine.py")
    assert (other.returncode, other.stderr.count("[name-taken]")) == (2, 1)
    assert irbench(*command, "below/mine.py", "--force").returncode == 0
    assert irbench(*command, "mine2=mine.py", "-m", "mine3=below/mine.py").returncode == 0
    stored = {one.method: one.retriever.get("method_file") for one in load_results("runs/results")}
    assert stored["mine"] == stored["mine3"]
    assert stored["mine"].startswith("below/mine.py ")
    assert stored["mine2"].startswith("mine.py ")
    with pytest.raises(IrbenchError) as raised:  # nor does a live object replace a file's
        evaluate(Grey(), digits, name="mine", max_queries=20, progress=False)
    assert raised.value.code == "name-taken"
    assert run_all({"mine4": "./mine.py"}, max_queries=20, progress=False)[0].metrics


def test_a_derived_benchmark_does_not_pass_for_the_one_that_it_comes_from(digits) -> None:
    half = replace(digits, gallery=digits.gallery.take(slice(None, None, 2)))
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.evaluate("pixels", half, progress=False)
    assert raised.value.code == "name-taken"
    halves = [replace(half, name="half"), replace(half, name="half", gallery=digits.gallery.take(slice(400)))]
    first = irbench.evaluate("pixels", halves[0], progress=False)
    assert first.dataset.gallery == 450
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.evaluate("pixels", halves[1], progress=False)
    assert raised.value.code == "name-taken"
    assert irbench.evaluate("pixels", halves[1], force=True, progress=False).dataset.gallery == 400


@pytest.mark.parametrize("part", ["pixels", "ks", "in place"])
def test_other_pixels_and_other_depths_are_another_benchmark(part) -> None:
    digits = irbench.load_dataset("digits")
    if part == "pixels":
        other = replace(digits, queries=replace(digits.queries, arrays=255 - digits.queries.arrays))
    elif part == "ks":
        other = replace(digits, ks=(1, 2))
    else:
        other = replace(digits, queries=replace(digits.queries, arrays=digits.queries.arrays.copy()))
        other.queries.arrays[:] = 0
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.evaluate("pixels", other, progress=False)
    assert raised.value.code == "name-taken"


@pytest.mark.parametrize("name", ["a b", "../x", "x" * 300, "", None, 5], ids=repr)
def test_names_that_would_have_to_be_changed_are_refused(digits, name) -> None:
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.evaluate("pixels", replace(digits, name=name))
    assert raised.value.code == "bad-file-name"
    if name not in {"", None}:
        with pytest.raises(irbench.IrbenchError) as raised:
            irbench.evaluate(type("Encoder", (Grey,), {"name": name if isinstance(name, str) else "a/b"})(), digits)
        assert raised.value.code == "bad-file-name"


@pytest.mark.parametrize(
    ("methods", "code"),
    [({"a": "pixels"}, "unused-option"), ({"a": Grey}, "not-a-method"), ({"a": None}, "not-a-method")],
    ids=str,
)
def test_a_mapping_names_objects_and_nothing_else(methods, code) -> None:
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.run(methods)
    assert raised.value.code == code
