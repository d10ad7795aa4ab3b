"""The health report: each figure against a plain count, the best precision against all orders of the identifiers."""

import json
from collections import Counter
from dataclasses import replace
from itertools import permutations
from math import log, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raising import raises

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import ContractError
from irbench.core.identifiers import Identifiers
from irbench.core.judgements import JUNK, Pairs
from irbench.metrics import diagnostics


def images(name, labels, ids=None):
    return ImageSet(name=name, ids=ids or tuple(f"{name}-{row}" for row in range(len(labels))), labels=np.array(labels))


def benchmark(gallery, queries, ks=(1, 2, 4), ids=None):
    found = images("gallery", gallery)
    asked = images("queries", queries, ids)
    return Benchmark(name="toy", protocol="closed-set", crop="none", train=found, gallery=found, queries=asked, ks=ks,
                     top_k=max(ks))  # fmt: skip


CODES = np.array([[0, 1], [0, 1], [0, 2], [3, 1], [3, 1], [3, 1]])
LABELS = [0, 0, 1, 1, 1, 0]


def test_a_report_counts_what_one_would_count_by_hand():
    found = diagnostics.report(Identifiers(CODES, 4), benchmark(LABELS, [0, 1]))
    assert (found["images"], found["in_use"]) == (6, 3)
    assert (found["num_codebooks"], found["codebook_size"]) == (2, 4)
    assert found["images_each"] == {"mean": 2.0, "max": 3, "histogram": {"1": 1, "2": 1, "3-4": 1}}
    assert found["codes_used"] == [2, 2]
    shares = ((1 / 2, 1 / 2), (5 / 6, 1 / 6))
    assert found["entropy_bits"] == pytest.approx([-sum(p * log2(p) for p in share) for share in shares])
    assert found["cluster_purity"] == pytest.approx([4 / 6, 5 / 6])
    # class 0: (0,1) has two of it, then (3,1) only at its end; class 1: (0,2), then (3,1) which begins with two
    assert found["oracle_precision"] == pytest.approx(
        {"precision@1": (1 + 1) / 2, "precision@2": (1 + 1) / 2, "precision@4": (2 / 4 + 3 / 4) / 2}
    )
    # class 0 has (0,1), (0,1), (3,1); class 1 has (0,2), (3,1), (3,1): one of three, two of three
    assert found["entropy_lower_bound"] == pytest.approx((log(3) / 3 + 2 / 3 * log(3 / 2)) / 2)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert "valid_identifier_rate" not in found


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_best_precision_is_that_of_the_best_of_all_orders(data):
    is_judged = data.draw(st.booleans())
    size = data.draw(st.integers(2, 9))
    gallery = data.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    codes = data.draw(st.lists(st.integers(0, 4), min_size=size, max_size=size))
    own = data.draw(st.booleans())  # do the queries' own photographs lie in the gallery?
    ids = tuple(f"gallery-{row}" for row in range(size)) if own else None
    asked = benchmark(gallery, gallery, ks=(1, 2, 3, 5), ids=ids)
    table = np.equal.outer(gallery, gallery).astype(int)
    if is_judged:
        grades = st.lists(st.sampled_from([0, 0, 1, JUNK]), min_size=size * size, max_size=size * size)
        table = np.array(data.draw(grades)).reshape(size, size)
        query, row = np.nonzero(table)
        asked = replace(asked, judgements=Pairs.of(table.shape, query, row, table[query, row]))
    found = diagnostics.report(Identifiers(np.array(codes)[:, None], 5), asked)["oracle_precision"]
    best = {k: [] for k in asked.ks}
    for query in range(size):
        if asked.positives[query] == 0:
            continue
        answers = []
        left = [row for row in range(size) if table[query, row] != JUNK and not (own and row == query)]
        for order in permutations(set(codes)):
            rows = [row for code in order for row in left if codes[row] == code]
            answers.append([table[query, row] > 0 for row in rows])
        for k, values in best.items():
            values.append(max(sum(hits[:k]) / k for hits in answers))
    expected = {f"precision@{k}": float(np.mean(values)) for k, values in best.items() if values}
    assert found == pytest.approx(expected)


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=4), max_size=5), st.integers(1, 12))
def test_most_hits_are_those_of_the_best_order_of_groups(groups, deepest):
    found = diagnostics.most_hits([np.array(group) for group in groups], deepest)
    for k in range(deepest + 1):
        best = max(sum([hit for group in order for hit in group][:k]) for order in permutations(groups))
        assert found[k] == best


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 5), st.integers(0, 1000))
def test_any_report_agrees_with_plain_counting(size, length, codes, seed):
    rng = np.random.default_rng(seed)
    identifiers, labels = rng.integers(0, codes, (size, length)), rng.integers(0, 3, size)
    found = diagnostics.report(Identifiers(identifiers, codes), benchmark(labels.tolist(), labels.tolist()))
    names = [tuple(row) for row in identifiers.tolist()]
    assert found["in_use"] == len(set(names))
    assert found["images_each"]["max"] == max(Counter(names).values())
    assert sum(found["images_each"]["histogram"].values()) == len(set(names))
    for m in range(length):
        groups = {}
        for name, label in zip(names, labels.tolist(), strict=True):
            groups.setdefault(name[: m + 1], []).append(label)
        right = sum(max(Counter(group).values()) for group in groups.values())
        assert found["cluster_purity"][m] == pytest.approx(right / size)
    assert found["cluster_purity"] == sorted(found["cluster_purity"])


