"""Result files: what is written is what is read, strictly; what is damaged or newer is named and left alone."""

import json
import os
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from raising import raises

from irbench.core.description import Backbone
from irbench.core.errors import StoreError, UsageError
from irbench.core.identifiers import Identifiers
from irbench.core.ranking import Ranking
from irbench.metrics.retrieval import Judged
from irbench.results import files, hits, rankings
from irbench.results.schema import Cost, Dataset, Estimate, QueryTimes, RecipeUsed, Result
from irbench.runtime.unfinished import unfinished

DATASET = Dataset(
    name="digits", protocol="closed-set", crop="none", fingerprint="f" * 64, train=9, gallery=9, queries=5, classes=3
)


def result(**changes):
    facts = {
        "status": "ok",
        "dataset": DATASET,
        "method": "ft-clip",
        "search": "scann",
        "scale": "tiny",
        "default_scale": "tiny",
        "seed": 0,
        "inputs": "a1",
        "recipe": RecipeUsed(text="# class: x\n", hash="b2"),
        "backbone": Backbone(name="test_resnet", weights="trained from scratch", parameters=5),
        "metrics": {
            "precision@1": Estimate(mean=0.5, ci95=(0.4, 0.6)),
            "r_precision": Estimate(mean=None, reason="the ranking is too shallow"),
        },
        "retriever": {"index": "flat", "codes": [1, 2.5, None], "nested": {"ü": True}},
        "cost": Cost(train_s=1.5, index_bytes=7, query_ms=QueryTimes(batch=1, total_p50=0.25)),
        "created": "2025-01-01T00:00:00Z",
    }
    return Result(**(facts | changes))


def test_what_is_written_is_read_back(tmp_path):
    written = result()
    path = files.write(written, tmp_path)
    assert path == tmp_path / "digits" / "ft-clip+scann" / "seed0.json"
    assert files.read(path) == written
    assert files.read_all(tmp_path) == ([written], [])
    document = json.loads(path.read_text())
    assert document["metrics"]["precision@1"] == {"mean": 0.5, "ci95": [0.4, 0.6]}
    assert document["metrics"]["r_precision"]["mean"] is None
    assert document["metrics"]["r_precision"]["reason"]
    assert (document["schema"], list(document)[:3]) == (2, ["schema", "status", "reason"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"search": None}, "digits/ft-clip/seed0.json"),
        (
            {"method": "irgen", "search": None, "overrides": {"num_codebooks": 2}, "seed": 3},
            "digits/irgen@num_codebooks-2/seed3.json",
        ),
    ],
)
def test_a_cell_has_its_place(tmp_path, changes, expected):
    assert result(**changes).path(tmp_path) == tmp_path / expected


BAD_NAMES = ("..", "a/b", ".hidden", "a+b", "a@b", "a\\b", "a b", "trailing.", "nul\0", "ü")


@pytest.mark.parametrize(
    ("field", "name"),
    [
        *((field, name) for field in ("method", "search", "identifier", "dataset") for name in BAD_NAMES),
        ("method", ""),
        ("search", ""),
        ("dataset", ""),
    ],
)
def test_a_name_never_leads_elsewhere(tmp_path, field, name):
    changes = {"dataset": replace(DATASET, name=name)} if field == "dataset" else {field: name}
    with raises(UsageError, "bad-file-name", f"'{name}'"):
        files.write(result(**changes), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {"retriever": {"loss": float("nan")}},
        {"retriever": {"deep": [{"loss": float("inf")}]}},
        {"environment": {"torch": object()}},
        {"seed": "3"},
        {"seed": -1},
        {"status": "failed"},  # without a reason
        {"reason": "none needed"},
        {"status": "done"},
        {"novel": 1},
    ],
)
def test_what_makes_no_sense_cannot_be_made(changes):
    with pytest.raises((ValidationError, TypeError)):
        result(**changes)


def test_a_mean_is_a_finite_number_or_has_a_reason():
    for wrong in ({"mean": float("nan")}, {"mean": None}, {"mean": 0.5, "reason": "but why"}):
        with pytest.raises(ValidationError):
            Estimate(**wrong)


def test_a_newer_schema_is_refused_by_name_and_never_written_over(tmp_path):
    path = files.write(result(), tmp_path)
    newer = path.read_text().replace('"schema": 2', '"schema": 3').replace('"inputs"', '"questions"')
    path.write_text(newer)
    for act in (lambda: files.read(path), lambda: files.write(result(), tmp_path)):
        with raises(StoreError, "newer-schema", path, "schema 3", "up to 2"):
            act()
    assert path.read_text() == newer


