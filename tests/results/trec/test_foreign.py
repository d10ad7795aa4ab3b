"""An imported run file has the scores of its ranking; what is wrong with one is reported by file and line."""

import csv
import random
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from raising import raises

from irbench.core.cell import Cell
from irbench.core.errors import DataError, UsageError
from irbench.core.imagenames import name
from irbench.metrics import retrieval
from irbench.report.render import render
from irbench.report.table import table
from irbench.results import files, hits, rankings
from irbench.results.trec.columns import ParquetFormat
from irbench.results.trec.entries import run_entries
from irbench.results.trec.foreign import import_run, read_ranking
from irbench.results.trec.trec import TrecFormat


def cell(**changes) -> Cell:
    return Cell(
        **(
            {"method": "theirs", "dataset": "toy", "scale": "unknown", "default_scale": "unknown", "origin": "imported"}
            | changes
        )
    )


@pytest.fixture
def run(benchmark, ranking, tmp_path):
    """The ranking as a run file of each format."""
    trec, parquet, table = (tmp_path / f"run.{suffix}" for suffix in ("txt", "parquet", "csv"))
    TrecFormat().write_run(trec, run_entries(ranking, benchmark), "x")
    ParquetFormat().write_run(parquet, run_entries(ranking, benchmark), "x")
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = [line.split(" ") for line in trec.read_text(encoding="utf-8").splitlines()]
        csv.writer(file).writerows([("score", "doc_id", "query_id"), *((row[4], row[2], row[0]) for row in rows)])
    return {"trec": trec, "parquet": parquet, "csv": table}


@pytest.mark.parametrize("format", ["trec", "parquet", "csv"])
def test_what_was_exported_scores_as_before(run, benchmark, ranking, stored, tmp_path, format):
    done = import_run(run[format], benchmark, cell(seed=2), format="auto", work=tmp_path / "w", root=tmp_path / "r")
    assert done.result.metrics == stored.metrics
    again = rankings.load_ranking(done.result.ranking, tmp_path / "w" / "rankings")
    assert (again.rows == ranking.rows).all()
    kept = hits.load(done.result.hits, done.path.parent)[""]
    assert (kept.hits == retrieval.judgements(ranking, benchmark)[""].hits).all()
    assert any(note.startswith("2 queries have no results") for note in done.notes)


def test_it_stands_in_the_same_tables_with_nothing_made_up(run, benchmark, stored, tmp_path):
    root = tmp_path / "results"
    done = import_run(run["trec"], benchmark, cell(), format="trec", work=tmp_path / "work", root=root)
    assert done.path == root / "toy" / "theirs@imported" / "seed0.json"
    assert done.result.backbone is None
    assert set(vars(done.result.cost).values()) == {None}
    found, problems = files.read_all(root)
    assert problems == []
    (panel,) = table(found, "precision", paper=False).panels
    rows = {row.method: row for row in panel.rows}
    assert rows["theirs@imported"].scale == "unknown"
    assert [c.value for c in rows["theirs@imported"].cells] == [c.value for c in rows["m+s"].cells]
    assert "—" in next(line for line in render(table(found, "latency"), "text").splitlines() if "imported" in line)
    other = replace(benchmark, protocol="metric-learning", crop="bbox")
    again = import_run(run["trec"], other, cell(), format="trec", work=tmp_path / "work", root=root)
    assert again.result.variant == "imported,crop-bbox,metric-learning"


def test_order_is_by_score_and_one_s_own_photograph_never_counts(run, benchmark, ranking, tmp_path):
    lines = run["trec"].read_text(encoding="utf-8").splitlines()
    own = [row for row in range(len(benchmark.queries)) if benchmark.own_rows[row] >= 0]
    lines += [f"{name(benchmark.queries.ids[row])} Q0 {name(benchmark.queries.ids[row])} 0 99 x" for row in own]
    random.Random(0).shuffle(lines)
    run["trec"].write_text("\n".join(lines), encoding="utf-8")
    read, notes = read_ranking(run["trec"], benchmark)
    assert (read.rows == ranking.rows).all()
    assert any(note.startswith(f"{len(own)} results are the query image itself") for note in notes)


