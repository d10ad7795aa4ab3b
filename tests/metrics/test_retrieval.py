"""Each metric against cases worked by hand, a plain loop, and trec_eval where both define the same thing."""

from time import process_time

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st
from raising import raises

from irbench.bench.metrics import by_loop
from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import ContractError, UsageError
from irbench.core.ranking import MISSING, Ranking
from irbench.metrics import retrieval


def image_set(name, labels, ids=None):
    labels = np.asarray(labels, np.int64)
    return ImageSet(name=name, ids=tuple(ids or (f"{name}{i}" for i in range(len(labels)))), labels=labels)


def benchmark(gallery, queries, *, ks=(1, 10), depth=10, query_ids=None, incremental=0):
    return Benchmark(
        name="toy",
        protocol="closed-set",
        crop="none",
        train=image_set("train", [0]),
        gallery=image_set("gallery", gallery),
        queries=image_set("queries", queries, query_ids),
        ks=ks,
        top_k=depth,
        incremental=incremental,
    )


def ranking(rows):
    rows = np.atleast_2d(rows)
    scores = np.broadcast_to(-np.arange(rows.shape[1], dtype=np.float32), rows.shape)
    return Ranking(rows, np.where(rows == MISSING, -np.inf, scores).astype(np.float32))


def score_one(hit_ranks, positives, name, depth=10, gallery=40):
    """Score one query of label 1 whose hits stand at `hit_ranks`, in a gallery with that many positives."""
    rows = np.arange(positives, positives + depth)  # misses
    rows[np.array(hit_ranks) - 1] = np.arange(len(hit_ranks))
    bench = benchmark([1] * positives + [0] * (gallery - positives), [1], depth=depth)
    return retrieval.score(ranking(rows), bench, [name]).means[name]


# Ranks of the hits, n, then precision_irgen@10, precision@10, map@10, recall@10, recall@10. The first column of
# numbers was printed by the published evaluation code itself.
WORKED = [
    ([1, 2, 3], 3, 1.0, 0.3, 1.0, 1, 1.0),
    ([1, 2, 5], 3, 0.6, 0.3, (1 + 1 + 3 / 5) / 3, 1, 1.0),
    ([1, 2], 3, 0.2, 0.2, 2 / 3, 1, 2 / 3),
    ([1], 1, 0.1, 0.1, 1.0, 1, 1.0),
    (range(1, 11), 20, 1.0, 1.0, 1.0, 1, 0.5),
]


@pytest.mark.parametrize("row", WORKED)
def test_the_worked_table(row):
    hit_ranks, n, *expected = row
    names = ["precision_irgen@10", "precision@10", "map@10", "hit_rate@10", "recall@10"]
    assert [score_one(list(hit_ranks), n, name) for name in names] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("hit_ranks", "n", "name", "expected"),
    [
        ([3], 2, "mrr@2", 0.0),
        ([3], 2, "mrr@3", 1 / 3),
        ([4, 10], 2, "precision_irgen@10", 0.2),  # the last at r = K: nothing to shorten
        ([4, 9], 2, "precision_irgen@10", 2 / 9),
        ([4, 9], 2, "precision_irgen@5", 0.2),  # not all within K
        ([2, 3], 2, "r_precision", 0.5),
        ([1], 2, "precision@20", 1 / 20),  # ten answers where twenty were asked: the others are misses
    ],
)
def test_by_hand(hit_ranks, n, name, expected):
    assert score_one(hit_ranks, n, name, depth=10 if name != "precision@20" else 20) == pytest.approx(expected)


def test_fewer_results_than_k_are_misses_even_where_the_ranking_is_narrow():
    bench = benchmark([1, 1, 0], [1], ks=(10,))
    scores = retrieval.score(ranking([0, 1, 2]), bench, ["precision@10", "map@10", "precision_irgen@10", "mrr@10"])
    assert scores.means == pytest.approx({"precision@10": 0.2, "map@10": 1, "precision_irgen@10": 1, "mrr@10": 1})