def test_an_older_schema_is_refused_by_name_and_may_be_replaced(tmp_path):
    path = files.write(result(), tmp_path)
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 1'))
    with pytest.raises(StoreError) as raised:
        files.read(path)
    assert raised.value.code == "older-schema"
    assert files.read(files.write(result(), tmp_path)) == result()


def test_files_of_other_schemas_are_named_and_left_byte_for_byte(tmp_path):
    texts = {}
    for seed, schema in ((1, 1), (2, 0), (3, -1), (4, 3), (5, 2**70)):
        path = files.write(result(seed=seed), tmp_path)
        path.write_text(path.read_text().replace('"schema": 2', f'"schema": {schema}'))
        texts[path] = path.read_bytes()
        with pytest.raises(StoreError) as raised:
            files.read(path)
        assert raised.value.code == ("older-schema" if schema < 2 else "newer-schema")
    good = result(seed=0)
    files.write(good, tmp_path)
    found, problems = files.read_all(tmp_path)
    assert found == [good]
    assert len(problems) == len(texts)
    for path, text in texts.items():
        assert any(str(path) in problem for problem in problems)
        assert path.read_bytes() == text
    assert len(list(tmp_path.rglob("*"))) == 2 + 1 + len(texts)  # folders, and nothing beside the files


def test_a_damaged_file_is_named_and_does_not_hide_the_rest(tmp_path):
    good = result(seed=1)
    files.write(good, tmp_path)
    broken = {
        "truncated": '{"schema": 2, "status": "o',
        "empty": "",
        "list": "[]",
        "no-schema": "{}",
        "nested": "[" * 100_000,
        "bytes": None,
        "wrong-type": json.dumps({"schema": 2, "status": 7}),
        "metric-name": json.dumps(files.document(result())).replace("precision@1", "precision@abc"),
        "hits-file": json.dumps(
            files.document(result()) | {"hits": {"file": "a\0b", "sha256": "0" * 64, "k": 3}}, indent=1
        ),
    }
    for name, text in broken.items():
        path = tmp_path / "digits" / name / "seed0.json"
        path.parent.mkdir()
        path.write_bytes(b"\xff\xfe" if text is None else text.encode())
    found, problems = files.read_all(tmp_path)
    assert found == [good]
    assert len(problems) == len(broken)
    for name in broken:
        assert any(f"{name}/seed0.json" in problem for problem in problems)


@given(st.data())
def test_any_truncation_is_noticed(data):
    text = json.dumps(files.document(result()))
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises((ValueError, RecursionError)):
        files._parsed(text[:cut])


@given(st.data())
def test_any_changed_sign_is_noticed(tmp_path_factory, data):
    path = files.write(result(), tmp_path_factory.mktemp("results"))
    text = path.read_text()
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from('0123456789.-"{}, ax').filter(lambda sign: sign != text[place]))
    path.write_text(text[:place] + other + text[place + 1 :])
    found, problems = files.read_all(path.parents[2])
    assert found in ([], [result()])  # a blank between values is no change
    assert found or str(path) in problems[0]


def test_a_digit_that_was_changed_is_no_result(tmp_path):
    path = files.write(result(), tmp_path)
    path.write_text(path.read_text().replace('"mean": 0.5', '"mean": 0.9'))
    with raises(StoreError, "damaged-file", path):
        files.read(path)
    assert files.find(path) is None


ODD = [  # where, what, and the key that is named
    (("retriever", "identifiers"), "text", "retriever.identifiers"),
    (("retriever", "identifiers"), {"codes_used": 5}, "retriever.identifiers"),
    (("retriever", "training"), {"irgen": 5}, "retriever.training.irgen"),
    (("retriever", "training"), {"irgen": {"loss": "a"}}, "retriever.training.irgen.loss"),
    (("retriever", "beam_misses"), {"leaves": "many"}, "retriever.beam_misses"),
    (("invariance",), {"baseline": "x", "settings": [{"change": "no"}]}, "invariance.settings"),
    (("metrics", "precision@abc"), {"mean": 0.5}, "metrics.precision@abc"),
    (("metrics", "precision@1", "mean"), 5.0, "metrics.precision@1"),
    (("metrics", "precision@1", "mean"), -1e308, "metrics.precision@1"),
    (("dataset", "queries"), -1, "dataset.queries"),
    (("hits",), {"file": "a\0b", "sha256": "0" * 64, "k": 1}, "hits.file"),
    (("hits",), {"file": "../x", "sha256": "0" * 64, "k": 1}, "hits.file"),
    (("reason",), "x" * (1 << 24), "MiB"),
]


