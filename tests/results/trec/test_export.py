"""What is written for other evaluators gives them irbench's own figures, query by query."""

import re
from pathlib import Path
from urllib.parse import unquote

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyarrow.parquet import read_table

from irbench.core.imagenames import name, rows_by_name
from irbench.metrics import retrieval
from irbench.results.artefacts import Artefacts
from irbench.results.trec import entries
from irbench.results.trec.entries import strictly_decreasing
from irbench.results.trec.export import export

# irbench's name, trec_eval's, ir-measures'
SAME = [
    ("precision@{}", "P_{}", "P@{}"),
    ("hit_rate@{}", "success_{}", "Success@{}"),
    ("recall@{}", "recall_{}", "R@{}"),
    ("mrr@{}", None, "RR@{}"),
    ("map@{}", "map_cut_{}", "AP@{}"),
]
KS = (1, 4, 20, 50)
TREC = {f"{base}.{','.join(map(str, KS))}" for base in ("P", "success", "recall", "map_cut")}


@pytest.fixture
def written(stored, benchmark, tmp_path, monkeypatch):
    """Export the stored result in a format; returns run and qrels."""

    def write(format: str) -> tuple[Path, Path]:
        kept = Artefacts(tmp_path / "results", tmp_path / "work", tmp_path)
        monkeypatch.setattr(Artefacts, "benchmark", lambda self, result: benchmark)
        done = export([stored], kept, tmp_path / "out", format=format)
        assert done.problems == []
        run, qrels = done.files
        assert {path for path in (tmp_path / "out").rglob("*") if path.is_file()} == {run, qrels}
        return run, qrels

    return write


@pytest.fixture
def ours(benchmark, ranking):
    """What each query scored here: {metric: {query's name: value}}, and the number of its positives."""
    names = [base.format(k) for base, _, _ in SAME for k in KS] + ["r_precision"]
    scores = retrieval.score(ranking, benchmark, names)
    asked = [name(benchmark.queries.ids[row]) for row in scores.queries]
    positives = dict(zip(asked, benchmark.positives[scores.queries].tolist(), strict=True))
    return {m: dict(zip(asked, values.tolist(), strict=True)) for m, values in scores.values.items()}, positives


def theirs_of_map(ours, positives, k):
    """Their average precision at K divides by all n positives, ours by the min(n, K) that K answers can hold."""
    return {query: value * min(positives[query], k) / positives[query] for query, value in ours.items()}


def test_pytrec_eval_gives_the_same_figures(written, ours):
    run, qrels = written("trec")
    with run.open() as answers, qrels.open() as right:
        evaluator = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(right), TREC | {"Rprec"})
        theirs = evaluator.evaluate(pytrec_eval.parse_run(answers))
    values, positives = ours
    unanswered = positives.keys() - theirs.keys()
    assert 0 < len(unanswered) <= 2  # it leaves them out; trec_eval -c does not
    for base, other, _ in SAME:
        for k in KS:
            mine = values[base.format(k)]
            if base.startswith("map"):
                mine = theirs_of_map(mine, positives, k)
            if other:
                found = {query: scored[other.format(k)] for query, scored in theirs.items()}
                assert found | dict.fromkeys(unanswered, 0.0) == pytest.approx(mine, abs=1e-9)
    found = {query: scored["Rprec"] for query, scored in theirs.items()}
    assert found | dict.fromkeys(unanswered, 0.0) == pytest.approx(values["r_precision"], abs=1e-9)


@pytest.mark.parametrize("format", ["trec", "parquet"])
def test_ir_measures_gives_the_same_figures(written, ours, format):
    run, qrels = written(format)
    if format == "trec":
        right = list(ir_measures.read_trec_qrels(str(qrels)))
        answers = list(ir_measures.read_trec_run(str(run)))
    else:
        right = [
            ir_measures.Qrel(row["query_id"], row["doc_id"], row["relevance"]) for row in read_table(qrels).to_pylist()
        ]
        answers = [
            ir_measures.ScoredDoc(row["query_id"], row["doc_id"], row["score"]) for row in read_table(run).to_pylist()
        ]
    values, positives = ours
    wanted = {ir_measures.parse_measure(other.format(k)): (base, k) for base, _, other in SAME for k in KS}
    wanted[ir_measures.Rprec] = ("r_precision", 0)
    found = {(m.measure, m.query_id): m.value for m in ir_measures.iter_calc(list(wanted), right, answers)}
    for measure, (base, k) in wanted.items():
        mine = values[base.format(k)]
        if base.startswith("map"):
            mine = theirs_of_map(mine, positives, k)
        assert {query: value for (m, query), value in found.items() if m == measure} == pytest.approx(mine, abs=1e-9)


def test_trec_evals_own_tie_rule_gives_the_same_order(written, benchmark, ranking, monkeypatch):
    monkeypatch.setattr(entries, "_AT_ONCE", 7)
    run, _ = written("trec")
    lines = [line.split(" ") for line in run.read_text().splitlines()]
    assert {len(line) for line in lines} == {6}
    assert {(line[1], line[5]) for line in lines} == {("Q0", "m+s.seed0")}
    row_of = {name(id_): row for row, id_ in enumerate(benchmark.gallery.ids)}
    for query, id_ in enumerate(benchmark.queries.ids):
        mine = [line for line in lines if line[0] == name(id_)]
        assert [int(line[3]) for line in mine] == list(range(1, len(mine) + 1))
        theirs = sorted(mine, key=lambda line: (np.float32(line[4]), line[2]), reverse=True)
        assert [row_of[line[2]] for line in theirs] == ranking.rows[query][ranking.rows[query] >= 0].tolist()


IDS = st.text(st.characters(codec="utf-8") | st.sampled_from("% \t\n\r\x0b\u00a0\u2028\u3000\udc80\udcff"), min_size=1)


@given(st.lists(IDS, min_size=1, max_size=9, unique=True))
def test_names_are_one_word_each_and_lead_back(ids):
    known = rows_by_name(ids)
    for row, id_ in enumerate(ids):
        written = name(id_)
        assert written.split() == [written] == written.splitlines()
        assert re.fullmatch(r"\S+", written)
        assert unquote(written, errors="surrogateescape") == id_
        assert known[written] == row


SCORES = arrays(
    np.float32, st.tuples(st.integers(1, 3), st.integers(0, 40)), elements=st.floats(width=32, allow_nan=False)
)


@given(SCORES | SCORES.map(np.round))
def test_scores_fall_and_move_no_further_than_they_must(scores):
    scores = -np.sort(-scores, axis=1)
    fallen = strictly_decreasing(scores)
    assert np.isfinite(fallen).all()
    assert (np.diff(fallen, axis=1) < 0).all()
    for mine, was in zip(fallen, scores, strict=True):
        lowered = mine != was
        for place in np.flatnonzero(lowered & (np.abs(was) <= 1e38)).tolist():
            assert mine[place] == np.nextafter(mine[place - 1], np.float32(-np.inf))


def test_what_cannot_be_exported_is_named_and_the_rest_is_written(stored, benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(Artefacts, "benchmark", lambda self, result: benchmark)
    (lost,) = (tmp_path / "work" / "rankings").iterdir()
    lost.unlink()
    done = export(
        [stored], Artefacts(tmp_path / "results", tmp_path / "work", tmp_path), tmp_path / "out", format="trec"
    )
    assert done.files == []
    assert re.search(r"toy, m\+s, seed 0: .*work folder", done.problems[0])
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