@st.composite
def cases(draw):
    """A gallery with few classes, queries of classes that may be absent from it or stand in it, holes at the end."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    gallery = rng.integers(0, draw(st.integers(1, 5)), draw(st.integers(2, 25)))
    queries = rng.integers(0, 6, draw(st.integers(1, 6)))
    own = [i < len(gallery) and draw(st.booleans()) for i in range(len(queries))]
    ids = [f"gallery{i}" if inside else f"q{i}" for i, inside in enumerate(own)]
    queries = np.array([gallery[i] if inside else queries[i] for i, inside in enumerate(own)])
    depth = draw(st.integers(1, 30))
    fresh = draw(st.integers(0, len(gallery) - 1))
    bench = benchmark(gallery, queries, ks=tuple(sorted({1, 3, depth})), depth=depth, query_ids=ids, incremental=fresh)
    rows = np.full((len(queries), min(depth, len(gallery))), MISSING)
    for q in range(len(queries)):
        others = rng.permutation(np.setdiff1d(np.arange(len(gallery)), bench.own_rows[q]))
        answered = others[: draw(st.integers(0, rows.shape[1]))]
        rows[q, : len(answered)] = answered
    return bench, ranking(rows)


@given(cases())
def test_every_metric_equals_the_loop(case):
    bench, answers = case
    scores = retrieval.score(answers, bench, retrieval.names(bench))
    assert scores.left_out + len(scores.queries) == len(bench.queries)
    old = len(bench.gallery) - bench.incremental
    for name, values in scores.values.items():
        expected = []
        part = {"old": range(old), "new": range(old, 99)}.get(retrieval.parse(name).metric.part, range(-1, 99))
        for q in range(len(bench.queries)):
            labels = bench.gallery.labels
            same = [g for g, label in enumerate(labels) if label == bench.queries.labels[q] and g in part]
            n = len(set(same) - {bench.own_rows[q]})
            if n:
                rows = [row for row in answers.rows[q] if row in part]
                expected.append(by_loop([row in same for row in rows], n, retrieval.parse(name)))
        assert values == pytest.approx(expected, abs=1e-12), name
    assert set(scores.values) | set(scores.unscored) == set(retrieval.names(bench))
    assert ("precision_new@1" in retrieval.names(bench)) == (bench.incremental > 0)


def test_trec_eval_agrees_where_it_defines_the_same():
    rng = np.random.default_rng(5)
    labels, queries, depth = rng.integers(0, 12, 300), rng.integers(0, 12, 40), 50
    bench = benchmark(labels, queries, ks=(1, 5, 10, 30), depth=depth)
    answers = ranking(np.stack([rng.permutation(300)[:depth] for _ in range(40)]))
    relevant = {str(q): {str(g): int(labels[g] == queries[q]) for g in range(300)} for q in range(40)}
    run = {str(q): {str(g): float(depth - i) for i, g in enumerate(answers.rows[q])} for q in range(40)}
    asked = {"P.1,5,10", "recall.1,5,10", "success.1,5,10", "map_cut.1,5,10,30", "recip_rank", "Rprec"}
    theirs = pytrec_eval.RelevanceEvaluator(relevant, asked).evaluate(run)
    ours = retrieval.score(answers, bench, [*retrieval.names(bench), "mrr@50"]).values
    fewest = bench.positives.min()
    pairs = {f"{b}@{k}": f"{t}_{k}" for k in (1, 5, 10) for b, t in [("precision", "P"), ("hit_rate", "success"),
                                                                     ("recall", "recall")]}  # fmt: skip
    pairs |= {"r_precision": "Rprec", "mrr@50": "recip_rank"}
    for name, their_name in pairs.items():
        assert ours[name] == pytest.approx([theirs[str(q)][their_name] for q in range(40)], abs=1e-9), name
    # trec_eval divides by n and we by min(n, K): the same only after undoing the denominator, save where n ≤ K
    for k in (1, 5, 10, 30):
        expected = (
            [theirs[str(q)][f"map_cut_{k}"] for q in range(40)] * bench.positives / np.minimum(bench.positives, k)
        )
        assert ours[f"map@{k}"] == pytest.approx(expected, abs=1e-9)
    assert fewest > 10


def test_queries_without_positives_are_counted_and_left_out():
    bench = benchmark([1, 1, 0], [7, 1, 8])
    scores = retrieval.score(ranking([[0, 1], [1, 2], [2, 0]]), bench, ["precision@1"])
    assert (scores.left_out, scores.queries.tolist(), scores.means["precision@1"]) == (2, [1], 1.0)


def test_what_cannot_be_said_is_not_a_number_but_a_reason():
    none = retrieval.score(ranking([[0]]), benchmark([1, 1], [7]), ["hit_rate@1"])
    assert (none.values, list(none.unscored)) == ({}, ["hit_rate@1"])
    shallow = retrieval.score(
        ranking([[0]]), benchmark([1, 1, 0], [1], depth=1), ["r_precision", "hit_rate@2", "hit_rate@1"]
    )
    assert set(shallow.unscored) == {"r_precision", "hit_rate@2"}
    assert "2 positives" in shallow.unscored["r_precision"]
    same = retrieval.score(ranking([[0]]), benchmark([1, 1], [1]), ["precision_new@1"])
    assert same.unscored == {"precision_new@1": "no image was added to the gallery"}


def test_a_ranking_that_does_not_belong_is_refused():
    bench = benchmark([1, 1, 0], [1], query_ids=["gallery1"])
    with raises(ContractError, "query-in-results"):
        retrieval.score(ranking([[0, 1]]), bench, ["hit_rate@1"])
    with raises(ContractError, "no-such-row", "row 3", "gallery of 3"):
        retrieval.score(ranking([[0, 3]]), bench, ["hit_rate@1"])
    with raises(ContractError, "wrong-shape", "2 queries"):
        retrieval.score(ranking([[0], [2]]), bench, ["hit_rate@1"])


@pytest.mark.parametrize("metric", retrieval.METRICS.values(), ids=retrieval.METRICS)
def test_a_name_reads_back(metric):
    name = f"{metric.name}@7" if metric.at_k else metric.name
    assert str(retrieval.parse(name)) == name


@pytest.mark.parametrize(
    ("name", "code", "named"),
    [
        ("precison@10", "unknown-metric", "'precision'"),
        ("precision", "bad-metric-name", "'precision@10'"),
        ("precision@0", "bad-metric-name", "'precision@10'"),
        ("map@ten", "bad-metric-name", "'map@10'"),
        ("map@²", "bad-metric-name", "'map@10'"),
        ("r_precision@5", "bad-metric-name", "'r_precision'"),
    ],
)
def test_a_wrong_name_is_reported(name, code, named):
    with raises(UsageError, code, f"'{name}'", named):
        retrieval.parse(name)


def test_ten_thousand_queries_are_scored_in_little_time():
    rng = np.random.default_rng(0)
    bench = benchmark(rng.integers(0, 500, 20_000), rng.integers(0, 500, 10_000), ks=(1, 10, 20, 30, 100), depth=100)
    rows = (rng.integers(0, 20_000, (10_000, 1)) + np.cumsum(rng.integers(1, 100, (10_000, 100)), axis=1)) % 20_000
    answers = ranking(rows)
    names = retrieval.names(bench)
    retrieval.score(answers, bench, names)
    seconds = []
    for _ in range(7):
        start = process_time()
        retrieval.score(answers, bench, names)
        seconds.append(process_time() - start)
    print(f"{len(names)} metrics of 10,000 queries with 100 answers: {1e3 * min(seconds):.1f} ms")
    assert min(seconds) < 0.09  # 0.03 is the goal on a core of one's own; a shared machine gets three times that


def test_queries_with_fewer_results_than_k_are_counted_and_a_whole_gallery_is_enough():
    gallery, queries = [0, 0, 1, 1, 2], [0, 1, 2]
    made = benchmark(gallery, queries, query_ids=("q0", "q1", "gallery4"))  # the last one is in the gallery
    few = [[0, 1, 2, 3, 4], [2, MISSING, MISSING, MISSING, MISSING], [0, 1, 2, 3, MISSING]]
    found = Ranking.from_topk(few, [[5, 4, 3, 2, 1], [5, 0, 0, 0, 0], [5, 4, 3, 2, 0]])
    judged = retrieval.judgements(found, made)[""]
    assert judged.found.tolist() == [5, 1]  # query 2 has no positive but itself; the whole gallery is K
    assert [judged.short(k) for k in (1, 2, 10)] == [0.0, 0.5, 0.5]
    assert judged.short(0) == 0.5  # of its two positives
    assert judged.classes.tolist() == [0, 1]
    unknown = retrieval.Judged(judged.hits, judged.positives)
    assert unknown.short(1) is None