@pytest.mark.parametrize(("where", "what", "named"), ODD, ids=[odd[2] for odd in ODD])
def test_a_file_that_holds_what_no_result_does_is_named_and_left_out(tmp_path, where, what, named):
    path, good = (files.write(result(seed=seed), tmp_path) for seed in (0, 1))
    document = json.loads(path.read_text())
    del document["sha256"]
    inner = document
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = what
    path.write_text(files.sealed(document))
    found, (problem,) = files.read_all(tmp_path)
    assert found == [files.read(good)]
    assert str(path) in problem
    assert named in problem


def test_a_result_in_the_wrong_place_is_named(tmp_path):
    path = files.write(result(), tmp_path)
    copy = tmp_path / "digits" / "clip+scann" / "seed0.json"
    copy.parent.mkdir()
    copy.write_text(path.read_text())
    found, problems = files.read_all(tmp_path)
    assert len(found) == 1
    assert "belongs in" in problems[0]


def test_a_damaged_result_may_be_replaced(tmp_path):
    path = files.write(result(), tmp_path)
    path.write_text('{"schema"')
    files.write(result(), tmp_path)
    assert files.read(path) == result()


def test_a_folder_that_cannot_be_written_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with raises(StoreError, "not-writable", tmp_path / "file", "--results"):
        files.write(result(), tmp_path / "file")
    with raises(StoreError, "not-writable", tmp_path / "file", "--work"):
        rankings.save_ranking(a_ranking(), tmp_path / "file")
    assert files.read_all(tmp_path / "nowhere") == ([], [])


def a_ranking():
    return Ranking.from_topk([[4, 2, -1], [7, 1, 0]], [[0.5, 0.25, 0.0], [9.0, 1.0, 1.0]])


def test_a_ranking_is_kept_bit_by_bit(tmp_path):
    ranking = a_ranking()
    stored = rankings.save_ranking(ranking, tmp_path)
    assert stored == rankings.save_ranking(ranking, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [stored.file]
    loaded = rankings.load_ranking(stored, tmp_path)
    assert (loaded.rows == ranking.rows).all()
    assert loaded.scores.tobytes() == ranking.scores.tobytes()
    assert loaded.rows.dtype == np.int64
    assert stored.k == 3


def test_a_ranking_that_changed_is_refused(tmp_path):
    stored = rankings.save_ranking(a_ranking(), tmp_path)
    content = bytearray((tmp_path / stored.file).read_bytes())
    content[-1] ^= 1
    (tmp_path / stored.file).write_bytes(content)
    with raises(StoreError, "wrong-hash", tmp_path / stored.file):
        rankings.load_ranking(stored, tmp_path)
    (tmp_path / stored.file).unlink()
    with raises(StoreError, "unreadable-file", tmp_path / stored.file):
        rankings.load_ranking(stored, tmp_path)


@pytest.mark.parametrize("codebook_size", [2, 256, 257, 70_000])
def test_the_identifiers_behind_a_ranking_are_kept_with_it_whatever_their_size(tmp_path, codebook_size) -> None:
    codes = np.random.default_rng(0).integers(codebook_size, size=(5, 4))
    codes[0, 0] = codebook_size - 1
    stored = rankings.save_ranking(a_ranking(), tmp_path, Identifiers(codes, codebook_size))
    np.testing.assert_array_equal(rankings.load_codes(stored, tmp_path), codes)
    np.testing.assert_array_equal(rankings.load_ranking(stored, tmp_path).rows, a_ranking().rows)
    assert rankings.load_codes(rankings.save_ranking(a_ranking(), tmp_path), tmp_path) is None


def test_of_two_writers_of_one_cell_the_last_whole_pair_stands(tmp_path):
    folder = result().path(tmp_path).parent
    judged = [{"": Judged(np.full((2, 3), fill), np.array([2, 2]))} for fill in (False, True)]
    ours, theirs = (replace(result(), hits=hits.save(one, folder, seed=0)) for one in judged)
    for last in (theirs, ours):
        path = files.write(last, tmp_path)
        assert hits.Reader(tmp_path)(files.read(path))[""].hits.all() == (last is theirs)
    assert sorted(found.name for found in folder.iterdir()) == sorted([path.name, ours.hits.file])


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    path = files.write(result(), tmp_path)
    mine, gone = unfinished(path), subprocess.Popen(["true"])
    gone.wait()
    theirs = path.with_name(unfinished(path).name.replace(f"-{os.getpid()}-", f"-{gone.pid}-"))
    for beside in (mine, theirs):
        beside.write_text("half of it")
    files.write(result(), tmp_path)
    assert mine.exists()
    assert not theirs.exists()
