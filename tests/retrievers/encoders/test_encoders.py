"""What the trained encoders compute, against slow loops; the contracts are in tests/testing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from raising import raises

from irbench.config.recipes import build_config
from irbench.config.registry import ENCODERS
from irbench.core.errors import ContractError, RecipeError
from irbench.data.pixels import pixels
from irbench.networks import backbones
from irbench.networks.backbones import VisionNetwork, center_crop
from irbench.networks.pooling import power_mean
from irbench.retrievers.encoders.cgd import CombinedDescriptors
from irbench.retrievers.encoders.cgd import Config as CgdConfig
from irbench.retrievers.encoders.irt_r import EMPTY, Memory, PairLearning
from irbench.retrievers.encoders.irt_r import Config as IrtRConfig
from irbench.runtime.machine import seed_everything
from irbench.testing.subjects import subject

TRAINING = {"backbone": "test_resnet", "image_size": 32, "resize_size": 36, "epochs": 1, "batch": 16, "lr": 1e-3}


@pytest.fixture(autouse=True)
def one_thread():
    """Networks of this size lose by a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["cgd", "ft-clip", "irt-r"])
def name(request):
    return request.param


def make(name, runtime, images=None, **changes):
    """Build the encoder from its recipe, made small as the contracts make it, and train it on `images`."""
    made = subject(name, ENCODERS, config=None, recipe=None, runtime=None, limits=changes)
    encoder = made.build(runtime)
    if images is not None:
        encoder.train(images)
    return encoder


def test_vectors_do_not_depend_on_the_batch_of_the_network(name, runtime, images, monkeypatch):
    encoder = make(name, runtime, images)
    vectors = encoder.encode(images).array
    if name != "ft-clip":
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    monkeypatch.setattr(backbones, "BATCH", 7)
    np.testing.assert_allclose(encoder.encode(images).array, vectors, rtol=1e-3, atol=1e-4)


def test_a_trained_model_is_taken_up_again(name, runtime, images, monkeypatch):
    first = make(name, runtime, images)
    vectors = first.encode(images).array
    monkeypatch.setattr("irbench.training.loop._Run", None)  # no training from here on
    again = make(name, runtime, images)
    np.testing.assert_array_equal(again.encode(images).array, vectors)
    assert again.trained_model == first.trained_model
    for change in ({"lr": 3e-4}, {"epochs": 2}):
        with pytest.raises(TypeError):
            make(name, runtime, images, **change)
    with pytest.raises(TypeError):
        make(name, runtime, replace(images, labels=images.labels[::-1].copy()))
    with pytest.raises(TypeError):
        make(name, replace(runtime, seed=1), images)


def test_another_seed_trains_another_model(name, runtime, images):
    one, other = (make(name, replace(runtime, seed=seed), images).encode(images).array for seed in (0, 1))
    assert not np.allclose(one, other)


def test_the_backbone_is_described(name, runtime, images):
    described = make(name, runtime, images).describe()
    assert described.backbone.name == "test_resnet"
    assert described.backbone.weights.startswith("trained from scratch")
    assert described.model_bytes >= 4 * described.backbone.parameters > 0


def test_nothing_is_encoded_before_training(name, runtime, images):
    with pytest.raises(ContractError):
        make(name, runtime).encode(images)


# --- CGD


def cgd(descriptors="SG", **changes):
    config = CgdConfig(**{**TRAINING, "dim": 32, "descriptors": descriptors, **changes})
    return CombinedDescriptors(VisionNetwork(config), config)


@pytest.mark.parametrize("backbone", ["test_resnet", "resnet18"])
def test_cgd_sees_a_map_of_twice_the_side(backbone):
    config = CgdConfig(**{**TRAINING, "backbone": backbone})
    network, images = VisionNetwork(config).eval(), torch.rand(2, 3, 64, 64)
    cells = network(images).shape[1]
    CombinedDescriptors(network, config)
    assert network(images).shape[1] == 4 * cells


def test_power_means_equal_slow_ones():
    cells = torch.rand(3, 5, 4, dtype=torch.float64)
    for b in range(3):
        for c in range(4):
            x = cells[b, :, c].tolist()
            for power, expected in ((1, sum(x) / 5), (3, (sum(v**3 for v in x) / 5) ** (1 / 3)), (torch.inf, max(x))):
                assert power_mean(cells, power)[b, c].item() == pytest.approx(expected)
    black = torch.zeros(1, 5, 4, requires_grad=True)
    power_mean(black, 3.0).sum().backward()
    assert torch.isfinite(black.grad).all()


@torch.no_grad()
def test_cgd_joins_descriptors_of_equal_weight_in_the_order_of_their_letters():
    features = cgd("MG").eval()
    images = torch.rand(2, 3, 32, 32) * 255
    cells = features.network(images)
    parts = [
        branch(power_mean(cells, power)) for branch, power in zip(features.branches, (torch.inf, 3.0), strict=True)
    ]
    expected = torch.cat([part / part.norm(dim=1, keepdim=True) for part in parts], dim=1) / 2**0.5
    torch.testing.assert_close(features(images), expected)
    torch.testing.assert_close(features.pooled(cells)[0], cells.amax(dim=1))


