"""The verdict names who leads, who is not told apart from it, and by how much the next one is behind."""

from dataclasses import replace

import pytest

from irbench.report.palette import look
from irbench.report.panel import Cell, Row
from irbench.report.site.pages import CostSummary, Entry, Standing
from irbench.report.site.verdict import verdict


def standing(
    name: str, value: float, *, best=False, tied=False, rank=(1, 1), speed=None, size=100.0, seeds=3, busy=False
):
    row = Row(
        kind="measured", method=name, scale="tiny", precision="fp32", seeds=seeds, backbone="", weights="", cells=()
    )
    return Standing(
        entry=Entry(label=name, method=name, varied=False, look=look(name, "", "")),
        row=row,
        score=Cell(value=value, best=best, tied=tied, rank=rank),
        rank="",
        cost=CostSummary(queries_per_s=speed, bytes_per_image=size, under_concurrent_load=busy),
    )


LEADER = standing("irgen", 90.0, best=True, speed=50.0, size=900.0)


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
        ({"score": replace(LEADER.score, rank=None)}, "Not compared"),
        ({"row": replace(LEADER.row, seeds=1)}, "One seed"),
        ({"cost": replace(LEADER.cost, under_concurrent_load=True)}, "beside other programs"),
    ],
)
def test_what_cannot_be_told_is_said(changes, word):
    other = standing("linear", 80.0)
    assert word not in said(LEADER, other)
    assert word in said(replace(LEADER, **changes), other)


def test_without_hits_no_test_confirms_a_distance():
    unknown = [replace(one, score=replace(one.score, rank=None)) for one in (LEADER, standing("linear", 84.5))]
    assert "linear follows 5.5 points behind the best, which no test confirms" in said(*unknown)


def test_a_row_of_other_seeds_does_not_lead():
    other = standing("irgen", 95.0)
    text = said(
        replace(other, score=replace(other.score, rank=None)), standing("a", 90.0, best=True), standing("b", 80.0)
    )
    assert text.startswith("a leads with 90.0 %")
    assert "b follows 10.0 points" in text


def test_a_row_that_is_not_tied_is_told_from_tied_ones_below_it():
    text = said(
        LEADER, standing("steady", 89.0, rank=(2, 2)), standing("noisy", 88.0, tied=True), standing("last", 9.0)
    )
    assert "irgen and noisy lead with 88.0 to 90.0 %" in text
    assert "significantly below the best: steady." in text
    assert "last follows 81.0 points" in text


def test_rows_of_one_method_have_names_of_their_own():
    older, newer = standing("irgen", 90.0, best=True), standing("irgen", 80.0)
    text = said(older, replace(newer, row=replace(newer.row, seeds=1)))
    assert "irgen (3 seeds) leads" in text
    assert "irgen (1 seed) follows" in text
    text = said(older, newer)
    assert "irgen (row 1) leads" in text
    assert "irgen (row 2) follows" in text


def test_nothing_is_said_of_nothing():
    assert said() == ""