def test_scores_are_told_apart_in_double_precision_and_ties_go_to_the_lower_row(benchmark, tmp_path):
    ids = [name(id_) for id_ in benchmark.gallery.ids]
    asked = name(benchmark.queries.ids[-1])
    scores = {9: 1 + 1e-12, 4: 1 + 2e-12, 7: 1.0, 3: 1.0, 50: -1e300, 51: -2e300}
    path = tmp_path / "run.txt"
    path.write_text("".join(f"{asked}\tQ0  {ids[row]} 0 {score!r} x\n\n" for row, score in scores.items()))
    ranking, notes = read_ranking(path, benchmark)
    assert ranking.rows[-1, :7].tolist() == [4, 9, 3, 7, 50, 51, -1]
    assert "1 results tie with the one above; the lower gallery row comes first" in notes
    deep = tmp_path / "deep.txt"
    deep.write_text("".join(f"{asked} Q0 {id_} 0 {-row} x\n" for row, id_ in enumerate(ids)))
    ranking, notes = read_ranking(deep, benchmark)
    assert ranking.rows[-1].tolist() == list(range(50))
    assert "10 results are beyond depth 50 and were left out" in notes


GOOD = "ü Q0 gallery/1 1 0.5 x\n"
BAD = {
    "twice": (GOOD + "ü Q0 gallery/1 2 0.4 x\n", "duplicate-image", ["run.txt", "line 2", "gallery/1", "line 1"]),
    "no query": (GOOD + "u Q0 gallery/2 2 0.4 x\n", "unknown-id", ["line 2", "'u'", 24, "toy"]),
    "no image": (GOOD + "ü Q0 gallery/99 2 0.4 x\n", "unknown-id", ["line 2", "'gallery/99'", 60, "toy"]),
    "a blank in an id": (GOOD + "ü Q0 a b.png 2 0.4 x\n", "bad-run-file", ["line 2", "7 columns", "%20"]),
    "short": (GOOD + "\nü gallery/2 0.4\n", "bad-run-file", ["line 3", "3 columns"]),
    "nan": ("ü Q0 gallery/1 1 nan x\n", "bad-run-file", ["line 1", "'1 nan'"]),
    "infinite": ("ü Q0 gallery/1 1 -inf x\n", "bad-run-file", ["line 1", "'1 -inf'"]),
    "rank in words": ("ü Q0 gallery/1 first 0.5 x\n", "bad-run-file", ["line 1", "'first 0.5'"]),
    "rising": (GOOD + "ü Q0 gallery/2 2 0.7 x\n", "bad-run-file", ["line 2", 0.7, "rank 2", 0.5, "line 1"]),
    "all the same": (GOOD + "ü Q0 gallery/2 2 0.5 x\n", "bad-run-file", [0.5]),
    "not UTF-8": (b"\xfc Q0 gallery/1 1 0.5 x\n", "bad-run-file", ["line 1"]),
    "empty": ("", "bad-run-file", []),
}


@pytest.mark.parametrize(("text", "code", "named"), BAD.values(), ids=BAD)
def test_a_bad_line_is_named(benchmark, tmp_path, text, code, named):
    path = tmp_path / "run.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with raises(DataError, code, path, *named):
        import_run(path, benchmark, cell(), format="auto", work=tmp_path / "w", root=tmp_path / "r")
    assert not (tmp_path / "r").exists()
    assert not (tmp_path / "w").exists()


