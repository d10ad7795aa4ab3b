"""The losses against plain formulas and loops, and the memory of IRT_R against the library's."""

import math

import pytest
import torch
from pytorch_metric_learning.losses import CrossBatchMemory
from torch import Tensor
from torch.nn.functional import normalize

from irbench.retrievers.encoders.irt_r import EMPTY, Memory
from irbench.training.losses import PairLoss, koleo


def unit(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=-1)


def formula(similarity: Tensor, positive: Tensor, counted: Tensor, margin: float) -> Tensor:
    """Equation 2 of arXiv 2102.05644 over whole matrices [B,M]."""
    attracted = (1 - similarity).clamp(min=0) * (positive & counted)
    repelled = (similarity - margin).clamp(min=0) * (~positive & counted)
    return sum(part.sum() / (part > 0).sum().clamp(min=1) for part in (attracted, repelled))


@pytest.mark.parametrize("margin", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("within", [True, False])
def test_pair_loss_equals_the_formula_and_has_its_gradient_to_the_bit(margin: float, seed: int, within: bool) -> None:
    vectors = unit(12, 4, seed=seed, dtype=torch.float32).requires_grad_()
    others = vectors if within else unit(30, 4, seed=9, dtype=torch.float32)
    positive = torch.arange(12)[:, None] % 4 == torch.arange(len(others)) % 4
    counted = ~torch.eye(12, len(others), dtype=torch.bool)
    gradients, losses = [], []
    for loss in (
        formula(vectors @ others.T, positive, counted, margin),
        PairLoss(margin)(vectors, others, positive=positive, counted=counted),
    ):
        losses.append(loss)
        gradients += torch.autograd.grad(loss, vectors)
    torch.testing.assert_close(losses[1], losses[0])
    assert torch.equal(gradients[1], gradients[0])  # what is trained stays the same, whoever computes it


def test_pair_loss_without_pairs_is_zero_and_has_a_gradient() -> None:
    vectors, none = unit(3, 4).requires_grad_(), torch.zeros(3, 2, dtype=torch.bool)
    loss = PairLoss(0.5)(vectors, unit(2, 4), positive=none, counted=none)
    loss.backward()
    assert loss.item() == 0
    assert not vectors.grad.any()


def test_with_images_that_come_once_the_memory_is_the_librarys() -> None:
    """While no image comes again: the library would make an image's older copy its positive."""
    memory, pair_loss = Memory(8, 4), PairLoss(0.2)
    library = CrossBatchMemory(pair_loss.loss, embedding_size=4, memory_size=8)
    labels = torch.arange(20) % 3
    for start in range(0, 20, 5):
        rows = torch.arange(start, start + 5)
        vectors = unit(5, 4, seed=start, dtype=torch.float32)
        memory.add(vectors, rows)
        positive = labels[rows][:, None] == labels[memory.rows]
        counted = (rows[:, None] != memory.rows) & (memory.rows != EMPTY)
        ours = pair_loss(vectors, memory.vectors, positive=positive, counted=counted)
        torch.testing.assert_close(ours, library(vectors, labels[rows]))


@pytest.mark.parametrize("seed", range(5))
def test_koleo_equals_a_slow_loop(seed: int) -> None:
    vectors = unit(9, 3, seed=seed)
    logs = [math.log(min(math.dist(a, b) for j, b in enumerate(vectors.tolist()) if j != i) + 1e-8)
            for i, a in enumerate(vectors.tolist())]  # fmt: skip
    assert koleo(vectors).item() == pytest.approx(-sum(logs) / 9)


def test_koleo_pushes_neighbours_apart_and_survives_twins() -> None:
    vectors = normalize(torch.tensor([[1.0, 0.0], [1.0, 0.01], [1.0, 0.01], [-1.0, 0.0]]), dim=1).requires_grad_()
    koleo(vectors).backward()
    assert torch.isfinite(vectors.grad).all()
    moved = normalize(vectors.detach() - 1e-4 * vectors.grad, dim=1)
    assert koleo(moved) < koleo(vectors.detach())
