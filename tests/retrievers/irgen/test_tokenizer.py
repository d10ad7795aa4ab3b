"""Equation 3 against slow sums, its alternation, and what a trained tokenizer remembers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from irbench.networks.backbones import VisionNetwork
from irbench.retrievers.irgen import features
from irbench.retrievers.irgen.identifiers.semantic import Config, SemanticIdentifier, Tokenization
from irbench.runtime.machine import seed_everything
from irbench.runtime.timer import Timer

TINY = {"backbone": "test_resnet", "image_size": 32, "resize_size": 40, "batch": 16, "lr": 1e-3, "epochs": 2,
        "num_codebooks": 3, "codebook_size": 4}  # fmt: skip
CLASSES = np.repeat(np.arange(4), 10)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def task(features_=None, **changes):
    seed_everything(0)
    config = Config(**{**TINY, **changes})
    network = VisionNetwork(config).eval()
    given = (
        np.random.default_rng(1).normal(size=(40, network.dim)).astype(np.float32) if features_ is None else features_
    )
    made = Tokenization(network, CLASSES, config, 0, lambda *, cache: given)
    made.start()
    return made


def log_likelihood(head, vector, label):
    return log_softmax(head(vector), dim=-1)[label].item()


@pytest.mark.parametrize("classifiers", ["own", "shared"])
@pytest.mark.parametrize("codebooks", ["seen", "encoded"])
@torch.no_grad()
def test_the_loss_is_that_of_equation_3(classifiers, codebooks):
    made = task(prefix_weight=0.3, commitment_weight=0.02, prefix_classifiers=classifiers, codebooks=codebooks)
    images, rows = torch.rand(6, 3, 32, 32) * 255, torch.tensor([3, 11, 12, 27, 38, 39])
    vectors = made.backbone.feature(made.backbone(images))
    assert len(made.on_prefix) == (3 if classifiers == "own" else 1)
    expected = 0.0
    for vector, row in zip(vectors, rows.tolist(), strict=True):
        label, residual = (
            CLASSES[row],
            vector if codebooks == "seen" else torch.from_numpy(made.encode(cache=False))[row],
        )
        total, loss = torch.zeros_like(vector), -log_likelihood(made.on_feature, vector, label)
        for level, book in enumerate(made.quantizer.codebooks):
            entry = book[(book - residual).norm(dim=1).argmin()]
            residual, total = residual - entry, total + entry
            loss -= 0.3 * log_likelihood(made.on_prefix[level if classifiers == "own" else 0], total, label)
            loss += 0.02 * (vector - total).square().sum().item()
        expected += loss / 6
    assert made.loss(images, rows).item() == pytest.approx(expected, rel=1e-4)


def test_prefixes_pass_the_gradient_straight_to_the_feature():
    made = task(commitment_weight=0.0, prefix_weight=1.0)
    feature = torch.randn(5, made.backbone.dim, requires_grad=True)
    target = torch.arange(5) % 4
    prefixes = made.quantizer(feature)[1]
    made._on_prefixes(feature[:, None] + (prefixes - feature[:, None]).detach(), target).backward()
    quantised = prefixes.detach().requires_grad_()
    made._on_prefixes(quantised, target).backward()
    torch.testing.assert_close(feature.grad, quantised.grad.sum(dim=1))


def test_codebooks_are_set_between_epochs_on_what_was_seen_last_and_never_on_what_is_held_out():
    made = task(codebook_size=1)  # whose entry is the mean
    made.module.train()
    made.seen.clear()
    for start in range(0, 320, 40):
        made._prefixes(torch.full((40, made.backbone.dim), float(start)), torch.arange(40))
    assert [float(batch[0, 0]) for batch in made.seen] == [40, 80, 120, 160, 200, 240, 280]  # 256 images or just over
    made.module.eval()
    made._prefixes(torch.full((40, made.backbone.dim), 1e6), torch.arange(40))
    again = task(codebook_size=1)
    again.load_state(made.state())
    for one in (made, again):
        one.end_epoch()
        assert one.quantizer.codebooks[0, 0, 0].item() == pytest.approx(160, rel=1e-4)
        assert not one.state()


@pytest.fixture
def passes(monkeypatch):
    """How many images have run through the network to be encoded."""
    counted, run = [], features.run_network

    def counting(module, images, *arguments, **named):
        counted.append(len(images))
        return run(module, images, *arguments, **named)

    monkeypatch.setattr(features, "run_network", counting)
    return counted


def test_every_split_is_encoded_once_after_the_training(runtime, images, passes):
    some = replace(images.take(np.arange(5)), name="gallery")
    tokenizer = SemanticIdentifier(Config(**TINY), runtime, None)
    tokenizer.train(images)
    assert passes == [40, 40]  # the first codebooks, and the last
    codes = tokenizer.encode(images).codes
    assert passes == [40, 40]
    again = SemanticIdentifier(Config(**TINY), runtime, None)
    again.train(images)
    np.testing.assert_array_equal(again.encode(images).codes, codes)
    np.testing.assert_array_equal(again.encode(some).codes, codes[:5])
    assert passes == [40, 40, 5]
    with Timer(bypass_cache=True).run():
        np.testing.assert_array_equal(again.encode(images).codes, codes)
    assert passes == [40, 40, 5, 40]
    told = again.describe().details["training"]["tokenizer"]
    assert len(told["loss"]) == 2
    assert told["seconds"] > 0
    other = SemanticIdentifier(Config(**{**TINY, "lr": 2e-3}), runtime, None)
    other.train(images)
    other.encode(some)
    assert passes[4:] == [40, 40, 5]  # another training, another network
