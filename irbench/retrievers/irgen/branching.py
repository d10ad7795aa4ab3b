"""The trie on the device that decodes: which codes may follow, and where they lead.

A level has W slots for each node, each a child or nothing. Every step has a fixed shape, and no value returns to the
host. Where a level is nearly full, the slots are the codes themselves: a table of nodes times codes is small there,
and spares the look-up of each child's code. Elsewhere the slots are a node's children in order.
"""

import numpy as np
import torch
from torch import Tensor

from irbench.retrievers.irgen.trie import Level, Trie

NEVER = -torch.inf  # the score of what leads nowhere
_FULL = 4  # a level is nearly full if a table of it has at most so many places for each child


class Branching:
    """One level: its slots are the children of a node, in order."""

    def __init__(self, level: Level, device: str) -> None:
        self.slots, self.nodes, self.device = level.width, len(level.first) - 1, device
        self._first = torch.from_numpy(level.first).to(device)
        # a range of `slots` children may begin at the last child: what stands behind it is never looked at
        self._code = torch.from_numpy(np.pad(level.code.astype(np.int32), (0, self.slots))).to(device)
        self._children = len(level.code)

    def code(self, nodes: Tensor) -> Tensor:
        """The codes that lead to nodes [B,K] below this level."""
        return self._code[nodes].long()

    def logp(self, nodes: Tensor, logp: Tensor) -> Tensor:
        """Of log-probabilities [B,K,L] of the codes after nodes [B,K], those of each slot [B,K,W]; -inf if empty."""
        start, end = self._first[nodes].unsqueeze(-1), self._first[nodes + 1].unsqueeze(-1)
        child = start + torch.arange(self.slots, dtype=start.dtype, device=start.device)
        return logp.gather(-1, self._code[child].long()).masked_fill_(child >= end, NEVER)

    def child(self, nodes: Tensor, slot: Tensor) -> Tensor:
        """The nodes [B,K] in these slots; of an empty slot some node."""
        return (self._first[nodes] + slot).clamp(max=self._children - 1)


class FullBranching(Branching):
    """One level that is nearly full: its slots are the codes."""

    def __init__(self, level: Level, device: str) -> None:
        super().__init__(level, device)
        self.slots = int(level.code.max()) + 1
        parent = np.repeat(np.arange(len(level.first) - 1), np.diff(level.first))
        child = np.full((len(level.first) - 1, self.slots), -1, np.int32)
        child[parent, level.code] = np.arange(len(level.code))
        self._child = torch.from_numpy(child).to(device)
        self._bar = torch.where(self._child < 0, NEVER, 0.0)

    def logp(self, nodes: Tensor, logp: Tensor) -> Tensor:
        """Of log-probabilities [B,K,L], those that lead to a child."""
        return self._bar[nodes].add_(logp[..., : self.slots])

    def child(self, nodes: Tensor, slot: Tensor) -> Tensor:
        """The nodes [B,K] that these codes lead to."""
        return self._child[nodes, slot].clamp(min=0)


def branchings(trie: Trie, device: str) -> list[Branching]:
    """The levels of a trie on the device."""
    return [(FullBranching if _is_full(level) else Branching)(level, device) for level in trie.levels]


def _is_full(level: Level) -> bool:
    return (len(level.first) - 1) * (int(level.code.max()) + 1) <= _FULL * len(level.code)
