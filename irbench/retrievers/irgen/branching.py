"""The trie on the device that decodes: which codes may follow a prefix, and to which node each leads.

A level offers W slots to every node; each slot is a child or empty. All shapes are fixed and no value returns to the
host, so that a GPU never waits for it. There are three kinds of level:

- `SparseBranching`: a node's slots are its children, in order.
- `DenseBranching`: the slots are the codes. Where a level is nearly full, a table of nodes times codes is small, and
  saves the look-up of each child's code.
- `UnconstrainedBranching`: no trie; every code may follow.

Shape letters: B queries, K beam size, L codebook size, W slots.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from irbench.retrievers.irgen.trie import Level, Trie

NEVER = -torch.inf  # the score of an empty slot
_DENSE = 4  # a level is nearly full if its table has at most this many entries for each child


class Branching(ABC):
    """One level: from nodes [B,K] of its prefixes to their children."""

    slots: int  # W

    @abstractmethod
    def code(self, nodes: Tensor) -> Tensor:
        """Return the codes [B,K] that lead to nodes [B,K] below this level."""

    @abstractmethod
    def logp(self, nodes: Tensor, logp: Tensor) -> Tensor:
        """Return the log-probability [B,K,W] of each slot, -inf if it is empty, from those [B,K,L] of the codes.

        The result may share memory with `logp`.
        """

    @abstractmethod
    def child(self, nodes: Tensor, slot: Tensor) -> Tensor:
        """Return the nodes [B,K] in slots [B,K]; an arbitrary one for an empty slot."""


class UnconstrainedBranching(Branching):
    """Every code may follow every prefix. A node is the last code; prefixes are not distinguished."""

    def __init__(self, codebook_size: int) -> None:
        self.slots = codebook_size

    def code(self, nodes: Tensor) -> Tensor:
        """Return the nodes themselves."""
        return nodes

    def logp(self, nodes: Tensor, logp: Tensor) -> Tensor:  # noqa: ARG002 -- the same for all nodes
        """Return log-probabilities [B,K,L] as they are."""
        return logp

    def child(self, nodes: Tensor, slot: Tensor) -> Tensor:  # noqa: ARG002 -- the same for all nodes
        """Return the slots themselves."""
        return slot


class SparseBranching(Branching):
    """A level of the trie whose slots are the children of a node, in order."""

    def __init__(self, level: Level, device: str) -> None:
        self.slots, self.nodes, self.device = level.width, len(level.first) - 1, device
        self._first = torch.from_numpy(level.first).to(device)
        # the slots of the last node may run past the last child: padding, masked in `logp`
        self._code = torch.from_numpy(np.pad(level.code.astype(np.int32), (0, self.slots))).to(device)
        self._children = len(level.code)

    @property
    def nbytes(self) -> int:
        """Bytes of what is held beside the trie's own arrays, which a CPU's tensors share."""
        return self._code.nbytes + (0 if self._first.device.type == "cpu" else self._first.nbytes)

    def code(self, nodes: Tensor) -> Tensor:
        """Look the codes up."""
        return self._code[nodes].long()

    def logp(self, nodes: Tensor, logp: Tensor) -> Tensor:
        """Gather the log-probabilities of the children's codes."""
        start, end = self._first[nodes].unsqueeze(-1), self._first[nodes + 1].unsqueeze(-1)
        child = start + torch.arange(self.slots, dtype=start.dtype, device=start.device)  # [B,K,W]
        return logp.gather(-1, self._code[child].long()).masked_fill_(child >= end, NEVER)

    def child(self, nodes: Tensor, slot: Tensor) -> Tensor:
        """Count from the first child of each node."""
        return (self._first[nodes] + slot).clamp(max=self._children - 1)


class DenseBranching(SparseBranching):
    """A level of the trie that is nearly full: its slots are the codes."""

    def __init__(self, level: Level, device: str) -> None:
        super().__init__(level, device)
        self.slots = int(level.code.max()) + 1
        parent = np.repeat(np.arange(len(level.first) - 1), np.diff(level.first))
        child = np.full((len(level.first) - 1, self.slots), -1, np.int32)
        child[parent, level.code] = np.arange(len(level.code))
        self._child = torch.from_numpy(child).to(device)
        self._mask = torch.where(self._child < 0, NEVER, 0.0)

    @property
    def nbytes(self) -> int:
        """Bytes of what is held beside the trie's own arrays."""
        return super().nbytes + self._child.nbytes + self._mask.nbytes

    def logp(self, nodes: Tensor, logp: Tensor) -> Tensor:
        """Mask the codes that lead to no child."""
        return self._mask[nodes].add_(logp[..., : self.slots])

    def child(self, nodes: Tensor, slot: Tensor) -> Tensor:
        """Look the child up in the table."""
        return self._child[nodes, slot].clamp(min=0)


def branchings(trie: Trie, device: str) -> list[SparseBranching]:
    """Return the levels of a trie on the device."""
    return [(DenseBranching if _is_dense(level) else SparseBranching)(level, device) for level in trie.levels]


def _is_dense(level: Level) -> bool:
    return (len(level.first) - 1) * (int(level.code.max()) + 1) <= _DENSE * len(level.code)
