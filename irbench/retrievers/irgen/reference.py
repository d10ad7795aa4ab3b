"""A slow decoder, written to be plainly right: the oracle of beam search, and the baseline of `irbench bench beam`.

It works as the published code does (yakt00/IRGen:model/IRGen.py): every beam has its own copy of the image's tokens
and projects them to keys and values again, the whole prefix is computed again for every code, all beams exist from the
start, and the trie is nested dictionaries. It differs in two points: queries, keys and values are projected only where
they are used, and log-probabilities are added instead of probabilities multiplied, which soon underflow to zero.
"""

from heapq import nlargest

import torch
from torch import Tensor

from irbench.retrievers.irgen.branching import NEVER
from irbench.retrievers.irgen.decoder import Decoder
from irbench.retrievers.irgen.trie import Trie

Node = dict[int, "Node"]  # children by code
Beam = tuple[float, list[int]]  # score and codes of a prefix


class ReferenceSearch:
    """Beam search without a cache; the trie is walked one query after another."""

    def __init__(self, trie: Trie, device: str) -> None:
        self._root, self._leaf = _dictionaries(trie)
        self._length, self._device = len(trie.levels), device

    def __call__(self, decoder: Decoder, tokens: Tensor, beam_size: int) -> tuple[Tensor, Tensor]:
        """Return leaves and scores as `BeamSearch` does; always [B,`beam_size`], filled up with leaf 0 and -inf."""
        copies = tokens.repeat_interleave(beam_size, dim=0)  # [B·K,T,D]
        found: list[list[Beam]] = [[(0.0, [])] for _ in tokens]
        for position in range(self._length):
            filled = [beams + beams[:1] * (beam_size - len(beams)) for beams in found]
            prefixes = [[*codes, 0] for beams in filled for _, codes in beams]  # the decoder ignores the last code
            logits = decoder(copies, torch.tensor(prefixes, device=self._device))[:, position]
            logp = logits.log_softmax(dim=-1).view(len(tokens), beam_size, -1).tolist()
            found = [self._extended(beams, logp[row], beam_size) for row, beams in enumerate(found)]
        return self._leaves(found, beam_size)

    def _extended(self, beams: list[Beam], logp: list[list[float]], beam_size: int) -> list[Beam]:
        """Return the best children of one query's beams, best first."""
        children = [
            (score + logp[number][code], [*codes, code])
            for number, (score, codes) in enumerate(beams)
            for code in self._node(codes)
        ]
        return nlargest(beam_size, children, key=lambda child: child[0])

    def _node(self, codes: list[int]) -> Node:
        node = self._root
        for code in codes:
            node = node[code]
        return node

    def _leaves(self, found: list[list[Beam]], beam_size: int) -> tuple[Tensor, Tensor]:
        leaves = torch.zeros(len(found), beam_size, dtype=torch.long)
        scores = torch.full((len(found), beam_size), NEVER)
        for row, beams in enumerate(found):
            for place, (score, codes) in enumerate(beams):
                leaves[row, place], scores[row, place] = self._leaf[tuple(codes)], score
        return leaves.to(self._device), scores.to(self._device)


def _dictionaries(trie: Trie) -> tuple[Node, dict[tuple[int, ...], int]]:
    """Return the root of nested dictionaries, and the number of each leaf by its codes."""
    root: Node = {}
    paths: dict[tuple[int, ...], Node] = {(): root}  # of one depth, in the order of the trie's nodes
    for level in trie.levels:
        below: dict[tuple[int, ...], Node] = {}
        for node, (path, children) in enumerate(paths.items()):
            for code in level.code[level.first[node] : level.first[node + 1]].tolist():
                below[*path, code] = children[code] = {}
        paths = below
    return root, {path: leaf for leaf, path in enumerate(paths)}
