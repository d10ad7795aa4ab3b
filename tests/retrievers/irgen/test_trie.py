"""The trie against a table of tuples: every prefix, every leaf, every ranking."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from raising import raises

from irbench.core.errors import ContractError
from irbench.core.identifiers import Identifiers
from irbench.retrievers.irgen.trie import Trie


@st.composite
def identifiers(draw: st.DrawFn) -> Identifiers:
    codebook = draw(st.sampled_from([1, 2, 3, 7, 256, 70_000]))
    shape = (draw(st.integers(1, 30)), draw(st.integers(1, 9)))
    return Identifiers(draw(hnp.arrays(np.int64, shape, elements=st.integers(0, codebook - 1))), codebook)


def walk(trie: Trie) -> dict[tuple[int, ...], int]:
    """Every path of the trie, with the number of its last node."""
    paths = {(): 0}
    for depth, level in enumerate(trie.levels):
        for path, node in [item for item in paths.items() if len(item[0]) == depth]:
            for child in range(level.first[node], level.first[node + 1]):
                paths[*path, int(level.code[child])] = child
    return paths


@given(identifiers())
def test_the_trie_holds_exactly_the_prefixes_of_its_identifiers(ids: Identifiers) -> None:
    expected = {tuple(row[:depth]) for row in ids.codes.tolist() for depth in range(ids.num_codebooks + 1)}
    assert set(walk(Trie.build(ids))) == expected


@given(identifiers())
def test_a_leaf_holds_the_rows_of_its_identifier_in_gallery_order(ids: Identifiers) -> None:
    trie = Trie.build(ids)
    leaves = {path: node for path, node in walk(trie).items() if len(path) == ids.num_codebooks}
    assert trie.leaves == len(leaves)
    for path, leaf in leaves.items():
        rows = trie.rows[trie.first_row[leaf] : trie.first_row[leaf + 1]].tolist()
        assert rows == [row for row, codes in enumerate(ids.codes.tolist()) if tuple(codes) == path]


@given(identifiers())
def test_children_are_in_the_order_of_their_codes_and_width_is_the_widest(ids: Identifiers) -> None:
    for level in Trie.build(ids).levels:
        children = [level.code[a:b].tolist() for a, b in zip(level.first[:-1], level.first[1:], strict=True)]
        assert all(codes == sorted(set(codes)) for codes in children)
        assert level.width == max(map(len, children))


@given(identifiers(), st.integers(1, 40), st.randoms(use_true_random=False))
def test_a_ranking_lists_the_images_of_the_best_leaves_first(ids: Identifiers, k: int, random) -> None:
    trie = Trie.build(ids)
    found = random.sample(range(trie.leaves), random.randint(1, trie.leaves))
    dead = 2
    leaves = np.array([found + [0] * dead])
    scores = np.array([[-float(i) for i in range(len(found))] + [-np.inf] * dead], np.float32)
    expected = [row for leaf in found for row in trie.rows[trie.first_row[leaf] : trie.first_row[leaf + 1]]][:k]
    answer = trie.ranking(leaves, scores, k)
    assert answer.rows[0].tolist() == [*expected, *[-1] * (k - len(expected))]


def test_long_identifiers_are_sorted_like_short_ones() -> None:
    # beyond 63 bits the codes no longer fit one integer, and another way of sorting takes over
    codes = np.random.default_rng(0).integers(0, 256, (200, 256))
    codes[::3] = codes[0]
    trie = Trie.build(Identifiers(codes, 256))
    assert trie.rows.tolist() == sorted(range(200), key=lambda row: (codes[row].tolist(), row))


@pytest.mark.parametrize("codes", [[[0, 256]], [[-1, 0]]])
def test_codes_outside_the_codebook_are_refused_naming_the_row(codes: list[list[int]]) -> None:
    with raises(ContractError, "out-of-range", "row 0"):
        Identifiers(np.array(codes), 256)


def test_identifiers_that_are_not_whole_numbers_or_ragged_are_refused() -> None:
    for bad in (np.zeros((3, 2)), np.zeros(3, np.int64), np.zeros((0, 4), np.int64)):
        with pytest.raises(ContractError):
            Identifiers(bad, 4)