@settings(deadline=None)
@given(st.integers(2, 25), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_the_least_loss_is_that_of_a_decoder_that_knows_how_common_each_code_is(size, length, codes, seed):
    rng = np.random.default_rng(seed)
    identifiers, labels = rng.integers(0, codes, (size, length)).tolist(), rng.integers(0, 3, size).tolist()
    found = diagnostics.report(Identifiers(np.array(identifiers), codes), benchmark(labels, labels))[
        "entropy_lower_bound"
    ]
    losses = []  # equation 5: of each code of each partner of each image, given the class and the codes before
    for label in labels:
        partners = [codes for codes, other in zip(identifiers, labels, strict=True) if other == label]
        for partner in partners:
            chances = []
            for m in range(length):
                alike = [codes[m] for codes in partners if codes[:m] == partner[:m]]
                chances.append(alike.count(partner[m]) / len(alike))
            losses.append((-sum(map(log, chances)) / length, 1 / len(partners)))
    assert found == pytest.approx(sum(loss * share for loss, share in losses) / size, abs=1e-12)


def test_no_entropy_lower_bound_is_reported_where_training_has_other_images_than_the_gallery():
    other = replace(benchmark(LABELS, [0]), train=images("train", [0, 1]))
    assert "entropy_lower_bound" not in diagnostics.report(Identifiers(CODES, 4), other)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 1000))
def test_the_share_of_valid_beams_is_that_of_sequences_found_in_the_table(length, codes, seed):
    rng = np.random.default_rng(seed)
    identifiers = Identifiers(rng.integers(0, codes, (6, length)), codes)
    written = rng.integers(0, codes, (3, 5, length))
    known = set(map(tuple, identifiers.codes.tolist()))
    expected = np.mean([tuple(one) in known for one in written.reshape(-1, length).tolist()])
    assert diagnostics.valid_rate(written, identifiers) == pytest.approx(expected)


def test_what_does_not_fit_is_reported():
    identifiers = Identifiers(CODES, 4)
    with raises(ContractError, "wrong-shape", "6 identifiers", "2 images"):
        diagnostics.report(identifiers, benchmark([0, 1], [0]))
    with raises(ContractError, "wrong-shape", "(1, 1, 3)", "[Q,K,2]"):
        diagnostics.valid_rate(np.zeros((1, 1, 3), np.int64), identifiers)


def test_queries_without_positives_are_left_out_and_a_sample_is_spread_over_all():
    asked = benchmark([0, 0, 1], [0, 2], ks=(1, 2))
    found = diagnostics.report(Identifiers(np.arange(3)[:, None], 3), asked)
    assert found["oracle_precision"] == {"precision@1": 1.0, "precision@2": 1.0}
    none = diagnostics.report(Identifiers(np.arange(3)[:, None], 3), replace(asked, queries=images("queries", [2])))
    assert none["oracle_precision"] == {}
    many = diagnostics.sample(images("queries", [0] * 5000))
    assert 200 <= len(many) <= 256
    assert {many.ids[0], many.ids[-1]} == {"queries-0", "queries-4999"}
    assert len(diagnostics.sample(images("queries", [0] * 7))) == 7
