"""A slow decoder, written to be plainly right: the oracle of beam search, and what `irbench bench beam` compares with.

It does what the published code does (yakt00/IRGen:model/IRGen.py): every beam has a copy of the image's tokens and
makes keys and values of it anew, the whole prefix is read again for every code, all beams are there from the start,
and the trie is dictionaries. It leaves out two things of it: projecting queries, keys and values where only one of
the three is needed, and multiplying probabilities, which are zero before long, instead of adding their logarithms.
"""

from heapq import nlargest
from itertools import count

import torch
from torch import Tensor

from irbench.irgen.branching import NEVER
from irbench.irgen.decoder import Decoder
from irbench.irgen.trie import Trie

Node = dict[int, "Node"]  # from a code to the node it leads to


class ReferenceSearch:
    """Beam search without a cache, one query after another where the trie is concerned."""

    def __init__(self, trie: Trie, device: str) -> None:
        self._root, self._leaf = _dictionaries(trie)
        self._length, self._device = len(trie.levels), device

    def __call__(self, decoder: Decoder, tokens: Tensor, beams: int) -> tuple[Tensor, Tensor]:
        """As irbench.irgen.beam.BeamSearch; always [B,`beams`], where fewer leaves were found with leaf 0."""
        copies = tokens.repeat_interleave(beams, dim=0)  # [B·K,T,D]
        found: list[list[tuple[float, list[int]]]] = [[(0.0, [])] for _ in tokens]
        for position in range(self._length):
            prefixes = [_padded(codes, position) for query in found for _, codes in _filled(query, beams)]
            logits = decoder(copies, torch.tensor(prefixes, device=self._device))[:, position]
            logp = logits.log_softmax(dim=-1).view(len(tokens), beams, -1).tolist()
            found = [self._extended(query, logp[row], beams) for row, query in enumerate(found)]
        return self._answers(found, beams)

    def _extended(
        self, beams: list[tuple[float, list[int]]], logp: list[list[float]], most: int
    ) -> list[tuple[float, list[int]]]:
        """Return the best children of one query's beams, best first."""
        children = [
            (score + logp[number][code], [*codes, code])
            for number, (score, codes) in enumerate(beams)
            for code in self._node(codes)
        ]
        return nlargest(most, children, key=lambda child: child[0])

    def _node(self, codes: list[int]) -> Node:
        node = self._root
        for code in codes:
            node = node[code]
        return node

    def _answers(self, found: list[list[tuple[float, list[int]]]], beams: int) -> tuple[Tensor, Tensor]:
        leaves = torch.zeros(len(found), beams, dtype=torch.long)
        scores = torch.full((len(found), beams), NEVER)
        for row, query in enumerate(found):
            for place, (score, codes) in enumerate(query):
                leaves[row, place], scores[row, place] = self._leaf[tuple(codes)], score
        return leaves.to(self._device), scores.to(self._device)


def _filled(query: list[tuple[float, list[int]]], beams: int) -> list[tuple[float, list[int]]]:
    """Repeat a query's first beam until there are `beams`."""
    return query + query[:1] * (beams - len(query))


def _padded(codes: list[int], position: int) -> list[int]:
    """The decoder wants a code in the place that is to be predicted, and does not look at it."""
    return [*codes[:position], 0]


def _dictionaries(trie: Trie) -> tuple[Node, dict[tuple[int, ...], int]]:
    """Return the root of nested dictionaries, and the number of each leaf by its codes."""
    root: Node = {}
    paths: list[tuple[tuple[int, ...], Node]] = [((), root)]
    for level in trie.levels:
        below: list[tuple[tuple[int, ...], Node]] = []
        for node, (codes, children) in enumerate(paths):
            for code in level.code[level.first[node] : level.first[node + 1]].tolist():
                children[code] = {}
                below.append(((*codes, code), children[code]))
        paths = below
    return root, dict(zip((codes for codes, _ in paths), count(), strict=False))