def test_bad_files_names_and_columns(benchmark, tmp_path, run):
    def take(path, **options):
        return import_run(path, benchmark, cell(**options), format="auto", work=tmp_path / "w", root=tmp_path / "r")

    with raises(DataError, "no-such-file", tmp_path / "nowhere"):
        take(tmp_path / "nowhere")
    with raises(UsageError, "bad-file-name", "a/b"):
        take(run["trec"], method="a/b")
    table = tmp_path / "t.csv"
    for text, code, *named in (
        ("query_id,docid,score\n", "bad-run-file", "doc_id", "docid"),
        ("query_id,doc_id,Score,score\nü,gallery/1,1,2\n", "bad-run-file", "several columns score"),
        ("query_id,doc_id,score\nü,gallery/1,\n", "bad-run-file", "line 2", "gallery/1"),
        ("query_id,doc_id,score\nü,gallery/1\n", "bad-run-file", "line 2", "None"),
    ):
        table.write_text(text)
        with raises(DataError, code, table, *named):
            take(table)
    for lines in ("ü,gallery/1,1,0.1\nü,gallery/2,2,0.9\n", "ü,gallery/1,first,0.5\n"):
        table.write_text("query_id,doc_id,rank,score\n" + lines)
        rows = [line.split(",") for line in lines.splitlines()]
        columns = {name: [row[n] for row in rows] for n, name in enumerate(("query_id", "doc_id", "rank"))}
        columns["score"] = [float(row[3]) for row in rows]
        pq.write_table(pa.table(columns), table.with_suffix(".parquet"))
        for path in (table, table.with_suffix(".parquet")):
            with raises(DataError, "bad-run-file", path, "rank"):
                take(path)
    table.write_text("query_id,doc_id,rank,score\nü,gallery/1,1,0.9\nü,gallery/2,,0.1\nü,gallery/3,2,0.5\n")
    assert (read_ranking(table, benchmark)[0].rows >= 0).sum() == 3  # an entry without a rank contradicts nothing
    rising = [f"ü,gallery/{row},0.{row}" for row in range(1, 10)]
    for rank, refused in (("", True), (",1", True), (None, False)):  # of no rank, of one for all, and of the last first
        header = "query_id,doc_id,score" + ("" if rank == "" else ",rank")
        ranked = [line + (f",{9 - place}" if rank is None else rank) for place, line in enumerate(rising)]
        table.write_text("\n".join([header, *ranked]) + "\n")
        if refused:
            with raises(DataError, "bad-run-file", table, "rise"):
                take(table)
        else:
            assert (read_ranking(table, benchmark)[0].rows >= 0).sum() == 9
    table.write_text("\n".join(["Query_ID ; DOC_ID;score", *(line.replace(",", ";") for line in reversed(rising))]))
    assert (read_ranking(table, benchmark)[0].rows >= 0).sum() == 9
    table.write_text("\n".join(["query_id,doc_id,score", *rising[:8]]) + "\n")  # seven steps: too few to tell
    assert (read_ranking(table, benchmark)[0].rows >= 0).sum() == 8
    (tmp_path / "x.parquet").write_bytes(b"PAR1 is not enough")
    with raises(DataError, "bad-run-file", tmp_path / "x.parquet"):
        take(tmp_path / "x.parquet")
    assert not (tmp_path / "r").exists()


def test_a_row_of_a_query_that_was_not_answered_is_empty(run, benchmark, ranking):
    read, _ = read_ranking(run["parquet"], benchmark)
    assert (read.rows[[3, 15]] == -1).all()
    assert np.isneginf(read.scores[[3, 15]]).all()


def test_what_was_left_out_or_guessed_is_stored_and_stands_under_the_table(benchmark, tmp_path):
    """Scores 1 to n in no order may be places; with ranks that agree, or one more number, they are scores."""
    asked, ids = [name(i) for i in benchmark.queries.ids[-3:]], [name(i) for i in benchmark.gallery.ids[-9:]]
    places = random.Random(0).sample(range(1, 10), 9)
    path, root = tmp_path / "run.tsv", tmp_path / "results"
    for scores, ranks, told in (
        (places, None, True), (places, [1] * 9, True), (places, [10 - place for place in places], False),
        ([2 * place for place in places], None, False),
    ):  # fmt: skip
        rows = [(q, i, s, *(r and [r])) for q in asked for i, s, r in zip(ids, scores, ranks or [[]] * 9, strict=True)]
        header = ("query_id", "doc_id", "score", *(["rank"] if ranks else []))
        path.write_text("\n".join("\t".join(map(str, row)) for row in (header, *rows)))
        done = import_run(path, benchmark, cell(), format="auto", work=tmp_path / "w", root=root, force=True)
        assert any(note.startswith("3 queries have the numbers 1 to n as scores") for note in done.notes) == told
        assert done.result.retriever["imported"]["notes"] == list(done.notes)
        (panel,) = table(files.read_all(root)[0], "precision", paper=False).panels
        under = " ".join(panel.notes)
        assert all(note in under for note in done.notes)
        assert "21 queries have no results and score 0" in under
