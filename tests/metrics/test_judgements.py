"""Relevance that is judged image by image: every metric against plain loops, trec_eval, and cases worked by hand."""

from dataclasses import replace
from time import process_time

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import AP, P, R, nDCG
from raising import raises

from irbench.bench.metrics import by_loop
from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import ContractError, DataError
from irbench.core.judgements import JUNK, Judgements, OfClass, Pairs, SharedLabel
from irbench.core.ranking import MISSING, Ranking
from irbench.metrics import retrieval
from irbench.report.upper_bound import ideal


def benchmark(judged: Judgements, *, top_k: int = 10, ks=(1, 3, 10), own=(), incremental: int = 0) -> Benchmark:
    """Return a benchmark of unlabelled images; queries `own` are the first images of the gallery."""
    (queries, gallery), own = judged.shape, set(own)
    names = [f"gallery{q}" if q in own else f"query{q}" for q in range(queries)]
    sets = {"train": ["t"], "gallery": [f"gallery{g}" for g in range(gallery)], "queries": names}
    splits = {name: ImageSet(name=name, ids=tuple(ids), labels=np.zeros(len(ids), int)) for name, ids in sets.items()}
    return Benchmark(name="toy", protocol="closed-set", crop="none", **splits, ks=ks, top_k=top_k, labelled=False,
                     judgements=judged, incremental=incremental)  # fmt: skip


def ranking(rows) -> Ranking:
    rows = np.atleast_2d(rows)
    scores = np.broadcast_to(-np.arange(rows.shape[1], dtype=np.float32), rows.shape)
    return Ranking(rows, np.where(rows == MISSING, -np.inf, scores).astype(np.float32))


def pairs(table) -> Pairs:
    """Return the judgements of a table of grades [Q,N]."""
    table = np.asarray(table)
    query, row = np.nonzero(table)
    return Pairs.of(table.shape, query, row, table[query, row])


