"""Exact search against the scoring of every identifier, one by one, in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_beam import decoder, problems, score_every_identifier

from irbench.core.identifiers import Identifiers
from irbench.retrievers.irgen import exact
from irbench.retrievers.irgen.beam import BeamSearch
from irbench.retrievers.irgen.exact import ExactSearch, misses
from irbench.retrievers.irgen.trie import Trie


@settings(max_examples=20, deadline=None)
@given(problems(), st.integers(1, 12), st.sampled_from([1, 2, 64]))
def test_the_best_identifiers_are_those_of_scoring_every_one(problem, K: int, at_once: int) -> None:
    ids, seed, tokens = problem
    trie, model = Trie.build(ids), decoder(ids.num_codebooks, ids.codebook_size, seed)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "AT_ONCE", at_once)  # however many prefixes are followed at once
        leaves, scores = ExactSearch(trie, "cpu")(model, tokens, K)
    truth = score_every_identifier(model, tokens, np.unique(ids.codes, axis=0))
    assert leaves.shape == (len(tokens), min(K, trie.leaves))
    for query, expected in enumerate(truth):
        found = leaves[query].tolist()
        assert len(set(found)) == len(found)
        best = np.sort(expected)[::-1][: len(found)]
        np.testing.assert_allclose(scores[query], best, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(expected[found], best, rtol=1e-4, atol=1e-4)


def test_it_finds_what_beam_search_misses_and_the_report_counts_that() -> None:
    rng = np.random.default_rng(0)
    ids = Identifiers(rng.integers(0, 12, (500, 4)), 12)
    trie, model = Trie.build(ids), decoder(4, 12, seed=3)
    tokens = torch.from_numpy(rng.normal(size=(20, 5, 6)).astype(np.float32))
    with torch.no_grad():
        beam, true = (
            tuple(x.numpy() for x in search(trie, "cpu")(model, tokens, 3)) for search in (BeamSearch, ExactSearch)
        )
    assert (true[1] >= beam[1] - 1e-4).all()
    counted = misses(beam, true)
    by_hand = [len(set(t) - set(b)) for b, t in zip(beam[0].tolist(), true[0].tolist(), strict=True)]
    assert 0 < counted.leaves == pytest.approx(sum(by_hand) / 60)
    assert counted.queries == pytest.approx(np.mean([missing > 0 for missing in by_hand]))
    assert misses(true, true) == exact.Misses(queries=0.0, leaves=0.0)


def test_a_leaf_that_is_as_good_as_one_that_was_found_is_not_missed() -> None:
    beam = np.array([[4, 7]]), np.array([[-1.0, -2.0]], np.float32)
    true = np.array([[4, 5]]), np.array([[-1.0, -2.0]], np.float32)
    assert misses(beam, true).leaves == 0
    short = np.array([[4, 0]]), np.array([[-1.0, -np.inf]], np.float32)
    assert misses(short, true).leaves == 0.5


def test_of_equal_scores_the_lower_leaf_stands_first() -> None:
    ids = Identifiers(np.array([[3, 1], [0, 2], [2, 0], [1, 1]]), 4)
    model = decoder(2, 4, seed=0)
    with torch.no_grad():
        model.head.weight[:] = 0  # every code is as probable as every other
        leaves, scores = ExactSearch(Trie.build(ids), "cpu")(model, torch.randn(2, 5, 6), 3)
    assert leaves.tolist() == [[0, 1, 2]] * 2
    assert scores.unique().numel() == 1
