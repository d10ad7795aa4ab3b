"""The verdict names who leads, who is not told apart from it, and by how much the next one is behind."""

from dataclasses import replace

import pytest

from irbench.report.palette import look
from irbench.report.panel import Cell, Row
from irbench.report.site.pages import CostSummary, Entry, Standing
from irbench.report.site.verdict import verdict


def standing(
    name: str, value: float, *, best=False, tied=False, rank=None, speed=None, size=100.0, seeds=3, busy=False
):
    row = Row(
        kind="measured",
        method=name,
        scale="tiny",
        precision="fp32",
        ran=tuple(range(seeds)),
        backbone="",
        weights="",
        cells=(),
    )
    p = None if best else 0.5 if tied else 0.001  # of the best none: it is not tested against itself
    return Standing(
        entry=Entry(label=name, method=name, varied=False, look=look(name, "", "")),
        row=row,
        score=Cell(value=value, best=best, tied=tied, rank=rank or (1 if best or tied else 2, 2), p=p),
        rank="",
        cost=CostSummary(queries_per_s=speed, bytes_per_image=size, under_concurrent_load=busy),
    )


LEADER = standing("irgen", 90.0, best=True, speed=50.0, size=900.0)


def untested(one: Standing, **changes) -> Standing:
    return replace(one, score=replace(one.score, p=None, **changes))


def said(*standings: Standing) -> str:
    return " ".join(verdict(standings, "precision@10"))


def test_one_leader_and_the_distance_to_the_next():
    text = said(LEADER, standing("linear", 84.5), standing("pixels", 3.0))
    assert text.startswith("irgen leads with 90.0 %")
    assert "linear follows 5.5 points" in text
    assert "50 queries/s" in text
    assert "900 bytes" in text
    assert "pixels" not in text
    assert "no test" not in text


def test_what_is_tied_with_the_best_leads_too():
    others = [standing(f"m{n}", 89.0 - n, tied=True, speed=10.0 * n, size=50.0 + n) for n in range(6)]
    text = said(LEADER, *others, standing("last", 10.0))
    assert "irgen, m0, m1, m2 and 3 others lead with 84.0 to 90.0 %" in text
    assert "significant" in text
    assert "last follows 80.0 points" in text
    assert "irgen is the fastest, with 50" in text
    assert "m0 is the smallest, with 50" in text


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"row": replace(LEADER.row, ran=(0,))}, "One seed"),
        ({"cost": replace(LEADER.cost, under_concurrent_load=True)}, "beside other programs"),
    ],
)
def test_what_cannot_be_told_is_said(changes, word):
    other = standing("linear", 80.0)
    assert word not in said(LEADER, other)
    assert word in said(replace(LEADER, **changes), other)


def test_without_hits_no_test_confirms_a_distance():
    unknown = [untested(one, rank=None) for one in (LEADER, standing("linear", 84.5))]
    assert "linear follows 5.5 points behind the best, which no test confirms" in said(*unknown)


def test_a_row_of_other_seeds_does_not_lead_and_has_no_distance():
    alone = untested(standing("alone", 95.0), rank=None)
    pair = [untested(standing(name, value, seeds=1)) for name, value in (("older", 89.0), ("newer", 85.0))]
    text = said(alone, standing("a", 90.0, best=True), *pair, standing("b", 80.0))
    assert text.startswith("a leads with 90.0 %")
    assert "b follows 10.0 points" in text
    assert "stored hits: alone (3 seeds), older (1 seed) and newer (1 seed)." in text
    assert text.count("older") == text.count("newer") == 1


def test_the_best_is_the_one_that_the_table_marks_even_where_it_could_not_be_tested():
    other = untested(standing("other", 95.0), rank=None)
    text = said(other, untested(LEADER, rank=None), untested(standing("linear", 80.0), rank=(1, 1)))
    assert text.startswith("irgen leads with 90.0 %")
    assert "stored hits: other (3 seeds)." in text
    assert "linear follows 10.0 points behind the best, which no test confirms" in text


def test_a_higher_value_with_missing_results_is_not_called_worse():
    few = standing("few", 93.0)
    text = said(replace(few, score=replace(few.score, short=0.1)), LEADER, standing("linear", 84.5))
    assert "fewer results than K for some queries: few." in text
    text = said(replace(few, score=replace(few.score, short=None)), LEADER, standing("linear", 84.5))
    assert "perhaps with fewer results than K: few." in text
    assert "linear follows 5.5 points behind the best." in text
    assert "below the best: few" not in text


def test_where_marks_and_ranks_disagree_both_are_said():
    near, far = standing("near", 88.0, rank=(1, 4)), standing("far", 86.0, rank=(1, 5))
    text = said(LEADER, near, standing("noisy", 87.0, tied=True), far, standing("last", 9.0, rank=(5, 5)))
    only = "by the comparisons with it, though not by those of all pairs, on which ranks rest"
    assert f"By value among these, yet significantly below the best {only}: near." in text
    assert f"Significantly below the best {only}: far." in text
    assert "last follows 81.0 points behind the best." in text


def test_a_row_that_is_not_tied_is_told_from_tied_ones_below_it():
    text = said(
        LEADER, standing("steady", 89.0, rank=(2, 2)), standing("noisy", 88.0, tied=True), standing("last", 9.0)
    )
    assert "irgen and noisy lead with 88.0 to 90.0 %" in text
    assert "significantly below the best: steady." in text
    assert "last follows 81.0 points" in text


def test_rows_of_one_method_have_names_of_their_own():
    older, newer = standing("irgen", 90.0, best=True), standing("irgen", 80.0)
    text = said(older, replace(newer, row=replace(newer.row, ran=(0,))))
    assert "irgen (3 seeds) leads" in text
    assert "irgen (1 seed) follows" in text
    text = said(older, newer)
    assert "irgen (row 1) leads" in text
    assert "irgen (row 2) follows" in text


def test_nothing_is_said_of_nothing():
    assert said() == ""
