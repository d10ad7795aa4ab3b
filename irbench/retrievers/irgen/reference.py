"""A slow decoder, written to be plainly right: the oracle of beam search, and what `irbench bench beam` compares with.

It does what the published code does (yakt00/IRGen:model/IRGen.py): every beam has a copy of the image's tokens and
makes keys and values of it anew, the whole prefix is read again for every code, all beam_size are there from the start,
and the trie is dictionaries. It leaves out two things of it: projecting queries, keys and values where only one of
the three is needed, and multiplying probabilities, which are zero before long, instead of adding their logarithms.
"""

from heapq import nlargest

import torch
from torch import Tensor

from irbench.retrievers.irgen.branching import NEVER
from irbench.retrievers.irgen.decoder import Decoder
from irbench.retrievers.irgen.trie import Trie

Node = dict[int, "Node"]  # from a code to the node it leads to
Beam = tuple[float, list[int]]  # a score, and the codes that have it


class ReferenceSearch:
    """Beam search without a cache, one query after another where the trie is concerned."""

    def __init__(self, trie: Trie, device: str) -> None:
        self._root, self._leaf = _dictionaries(trie)
        self._length, self._device = len(trie.levels), device

    def __call__(self, decoder: Decoder, tokens: Tensor, beam_size: int) -> tuple[Tensor, Tensor]:
        """As `BeamSearch`; always [B,`beam_size`], where fewer leaves were found with leaf 0."""
        copies = tokens.repeat_interleave(beam_size, dim=0)  # [B·K,T,D]
        found: list[list[Beam]] = [[(0.0, [])] for _ in tokens]
        for position in range(self._length):
            beams_and_copies = [query + query[:1] * (beam_size - len(query)) for query in found]
            prefixes = [[*codes, 0] for query in beams_and_copies for _, codes in query]  # 0 is not looked at
            logits = decoder(copies, torch.tensor(prefixes, device=self._device))[:, position]
            logp = logits.log_softmax(dim=-1).view(len(tokens), beam_size, -1).tolist()
            found = [self._extended(query, logp[row], beam_size) for row, query in enumerate(found)]
        return self._answers(found, beam_size)

    def _extended(self, beam_size: list[Beam], logp: list[list[float]], most: int) -> list[Beam]:
        """Return the best children of one query's beams, best first."""
        children = [
            (score + logp[number][code], [*codes, code])
            for number, (score, codes) in enumerate(beam_size)
            for code in self._node(codes)
        ]
        return nlargest(most, children, key=lambda child: child[0])

    def _node(self, codes: list[int]) -> Node:
        node = self._root
        for code in codes:
            node = node[code]
        return node

    def _answers(self, found: list[list[Beam]], beam_size: int) -> tuple[Tensor, Tensor]:
        leaves = torch.zeros(len(found), beam_size, dtype=torch.long)
        scores = torch.full((len(found), beam_size), NEVER)
        for row, query in enumerate(found):
            for place, (score, codes) in enumerate(query):
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
