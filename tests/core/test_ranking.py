"""The ranking's order and its checks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raising import raises

from irbench.core.benchmark import ImageSet
from irbench.core.errors import ContractError, DataError
from irbench.core.ranking import MISSING, Ranking


@st.composite
def answers(draw):
    """Rows [Q,K] without repeats, holes anywhere, scores with many ties or none: what an index may return."""
    queries, k, gallery = draw(st.integers(1, 4)), draw(st.integers(1, 8)), draw(st.integers(8, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = np.stack([rng.permutation(gallery)[:k] for _ in range(queries)])
    rows[rng.random(rows.shape) < draw(st.sampled_from([0.0, 0.3]))] = MISSING
    scores = rng.integers(0, draw(st.sampled_from([4, 10**6])), rows.shape).astype(np.float32)
    return rows, -np.sort(-scores, axis=1) if draw(st.booleans()) else scores


@given(answers())
def test_from_topk_orders_as_a_plain_sort_does(answers):
    rows, scores = answers
    ranking = Ranking.from_topk(rows, scores)
    for q in range(len(rows)):
        given_answers = [(-s, r) for r, s in zip(rows[q], scores[q], strict=True) if r != MISSING]
        expected = [row for _, row in sorted(given_answers)]
        assert ranking.rows[q].tolist() == expected + [MISSING] * (rows.shape[1] - len(expected))
        assert np.isneginf(ranking.scores[q, len(expected) :]).all()


def test_an_index_may_reuse_what_it_returned():
    rows, scores = np.array([[1, 2]]), np.array([[2.0, 1.0]], np.float32)
    ranking = Ranking.from_topk(rows, scores)
    rows[:], scores[:] = 0, 0
    assert ranking.rows.tolist() == [[1, 2]]
    assert ranking.scores.tolist() == [[2.0, 1.0]]


@given(answers(), st.data())
def test_own_rows_are_removed_by_identity_wherever_they_rank(answers, data):
    rows, scores = answers
    own = np.array([data.draw(st.sampled_from([*row.tolist(), MISSING, 99])) for row in rows])
    whole = Ranking.from_topk(rows, scores)
    left = whole.without(own)
    for q in range(len(rows)):
        kept = [row for row in whole.rows[q].tolist() if row != MISSING and row != own[q]]
        assert left.rows[q].tolist() == kept + [MISSING] * (whole.top_k - len(kept))


@pytest.mark.parametrize(
    ("rows", "scores", "code", "named"),
    [
        ([[0, 1]], [[1.0, 2.0]], "unsorted-ranking", "query 0"),
        ([[1, 0]], [[1.0, 1.0]], "unsorted-ranking", "query 0"),
        ([[3, 3]], [[2.0, 1.0]], "repeated-row", "query 0"),
        ([[-1, 3]], [[-np.inf, -np.inf]], "misplaced-row", "-1"),
        ([[3, -1]], [[1.0, 0.0]], "misplaced-row", "-1"),
        ([[3, -2]], [[1.0, -np.inf]], "bad-ranking", "-1"),
        ([[3, 4]], [[1.0, np.nan]], "bad-ranking", "NaN"),
        ([3, 4], [1.0, 0.0], "wrong-shape", "(2,)"),
    ],
)
def test_a_plug_in_that_breaks_the_contract_is_reported_how(rows, scores, code, named):
    with raises(ContractError, code, named):
        Ranking(np.array(rows), np.array(scores, np.float32))


@pytest.mark.parametrize(
    ("rows", "scores", "code"),
    [
        ([[3.5, 1]], [[2.0, 1.0]], "bad-ranking"),
        ([[np.nan, 1]], [[2.0, 1.0]], "bad-ranking"),
        ([["3", "1"]], [[2.0, 1.0]], "bad-ranking"),
        ([[3, 1]], [["2", "1"]], "bad-ranking"),
        ([[3, 1], [2]], [[2.0, 1.0], [1.0]], "wrong-shape"),
        ([[3, 1]], [[2.0]], "wrong-shape"),
        ([3, 1], [2.0, 1.0], "wrong-shape"),
    ],
)
def test_from_topk_rounds_and_parses_nothing(rows, scores, code):
    with raises(ContractError, code):
        Ranking.from_topk(rows, scores)


def test_a_ranking_of_other_queries_is_no_ranking_of_these():
    with raises(ContractError, "wrong-shape"):
        Ranking.from_topk([[1, 2]], [[2.0, 1.0]]).without(np.array([-1, -1]))


@pytest.mark.parametrize("labels", [["a", "b"], [0.0, 1.5], [[0], [1]], [None, 0]], ids=str)
def test_labels_are_whole_numbers(labels):
    with raises(DataError, "bad-label"):
        ImageSet(name="gallery", ids=("x", "y"), labels=labels)
    assert ImageSet(name="gallery", ids=("x", "y"), labels=[0, 1]).labels.dtype == np.int64


@given(answers(), st.data())
def test_cut_and_stack_undo_batching(answers, data):
    whole = Ranking.from_topk(*answers)
    at = data.draw(st.integers(0, len(whole)))
    parts = [Ranking(whole.rows[part], whole.scores[part]) for part in (slice(at), slice(at, None))]
    assert (Ranking.stack(parts).rows == whole.rows).all()
    assert (whole.cut(2).rows == whole.rows[:, :2]).all()
