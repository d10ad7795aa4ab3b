"""Losses against loops, and against a library that has one of them in another form."""

import math

import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import ContrastiveLoss
from torch.nn.functional import normalize

from irbench.training.losses import contrastive, koleo


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


@pytest.mark.parametrize("margin", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_contrastive_equals_the_librarys_and_its_gradient(margin, seed):
    vectors = unit(12, 4, seed=seed).requires_grad_()
    labels = torch.arange(12) % 4
    other = ~torch.eye(12, dtype=torch.bool)
    ours = contrastive(vectors @ vectors.T, labels[:, None] == labels, other, margin)
    ours.backward()
    gradient, vectors.grad = vectors.grad, None
    theirs = ContrastiveLoss(pos_margin=1.0, neg_margin=margin, distance=CosineSimilarity())(vectors, labels)
    theirs.backward()
    torch.testing.assert_close(ours, theirs)
    tangent = torch.eye(4) - vectors.detach()[:, :, None] * vectors.detach()[:, None]  # theirs normalises once more
    torch.testing.assert_close((tangent @ gradient[:, :, None])[..., 0], vectors.grad)


def test_contrastive_of_nothing_is_zero():
    nothing = torch.zeros(3, 2, dtype=torch.bool)
    assert contrastive(torch.ones(3, 2), nothing, nothing, 0.5) == 0


@pytest.mark.parametrize("seed", range(5))
def test_koleo_equals_a_slow_loop(seed):
    vectors = unit(9, 3, seed=seed)
    logs = [math.log(min(math.dist(a, b) for j, b in enumerate(vectors.tolist()) if j != i) + 1e-8)
            for i, a in enumerate(vectors.tolist())]  # fmt: skip
    assert koleo(vectors).item() == pytest.approx(-sum(logs) / 9)


def test_koleo_pushes_neighbours_apart_and_survives_twins():
    vectors = normalize(torch.tensor([[1.0, 0.0], [1.0, 0.01], [1.0, 0.01], [-1.0, 0.0]]), dim=1).requires_grad_()
    koleo(vectors).backward()
    assert torch.isfinite(vectors.grad).all()
    moved = normalize(vectors.detach() - 1e-4 * vectors.grad, dim=1)
    assert koleo(moved) < koleo(vectors.detach())
