"""Beam search against the scoring of every identifier, one by one, in float64."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from irbench.core.identifiers import Identifiers
from irbench.retrievers.irgen import beam
from irbench.retrievers.irgen.beam import BeamSearch, generate
from irbench.retrievers.irgen.branching import DenseBranching, SparseBranching, branchings
from irbench.retrievers.irgen.decoder import Decoder, DecoderConfig
from irbench.retrievers.irgen.reference import ReferenceSearch
from irbench.retrievers.irgen.trie import Trie


def decoder(num_codebooks: int, codebook_size: int, seed: int) -> Decoder:
    torch.manual_seed(seed)
    config = DecoderConfig(
        memory_dim=6, num_codebooks=num_codebooks, codebook_size=codebook_size, num_layers=2, width=8, num_heads=2
    )
    made = Decoder(config).eval()
    with torch.no_grad():  # trained models are sure of themselves: logits far apart are the hard case for sums
        made.head.weight *= 8
    return made


def score_every_identifier(model: Decoder, tokens: torch.Tensor, distinct: np.ndarray) -> np.ndarray:
    """[B,leaves] sums of log-probabilities, each identifier decoded from its start without any cache."""
    model, tokens = model.double(), tokens.double()
    codes = torch.from_numpy(distinct)
    rows = []
    for image in tokens:
        logits = model(image.expand(len(codes), -1, -1), codes).double()
        rows.append(logits.log_softmax(-1).gather(-1, codes[..., None]).sum(dim=(1, 2)))
    return torch.stack(rows).detach().numpy()


@st.composite
def problems(draw: st.DrawFn) -> tuple[Identifiers, int, torch.Tensor]:
    codes, length = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    ids = Identifiers(rng.integers(0, codes, (draw(st.integers(1, 40)), length)), codes)
    seed = draw(st.integers(0, 100))
    tokens = torch.from_numpy(rng.normal(size=(draw(st.integers(1, 3)), 5, 6)).astype(np.float32))
    return ids, seed, tokens


def assert_same_beams(found, expected) -> None:
    """Leaf for leaf and score for score, but leaves whose scores differ by rounding may stand in either order."""
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-4)
    for leaves, others, scores in zip(found[0].tolist(), expected[0].tolist(), expected[1].tolist(), strict=True):
        for place, leaf in enumerate(leaves):
            if scores[place] == -torch.inf:
                continue
            near = [other for other, score in zip(others, scores, strict=True) if abs(score - scores[place]) < 2e-4]
            assert leaf in near or abs(scores[place] - scores[-1]) < 2e-4


@settings(max_examples=30, deadline=None)
@given(problems(), st.integers(0, 5))
def test_with_a_beam_for_every_identifier_the_search_is_exact(problem, spare: int) -> None:
    ids, seed, tokens = problem
    trie = Trie.build(ids)
    distinct = np.unique(ids.codes, axis=0)
    model = decoder(ids.num_codebooks, ids.codebook_size, seed)
    with torch.no_grad():
        leaves, scores = BeamSearch(trie, "cpu")(model, tokens, trie.leaves + spare)
    expected = score_every_identifier(model, tokens, distinct)
    for query in range(len(tokens)):
        alive = scores[query] > -torch.inf
        assert sorted(leaves[query][alive].tolist()) == list(range(trie.leaves))
        by_leaf = np.empty(trie.leaves)
        by_leaf[leaves[query][alive].numpy()] = scores[query][alive].numpy()
        np.testing.assert_allclose(by_leaf, expected[query], rtol=1e-4, atol=1e-4)
        assert scores[query].tolist() == sorted(scores[query].tolist(), reverse=True)


@settings(max_examples=20, deadline=None)
@given(problems(), st.integers(1, 8))
def test_a_narrow_beam_finds_only_identifiers_that_exist_and_none_twice(problem, beam_size: int) -> None:
    ids, seed, tokens = problem
    trie = Trie.build(ids)
    model = decoder(ids.num_codebooks, ids.codebook_size, seed)
    with torch.no_grad():
        leaves, scores = BeamSearch(trie, "cpu")(model, tokens, beam_size)
    expected = score_every_identifier(model, tokens, np.unique(ids.codes, axis=0))
    assert leaves.shape[1] <= beam_size
    for query in range(len(tokens)):
        alive = (scores[query] > -torch.inf).numpy()
        found = leaves[query].numpy()[alive]
        assert alive.any()
        assert len(set(found.tolist())) == len(found)
        # whatever was found carries its own score: a mixed-up cache or parent would show here
        np.testing.assert_allclose(scores[query].numpy()[alive], expected[query][found], rtol=1e-4, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(problems(), st.integers(1, 12), st.booleans())
def test_a_beam_is_that_of_the_slow_decoder_without_cache_or_arrays(problem, beam_size: int, one_by_one: bool) -> None:
    ids, seed, tokens = problem
    trie, model = Trie.build(ids), decoder(ids.num_codebooks, ids.codebook_size, seed)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(beam, "MEMORY", 0 if one_by_one else 2**31)
        leaves, scores = BeamSearch(trie, "cpu")(model, tokens, beam_size)
        expected_leaves, expected = ReferenceSearch(trie, "cpu")(model, tokens, beam_size)
    assert_same_beams((leaves, scores), (expected_leaves[:, : leaves.shape[1]], expected[:, : leaves.shape[1]]))
    assert (expected[:, leaves.shape[1] :] == -torch.inf).all()


@pytest.mark.parametrize(("num_codebooks", "codebook_size"), [(3, 5), (1, 7), (4, 1)])
def test_without_a_trie_a_beam_for_every_sequence_orders_all_of_them(num_codebooks: int, codebook_size: int) -> None:
    model = decoder(num_codebooks, codebook_size, seed=4)
    tokens = torch.from_numpy(np.random.default_rng(4).normal(size=(3, 5, 6)).astype(np.float32))
    every = np.array(list(product(range(codebook_size), repeat=num_codebooks)))
    with torch.no_grad():
        codes = generate(model, tokens, len(every) + 2).numpy()
    expected = score_every_identifier(model, tokens, every)
    place = (codes * codebook_size ** np.arange(num_codebooks)[::-1]).sum(axis=2)  # in `every`
    assert [sorted(row) for row in place.tolist()] == [list(range(len(every)))] * len(tokens)
    assert (np.diff(np.take_along_axis(expected, place, axis=1)) <= 1e-4).all()


@settings(max_examples=20, deadline=None)
@given(problems(), st.integers(1, 9), st.booleans())
def test_without_a_trie_beams_are_those_of_the_trie_of_all_sequences(problem, beam_size: int, one_by_one: bool) -> None:
    ids, seed, tokens = problem
    every = np.array(list(product(range(ids.codebook_size), repeat=ids.num_codebooks)))
    model = decoder(ids.num_codebooks, ids.codebook_size, seed)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(beam, "MEMORY", 0 if one_by_one else 2**31)
        codes = generate(model, tokens, beam_size)
        leaves, _ = BeamSearch(Trie.build(Identifiers(every, ids.codebook_size)), "cpu")(model, tokens, beam_size)
    assert (codes == torch.from_numpy(every)[leaves]).all()


def test_codes_that_leave_no_choice_are_scored_and_change_no_order() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 5, (40, 12))
    codes[7, :-1] = codes[8, :-1]  # two part at the very end
    trie, model = Trie.build(Identifiers(codes, 5)), decoder(12, 5, seed=1)
    assert {level.width for level in trie.levels[8:-1]} == {1}
    tokens = torch.from_numpy(rng.normal(size=(4, 5, 6)).astype(np.float32))
    with torch.no_grad():
        found, expected = (search(trie, "cpu")(model, tokens, 9) for search in (BeamSearch, ReferenceSearch))
    assert_same_beams(found, expected)


def test_a_level_that_is_nearly_full_offers_what_any_other_level_does() -> None:
    rng = np.random.default_rng(0)
    ids = Identifiers(rng.integers(0, 8, (90, 4)), 8)
    trie = Trie.build(ids)
    assert {type(level) for level in branchings(trie, "cpu")} == {DenseBranching, SparseBranching}
    for level, branching in zip(trie.levels, branchings(trie, "cpu"), strict=True):
        nodes, logp = torch.arange(branching.nodes)[None], torch.randn(1, branching.nodes, 8)
        offered = branching.logp(nodes, logp)
        for node, slot in (offered > -torch.inf).nonzero()[:, 1:].tolist():
            child = branching.child(nodes[:, [node]], torch.tensor([[slot]]))
            assert level.first[node] <= child.item() < level.first[node + 1]
            code = branching.code(child).item()
            assert code == level.code[child.item()]
            assert offered[0, node, slot] == logp[0, node, code]
        assert (offered > -torch.inf).sum() == len(level.code)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_results_of_the_cpu() -> None:
    rng = np.random.default_rng(0)
    trie, model = Trie.build(Identifiers(rng.integers(0, 16, (600, 4)), 16)), decoder(4, 16, seed=1)
    tokens = torch.from_numpy(rng.normal(size=(9, 5, 6)).astype(np.float32))
    with torch.no_grad():
        expected = BeamSearch(trie, "cpu")(model, tokens, 12)
        leaves, scores = BeamSearch(trie, "cuda")(model.cuda(), tokens.cuda(), 12)
    assert_same_beams((leaves.cpu(), scores.cpu()), expected)


def test_beams_follow_their_parents_when_the_best_prefix_changes_sides() -> None:
    rng = np.random.default_rng(3)
    ids = Identifiers(rng.integers(0, 16, (600, 4)), 16)
    trie, model = Trie.build(ids), decoder(4, 16, seed=1)
    tokens = torch.from_numpy(rng.normal(size=(9, 5, 6)).astype(np.float32))
    with torch.no_grad():
        leaves, scores = BeamSearch(trie, "cpu")(model, tokens, 12)
        one_by_one = [BeamSearch(trie, "cpu")(model, image[None], 12) for image in tokens]
    for query, (alone, alone_scores) in enumerate(one_by_one):
        assert leaves[query].tolist() == alone[0].tolist()
        torch.testing.assert_close(scores[query], alone_scores[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 80.0])
def test_scores_of_hopeless_identifiers_stay_finite(scale: float) -> None:
    # products of probabilities would be zero here; sums of log-probabilities are not
    ids = Identifiers(np.arange(8)[:, None].repeat(6, axis=1), 8)
    model = decoder(6, 8, seed=0)
    with torch.no_grad():
        model.head.bias[:] = torch.linspace(-scale, scale, 8)
        _, scores = BeamSearch(Trie.build(ids), "cpu")(model, torch.randn(1, 3, 6), 8)
    assert torch.isfinite(scores).all()
    assert (scores.diff() <= 0).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_host_does_not_wait_for_a_gpu_that_decodes() -> None:
    trie, model = (
        Trie.build(Identifiers(np.random.default_rng(0).integers(0, 16, (600, 4)), 16)),
        decoder(4, 16, seed=1),
    )
    search, tokens = BeamSearch(trie, "cuda"), torch.randn(9, 5, 6, device="cuda")
    with torch.no_grad():
        search(model.cuda(), tokens, 12)
        torch.cuda.set_sync_debug_mode("error")
        try:
            search(model, tokens, 12)
        finally:
            torch.cuda.set_sync_debug_mode("default")
