"""The prefix tree of a batch's identifiers, against sets of tuples."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from irbench.retrievers.irgen.prefixes import PrefixTree

SIZES = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))


@given(SIZES, st.integers(0, 2**32 - 1))
def test_each_prefix_of_an_image_stands_once_and_knows_its_beginnings(
    sizes: tuple[int, int, int, int], seed: int
) -> None:
    images, per_image, length, codebook_size = sizes
    codes = torch.randint(0, codebook_size, (images * per_image, length), generator=torch.Generator().manual_seed(seed))
    tree = PrefixTree.of(codes, images, codebook_size)

    def prefix(target: int, position: int) -> tuple[int, tuple[int, ...]]:
        return target // per_image, tuple(codes[target, :position].tolist())

    examples = [prefix(int(number) // length, int(number) % length) for number in tree.example]
    all_prefixes = {prefix(target, m) for target in range(len(codes)) for m in range(length)}
    assert len(examples) == len(all_prefixes)
    assert set(examples) == all_prefixes
    for target in range(len(codes)):
        assert [examples[int(number)] for number in tree.number[target]] == [prefix(target, m) for m in range(length)]

    values = torch.randn(len(examples), 2)
    padded = tree.padded(values)
    assert padded.shape == (images, max(sum(image == i for image, _ in examples) for i in range(images)), 2)
    assert torch.equal(tree.packed(padded), values)
    at = {int(place): example for place, example in zip(tree.place, examples, strict=True)}
    slots = padded.shape[1]
    for place, (image, mine) in at.items():
        for other in range(slots):
            its = at.get(image * slots + other)
            due = its is not None and mine[: len(its[1])] == its[1]
            assert bool(tree.begins_with[image, place % slots, other]) == due
    assert tree.begins_with.any(dim=2).all()  # a place without a prefix is no row of nothing but -inf
