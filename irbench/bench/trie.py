"""What a trie of random identifiers costs: build time, bytes, and the time of its slowest masked step."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from irbench.core.identifiers import Identifiers
from irbench.retrievers.irgen.beam import extend
from irbench.retrievers.irgen.branching import SparseBranching, branchings
from irbench.retrievers.irgen.trie import Trie

QUERIES, BEAMS = 256, 30
_REPEATS = 9


@dataclass(frozen=True, kw_only=True)
class Built:
    """The cost of a trie of `identifiers` identifiers."""

    identifiers: int
    num_codebooks: int
    codebook_size: int
    build_s: float
    bytes: int
    step_ms: float  # of the slowest level


def measure(sizes: tuple[int, ...], num_codebooks: int, codebook_size: int, device: str) -> Iterator[Built]:
    """Build a trie of each size, and time a step at each of its levels for 256 queries of 30 beams."""
    rng = np.random.default_rng(0)
    for size in sizes:
        identifiers = Identifiers(rng.integers(0, codebook_size, (size, num_codebooks)), codebook_size)
        start = perf_counter()
        trie = Trie.build(identifiers)
        seconds = perf_counter() - start
        slowest = max(_step(level, codebook_size) for level in branchings(trie, device))
        yield Built(
            identifiers=size,
            num_codebooks=num_codebooks,
            codebook_size=codebook_size,
            build_s=seconds,
            bytes=trie.nbytes,
            step_ms=1000 * slowest,
        )


@torch.inference_mode()
def _step(level: SparseBranching, codebook_size: int) -> float:
    """Return the median seconds of one step from random nodes."""
    nodes = torch.randint(level.nodes, (QUERIES, BEAMS), device=level.device)
    scores = torch.randn(QUERIES, BEAMS, device=level.device)
    logp = torch.randn(QUERIES, BEAMS, codebook_size, device=level.device).log_softmax(dim=-1)
    times = []
    for _ in range(_REPEATS):
        start = perf_counter()
        level.code(extend(level, scores, nodes, logp, BEAMS)[1]).cpu()  # the copy to the host waits for the device
        times.append(perf_counter() - start)
    return float(np.median(times))
