"""Ranks, marks and upper bounds in tables: what the significance tests of all pairs say, and no more."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from chosen import Artefacts, drawn, result, rows
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from irbench.metrics.retrieval import Judged, per_query
from irbench.metrics.significance import holm, randomised
from irbench.metrics.uncertainty import interval, p_value
from irbench.report import wording
from irbench.report.render import FORMATS, render
from irbench.report.table import table
from irbench.report.upper_bound import ideal


def test_ranks_and_marks_follow_from_the_tests_of_all_pairs():
    kept = Artefacts(good=[drawn(0.9, 0)], even=[drawn(0.89, 1)], poor=[drawn(0.5, 2)], twin=[drawn(0.9, 0)])
    (panel,) = table(kept.results(), "precision", paper=False, judge=kept).panels
    cells = {row.method: row.cells[1] for row in panel.rows if row.kind == "measured"}
    scores = {name: per_query(kept(result(method=name)), "precision@2") for name in cells}
    pairs = list(itertools.combinations(sorted(cells), 2))
    corrected = dict(zip(pairs, holm([randomised(scores[a] - scores[b]) for a, b in pairs]), strict=True))
    assert corrected["even", "good"] > 0.05 > corrected["good", "poor"]
    assert {name: cell.rank for name, cell in cells.items()} == {
        "even": (1, 3), "good": (1, 3), "twin": (1, 3), "poor": (4, 4),
    }  # fmt: skip
    best = max(cells, key=lambda name: scores[name].mean())
    assert cells[best].best
    assert cells[best].p is None
    assert cells["poor"].p == pytest.approx(corrected[tuple(sorted((best, "poor")))], abs=0.01)
    assert [name for name, cell in cells.items() if cell.tied] == [
        n for n in ("even", "good", "twin") if not cells[n].best
    ]
    assert panel.headline == "precision@2"


def test_a_difference_counts_less_the_more_pairs_are_tested():
    usual = drawn(0.5, 0)
    better = usual.copy()
    right, wrong = (np.flatnonzero(usual[:, 0] == hit) for hit in (True, False))
    better[wrong[:9], 0], better[right[:1], 0] = True, False
    alone = float(p_value((better.astype(float) - usual)[None, :, 0], None))
    assert alone < 0.05 < 6 * alone
    few = Artefacts(usual=[usual], better=[better])
    many = Artefacts(usual=[usual], better=[better], twin=[usual], third=[usual])
    for kept, others, rank in ((few, 1, (2, 2)), (many, 3, (1, 4))):  # of four rows there are six pairs
        measured = rows(table(kept.results(), "precision", paper=False, judge=kept))
        (cell,) = [row.cells[0] for row in measured if row.method == "usual"]
        assert cell.p == pytest.approx(others * alone)
        assert (cell.rank, cell.tied) == (rank, False)


def test_a_caption_tells_where_marks_and_ranks_disagree_and_only_there():
    for others, disagree in ((4, True), (1, False)):  # of one pair both corrections are the same
        kept = Artefacts(good=[drawn(0.9, 0)], **{f"m{n}": [drawn(0.83, n)] for n in range(1, 1 + others)})
        shown = table(kept.results(), "precision", paper=False, judge=kept)
        at = [column.key for column in shown.panels[0].columns].index(shown.panels[0].headline)
        cells = [row.cells[at] for row in rows(shown)]  # whose ranks are printed
        assert any(cell.rank[0] == 1 and not (cell.best or cell.tied) for cell in cells) == disagree
        assert any(line.startswith("a rank from 1 without ≈") for line in wording.captions(shown, best="*")) == disagree


def test_scores_are_averaged_over_the_seeds_that_rows_share():
    lucky, unlucky = drawn(0.9, 3), drawn(0.2, 4)
    kept = Artefacts(one=[lucky, unlucky], other=[unlucky, lucky], third=[unlucky])
    both = table([r for r in kept.results() if r.method != "third"], "precision", paper=False, judge=kept)
    assert {row.cells[0].rank for row in rows(both)} == {(1, 2)}  # seed by seed they differ, on average they do not
    three = table(kept.results(), "precision", paper=False, judge=kept)  # a row of one seed changes no other's tests
    assert [row.cells[0].rank for row in rows(three)] == [(1, 2), (1, 2), None]
    assert any("without a rank" in note and note.endswith(": third") for note in three.panels[0].notes)


def test_rows_of_one_seed_are_a_family_of_their_own_and_several_seeds_have_one_interval():
    steady = [drawn(0.9, seed) for seed in range(3)]
    worse = [drawn(0.6, 10 + seed) for seed in range(3)]
    kept = Artefacts(steady=steady, worse=worse, single=[drawn(0.9, 20)], low=[drawn(0.3, 21)])
    (panel,) = table(kept.results(), "precision", paper=False, judge=kept).panels
    cells = {row.method: row.cells[0] for row in panel.rows if row.kind == "measured"}
    assert {name: cell.rank for name, cell in cells.items()} == {
        "steady": (1, 1), "worse": (2, 2), "single": (1, 1), "low": (2, 2),
    }  # fmt: skip
    assert any("seed 0, 1, 2: 2 rows; seed 0: 2 rows" in note for note in panel.notes)
    printed = {row.method: wording.rank(row, panel) for row in panel.rows if row.kind == "measured"}
    assert printed == {"steady": "1/2", "worse": "2/2", "single": "1/2", "low": "2/2"}
    alone = [one for one in kept.results() if one.method in ("steady", "worse")]
    (panel,) = table(alone, "precision", paper=False, judge=kept).panels
    assert [wording.rank(row, panel) for row in panel.rows if row.kind == "measured"] == ["1", "2"]
    scores = np.array([per_query(kept(result(method="worse", seed=seed)), "precision@1") for seed in range(3)])
    assert cells["worse"].interval == pytest.approx([100 * bound for bound in interval(scores)])
    assert cells["worse"].deviation is not None


def test_a_number_that_rests_on_missing_results_is_marked_and_never_the_best():
    full, short = result(50.0, method="full"), result(90.0, method="short")
    short = replace(short, metrics={name: replace(one, short=0.25) for name, one in short.metrics.items()})
    shown = table([full, short], "precision", paper=False)
    assert [(row.method, row.cells[0].best, row.cells[0].short) for row in rows(shown)] == [
        ("full+scann", False, 0.0), ("short+scann", False, 0.25),  # nor is the 50 %, below what has 90 % so far
    ]  # fmt: skip
    for value, best in ((90.0, True), (90.1, True), (89.9, False)):
        cell = rows(table([result(value, method="full"), short], "precision", paper=False))[0].cells[0]
        assert cell.best == best
    for form in ("text", "markdown", "latex"):
        printed = render(shown, form)
        assert printed.count("90.0†") == 2  # at both K
        assert "50.0†" not in printed
        assert "25 %" in printed.replace("\\%", "%")


def test_a_number_of_which_it_is_not_known_whether_results_are_missing_is_never_the_best():
    full, unknown = result(50.0, method="full"), result(90.0, method="unknown")
    unknown = replace(unknown, metrics={name: replace(one, short=None) for name, one in unknown.metrics.items()})
    shown = table([full, unknown], "precision", paper=False)
    assert [row.cells[0].best for row in rows(shown)] == [False, False]
    assert any(note.endswith(": unknown+scann") for note in shown.panels[0].notes)
    lower = replace(unknown, metrics={name: replace(one, mean=0.4) for name, one in unknown.metrics.items()})
    assert [row.cells[0].best for row in rows(table([full, lower], "precision", paper=False))] == [True, False]


def test_without_hits_there_is_no_rank_and_no_mark_against_an_untested_best():
    kept = Artefacts(good=[drawn(0.9, 0)], poor=[drawn(0.4, 1)], unknown=[None])
    unknown = replace(result(99, method="unknown", search=None))
    results = [*(r for r in kept.results() if r.method != "unknown"), unknown]
    (panel,) = table(results, "precision", paper=False, judge=kept).panels
    cells = {row.method: row.cells[0] for row in panel.rows if row.kind == "measured"}
    assert [cells[name].rank for name in ("good", "poor", "unknown")] == [(1, 1), (2, 2), None]
    assert cells["unknown"].best
    assert not any(cell.tied or cell.p is not None for cell in cells.values())
    assert any("without a rank" in note and note.endswith(": unknown") for note in panel.notes)
    assert not any(cell.rank for row in rows(table(results, "precision")) for cell in row.cells)
    nobody = table(
        [unknown, result(method="other", search=None)], "precision", judge=Artefacts(unknown=[None], other=[None])
    )
    assert not any(row.kind == "upper bound" for panel in nobody.panels for row in panel.rows)


@given(arrays.arrays(np.int64, st.integers(1, 9), elements=st.integers(1, 12)), st.integers(1, 10))
def test_the_upper_bound_is_what_the_best_of_all_rankings_reaches(positives, k):
    best = ideal(Judged(np.zeros((len(positives), 12), bool), positives), 12)
    assert per_query({"": best}, f"precision@{k}").mean() == pytest.approx(np.mean(np.minimum(positives, k) / k))
    shortened = np.where(positives > 1, 1.0, 1 / k)  # the published code spares a single positive
    assert per_query({"": best}, f"precision_irgen@{k}").mean() == pytest.approx(shortened.mean())


def test_the_upper_bound_and_the_published_definition_stand_beside_precision_where_they_differ():
    positives = np.array([1, 2, 3])
    hits = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 0]], bool)
    kept = Artefacts(positives, one=[hits])
    (panel,) = table(kept.results(ks=(1, 2, 3)), "precision", paper=False, judge=kept).panels
    assert [column.key for column in panel.columns] == [
        "precision@1", "precision@2", "precision@3", "precision_irgen@3",
    ]  # fmt: skip
    measured, bound = panel.rows
    assert bound.kind == "upper bound"
    assert [cell.value for cell in measured.cells] == pytest.approx([100, 250 / 3, 500 / 9, 200 / 3])
    assert [cell.value for cell in bound.cells] == pytest.approx([100, 250 / 3, 200 / 3, 700 / 9])
    for form in FORMATS:
        assert "upper bound" in render(table(kept.results(ks=(1, 2, 3)), "precision", judge=kept), form)