@st.composite
def cases(draw):
    """A table of grades, queries that are in the gallery, a part that was added, and rankings with holes at the end."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    queries, gallery = draw(st.integers(1, 5)), draw(st.integers(2, 20))
    grades = draw(st.sampled_from([(0, 1), (0, 0, 1, JUNK), (0, 0, 0, 1, 2, 3, JUNK)]))
    table = rng.choice(np.array(grades), (queries, gallery))
    own = [q for q in range(min(queries, gallery)) if draw(st.booleans())]
    bench = benchmark(pairs(table), top_k=draw(st.integers(1, 25)), ks=(1,), own=own,
                      incremental=draw(st.integers(0, gallery - 1)))  # fmt: skip
    bench = replace(bench, ks=tuple(sorted({1, min(3, bench.top_k), bench.top_k})))
    rows = np.full((queries, min(bench.depth, gallery)), MISSING)
    for q in range(queries):
        others = rng.permutation(np.setdiff1d(np.arange(gallery), bench.own_rows[q]))
        found = others[: draw(st.integers(0, rows.shape[1]))]
        rows[q, : len(found)] = found
    return table, bench, ranking(rows)


@given(cases(), st.booleans())
def test_every_metric_equals_the_loop(case, is_cleaned) -> None:
    table, bench, found = case
    found = bench.scored(found).cut(bench.top_k) if is_cleaned else found  # a run stores it without junk
    scores = retrieval.score(found, bench, retrieval.names(bench))
    assert scores.left_out + len(scores.queries) == len(bench.queries)
    assert {"map_cut@1", "map_trapezoid@1", "ndcg@1"} <= set(retrieval.names(bench))
    old = len(bench.gallery) - bench.incremental
    for name, values in scores.values.items():
        measure, expected = retrieval.parse(name), []
        part = {"old": range(old), "new": range(old, 99)}.get(measure.metric.part, range(99))
        for q, of_query in enumerate(table.tolist()):
            counted = {g: grade for g, grade in enumerate(of_query) if g in part and g != bench.own_rows[q]}
            best = sorted((grade for grade in counted.values() if grade > 0), reverse=True)
            results = [counted[row] for row in found.rows[q].tolist() if counted.get(row, JUNK) != JUNK]
            if best:
                expected.append(by_loop(results, len(best), measure, best))
        assert values == pytest.approx(expected, abs=1e-12), name


@given(cases())
def test_no_ranking_is_better_than_the_ideal_one(case) -> None:
    _, bench, found = case
    judged = retrieval.judgements(bench.scored(found).cut(bench.top_k), bench)[""]
    best = ideal(judged, bench.top_k)
    for name in retrieval.names(bench):
        if not retrieval.parse(name).metric.part and judged.positives.size:
            at_most = retrieval.per_query({"": best}, name)
            assert (retrieval.per_query({"": judged}, name) <= at_most + 1e-12).all(), name
            if name.startswith("ndcg"):
                assert at_most == pytest.approx(1)


@pytest.mark.parametrize(
    ("grades", "metric", "expected"),
    [
        ([1, 0, 1], "map_trapezoid@10", 0.79166667),  # ((1 + 1)/2 + (1/2 + 2/3)/2)/2
        ([1, 0, 1], "map_cut@10", 0.83333333),
        ([1, JUNK, 1], "map_trapezoid@10", 1.0),
        ([1, JUNK, 1], "precision@1", 1.0),
        ([JUNK, 1, 0], "mrr@1", 1.0),
        ([0, 1, 0], "map_trapezoid@10", 0.25),  # (0 + 1/2)/2
        ([3, 1, 2], "ndcg@3", (3 + 1 / np.log2(3) + 2 / 2) / (3 + 2 / np.log2(3) + 1 / 2)),
    ],
)
def test_by_hand(grades, metric, expected) -> None:
    bench = benchmark(pairs([grades]))
    assert retrieval.score(ranking([0, 1, 2]), bench, [metric]).means[metric] == pytest.approx(expected)


def test_ten_thousand_random_rankings_score_as_by_trec_eval() -> None:
    rng = np.random.default_rng(3)
    queries, gallery, depth = 10_000, 60, 20
    table = rng.choice([0, 0, 0, 0, 1, 2, 3], (queries, gallery))
    table[:, 0] = 1  # each has a positive
    found = ranking(rng.permuted(np.tile(np.arange(gallery), (queries, 1)), axis=1)[:, :depth])
    bench = benchmark(pairs(table), top_k=depth, ks=(1, 5, 20))
    ours = retrieval.score(found, bench, [*retrieval.names(bench), "mrr@20"]).values
    qrels = {str(q): {str(g): int(grade) for g, grade in enumerate(row) if grade} for q, row in enumerate(table)}
    run = {str(q): {str(g): float(depth - i) for i, g in enumerate(row)} for q, row in enumerate(found.rows.tolist())}
    asked = {"P.1,5,20", "recall.1,5,20", "success.1,5", "map_cut.1,5,20", "ndcg_cut.1,5,20", "recip_rank"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, asked).evaluate(run)
    named = {"precision": "P", "recall": "recall", "map_cut": "map_cut", "ndcg": "ndcg_cut"}
    same = {f"{base}@{k}": f"{other}_{k}" for base, other in named.items() for k in (1, 5, 20)}
    same |= {"hit_rate@1": "success_1", "hit_rate@5": "success_5", "mrr@20": "recip_rank"}
    for name, other in same.items():
        assert ours[name] == pytest.approx([theirs[str(q)][other] for q in range(queries)], abs=1e-9), name
    means = ir_measures.calc_aggregate([AP @ 5, nDCG @ 5, P @ 5, R @ 5], qrels, run)
    for measure, name in {AP @ 5: "map_cut@5", nDCG @ 5: "ndcg@5", P @ 5: "precision@5", R @ 5: "recall@5"}.items():
        assert ours[name].mean() == pytest.approx(means[measure], abs=1e-9), name


def as_table(judged: Judgements) -> np.ndarray:
    queries, gallery = judged.shape
    return np.asarray(judged.grades(np.arange(queries), np.tile(np.arange(gallery), (queries, 1))), int)


@given(st.data())
def test_judgements_of_each_kind_agree_with_a_table(data) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    queries, gallery = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 12))
    labels = [[frozenset(rng.choice(12, rng.integers(0, 4), replace=False).tolist()) for _ in range(size)]
              for size in (queries, gallery)]  # fmt: skip
    classes = [rng.integers(0, 4, size) for size in (queries, gallery)]
    given_table = rng.choice([0, 0, 1, 2, JUNK], (queries, gallery))
    kinds = [
        (OfClass(*classes), (classes[0][:, None] == classes[1]).astype(int)),
        (SharedLabel(*labels), np.array([[int(bool(one & other)) for other in labels[1]] for one in labels[0]])),
        (pairs(given_table), given_table),
    ]
    some_queries = rng.permutation(queries)[: data.draw(st.integers(1, queries))]
    some_rows = rng.permutation(gallery)[: data.draw(st.integers(1, gallery))]
    start = data.draw(st.integers(0, gallery))
    for judged, table in kinds:
        assert np.array_equal(as_table(judged), table)
        assert np.array_equal(as_table(judged.take(some_queries, some_rows)), table[some_queries][:, some_rows])
        assert judged.counts(range(start, gallery)).tolist() == (table[:, start:] > 0).sum(axis=1).tolist()
        assert judged.grades(np.array([0]), np.array([[MISSING]])).tolist() == [[0]]
        assert judged.junk.tolist() == (table == JUNK).sum(axis=1).tolist()
        assert judged.graded == (table > 1).any()
        for query, row in enumerate(table):
            rows, grades = judged.of_query(query)
            assert rows.tolist() == np.flatnonzero(row).tolist()
            assert grades.tolist() == row[row != 0].tolist()


@pytest.mark.parametrize(
    ("query", "row", "grade", "code"),
    [
        ([0, 0], [1, 1], [1, 1], "repeated-row"),
        ([2], [0], [1], "no-such-row"),
        ([0], [3], [1], "no-such-row"),
        ([0], [-1], [1], "no-such-row"),
        ([0], [0], [128], "bad-grade"),
        ([0], [0], [-2], "bad-grade"),
        ([0], [0], [0.5], "bad-grade"),
        ([0], [0], ["1"], "bad-grade"),
        ([0], [0], [None], "bad-grade"),
        ([0], [0], [np.nan], "bad-grade"),
        ([0.9], [0], [1], "no-such-row"),
        (["0"], [0], [1], "no-such-row"),
        ([0], [2**70], [1], "no-such-row"),
        ([0, 1], [0], [1], "wrong-shape"),
    ],
)
def test_pairs_that_cannot_be_are_refused(query, row, grade, code) -> None:
    with raises(ContractError, code):
        Pairs.of((2, 3), query, row, grade)
    with raises(DataError, "wrong-shape", "2", "3"):
        replace(benchmark(pairs([[1, 0, 1]])), judgements=Pairs.of((2, 3), [], [], []))


def test_rows_may_be_a_mask_and_wrong_ones_are_refused() -> None:
    bench = benchmark(pairs([[1, 0, 2], [0, JUNK, 1]]))
    for judged in (bench, replace(bench, judgements=None)):
        few = judged.take(np.array([False, True]), np.array([True, False, True]))
        assert (few.queries.ids, few.gallery.ids) == (("query1",), ("gallery0", "gallery2"))
        with raises(DataError, "no-such-row", "2"):
            judged.take(np.array([2]))
    assert as_table(bench.take(np.array([1]), np.array([2, 1])).relevance).tolist() == [[1, JUNK]]


def test_equal_judgements_have_equal_digests_and_others_do_not() -> None:
    table = np.array([[1, 0, 2], [0, JUNK, 0]])
    other = np.where(table == 2, 1, table)
    digests = [pairs(one).digest for one in (table, table.copy(), other, np.pad(table, ((0, 0), (0, 1))))]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert benchmark(pairs(table)).fingerprint != benchmark(pairs(other)).fingerprint


def test_ten_thousand_queries_with_fifty_positives_each_are_scored_in_little_time() -> None:
    rng = np.random.default_rng(0)
    queries, gallery = 10_000, 100_000
    row = np.sort(rng.integers(0, gallery // 50, (queries, 50)) + np.arange(50) * (gallery // 50), axis=1)
    judged = Pairs((queries, gallery), np.repeat(np.arange(queries), 50), row.ravel(), np.ones(row.size, np.int8))
    bench = benchmark(judged, top_k=100, ks=(1, 10, 20, 30, 100))
    found = ranking((rng.integers(0, gallery, (queries, 1)) + np.cumsum(rng.integers(1, 900, (queries, 100)), axis=1))
                    % gallery)  # fmt: skip
    seconds = []
    for _ in range(5):
        fresh, start = replace(bench), process_time()
        retrieval.score(found, fresh, ["map_trapezoid@100", "ndcg@10", "precision@10"])
        seconds.append(process_time() - start)
    print(f"10,000 queries with 50 positives each, 100 results: {1e3 * min(seconds):.0f} ms")
    assert min(seconds) < 0.6  # 0.2 is the goal on a core of one's own; a shared machine gets three times that