def test_the_classifier_of_ft_clip_sees_the_feature(runtime, images):
    encoder = make("ft-clip", runtime, images)
    _, found = encoder.classify(images)
    features, linear = torch.from_numpy(encoder.features(images).array).double(), encoder.trained_task.classifier
    with torch.inference_mode():
        chances = (features @ linear.weight.double().T + linear.bias).exp()
    np.testing.assert_allclose(np.exp(found), chances / chances.sum(dim=1, keepdim=True), rtol=1e-3)


def test_the_classifier_of_cgd_sees_the_mean_of_the_map(runtime, images):
    encoder = make("cgd", runtime, images, temperature=0.25)
    _, found = encoder.classify(images)
    norm, linear = encoder.trained_task.classifier
    batch = torch.from_numpy(pixels(images, encoder.view, runtime)[:].copy())
    with torch.inference_mode():
        mean = encoder.network(center_crop(batch, encoder.config.image_size)).double().mean(dim=1)
        scaled = (mean - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        chances = (((scaled @ linear.weight.double().T) + linear.bias) / 0.25).exp()
    np.testing.assert_allclose(np.exp(found), chances / chances.sum(dim=1, keepdim=True), rtol=1e-3)


@pytest.mark.parametrize("change", [{"descriptors": "SX"}, {"descriptors": ""}, {"descriptors": "SGM", "dim": 32}])
def test_cgd_tells_descriptors_that_it_does_not_know(change):
    with raises(RecipeError, "bad-value", "cgd.toml", "descriptors"):
        build_config(CgdConfig, TRAINING | change, "cgd.toml")


def test_cgd_tells_a_backbone_without_a_third_stage():
    with raises(RecipeError, "wrong-backbone", "test_vit"):
        cgd(backbone="test_vit")


# --- IRT_R


def test_the_memory_is_a_ring():
    memory, seen = Memory(5, 2), []
    assert memory.rows.tolist() == [EMPTY] * 5
    for batch in ([0, 1, 2], [3, 4, 5], [6], [0, 1, 2, 3, 4, 5, 6]):
        memory.add(torch.tensor([[row, -row] for row in batch]).float(), torch.tensor(batch))
        seen += batch
        expected = sorted(seen[-5:])
        assert sorted(row for row in memory.rows.tolist() if row != EMPTY) == expected
        kept = memory.rows != EMPTY
        assert torch.equal(memory.vectors[kept], torch.stack([memory.rows, -memory.rows], 1)[kept].float())


def slow_pairs(vectors, rows, others, other_rows, classes, margin):
    """The contrastive loss, pair by pair."""
    near, far = [], []
    for z, row in zip(vectors, rows, strict=True):
        for y, other in zip(others, other_rows, strict=True):
            if other in (row, EMPTY):
                continue
            cosine = float(z @ y)
            (near if classes[row] == classes[other] else far).append(
                1 - cosine if classes[row] == classes[other] else max(cosine - margin, 0)
            )
    return sum(sum(part) / max(1, sum(v > 0 for v in part)) for part in (near, far))


@pytest.mark.parametrize("dim", [0, 7])
def test_irt_r_loss_is_that_of_its_pairs_and_its_memory(dim):
    config = IrtRConfig(**{**TRAINING, "memory_ratio": 0.6, "spread": 0.0, "margin": 0.2, "dim": dim})
    classes = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
    task = PairLearning(VisionNetwork(config), classes, config)
    task.module.eval()
    images = torch.rand(10, 3, 32, 32) * 255
    with torch.no_grad():
        vectors = task.features(images)
        assert vectors.shape[1] == (dim or task.backbone.dim)
        memory = []
        for by_tokens, rows in ((False, [0, 3, 6, 1]), (True, [2, 4, 1, 8]), (False, [9, 7, 5, 0])):
            memory = (memory + rows)[-6:]
            loss, given = (task.loss_of_tokens, task.backbone) if by_tokens else (task.loss, torch.nn.Identity())
            got = loss(given(images[rows]), torch.tensor(rows)).item()
            batch = slow_pairs(vectors[rows], rows, vectors[rows], rows, classes, 0.2)
            across = slow_pairs(vectors[rows], rows, vectors[memory], memory, classes, 0.2)
            assert got == pytest.approx(batch + across, rel=1e-3)


def test_the_memory_has_a_limit_whatever_the_training_set_is():
    classes = np.arange(100)
    for limit, images in ((10, 10), (1000, 60)):
        config = IrtRConfig(**{**TRAINING, "memory_ratio": 0.6, "memory_limit": limit})
        assert len(PairLearning(VisionNetwork(config), classes, config).memory.rows) == images


def test_a_slow_copy_fills_the_memory_and_learns_by_following():
    seed_everything(0)
    config = IrtRConfig(**{**TRAINING, "momentum": 0.9})
    task = PairLearning(VisionNetwork(config), np.array([0, 0, 1, 1]), config)
    before = [p.clone() for p in task.slow.parameters()]
    with torch.no_grad():
        for p in task.features.parameters():
            p.add_(1)
    loss = task.loss(torch.rand(4, 3, 32, 32) * 255, torch.arange(4))
    loss.backward()
    for old, slow in zip(before, task.slow.parameters(), strict=True):
        torch.testing.assert_close(slow, old + 0.1)
        assert slow.grad is None
    assert all(p.grad is not None for p in task.features.parameters())
