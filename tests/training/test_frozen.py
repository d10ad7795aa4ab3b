"""Training on a frozen backbone: what is kept equals what the backbone gives, and the backbone stays as it was."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from raising import raises
from torch import Generator

from irbench.core.errors import RecipeError
from irbench.data.pixels import View, pixels
from irbench.networks.backbones import VisionNetwork, center_crop
from irbench.retrievers.encoders import irt_r
from irbench.retrievers.encoders.ft_clip import Classification, Config
from irbench.retrievers.irgen.identifiers import rqvae
from irbench.runtime.cache import Store
from irbench.runtime.machine import Runtime
from irbench.training import loop
from irbench.training.feed import Feed
from irbench.training.frozen import FrozenEpochs
from irbench.training.loop import train
from irbench.training.optim import make_optimizer, make_scheduler

CONFIG = Config(
    backbone="test_resnet", image_size=32, resize_size=40, epochs=1, frozen_epochs=3, batch=16, lr=1e-2, warmup=0.0
)


def seed(epoch: int, step: int) -> int:
    number = 1000 * epoch + step
    torch.manual_seed(number)
    return number


def losses_of(task: Classification, feed: Feed, runtime: Runtime, folder: Path) -> list[float]:
    return [loss for loss, _ in FrozenEpochs(task, feed, CONFIG, runtime, folder, seed).run(0, {})]


@pytest.fixture
def feed(images, runtime):
    return Feed(pixels(images, View(40), runtime), images.labels, CONFIG, runtime)


def classification(images) -> Classification:
    torch.manual_seed(1)
    classes = np.unique(images.labels, return_inverse=True)[1]
    return Classification(VisionNetwork(CONFIG), classes, 0.1)


def test_it_is_as_if_the_backbone_were_asked_each_time(images, runtime, feed, tmp_path):
    task, slow = classification(images), classification(images)
    losses = losses_of(task, feed, runtime, tmp_path)

    slow.backbone.eval().requires_grad_(requires_grad=False)
    short = replace(CONFIG, epochs=3)
    optimizer = make_optimizer(slow.module, slow.backbone, short)
    scheduler = make_scheduler(optimizer, short, feed.batches)
    expected = []
    for epoch in range(3):
        batches = list(feed.batch_rows(Generator().manual_seed(seed(2 + epoch, 0))))
        of_batches = []
        for step, rows in enumerate(batches):
            scheduler.step_update(epoch * feed.batches + step)
            crops = center_crop(torch.from_numpy(feed.images_uint8[rows]), 32)
            loss = slow.loss(crops, torch.from_numpy(rows))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            of_batches.append(loss.item())
        expected.append(sum(of_batches) / len(of_batches))
    assert losses == pytest.approx(expected, rel=1e-3)  # what is kept is rounded to 16 bits
    assert losses[-1] < losses[0]
    torch.testing.assert_close(task.classifier.weight, slow.classifier.weight, rtol=1e-2, atol=1e-3)
    before = classification(images).backbone.state_dict()
    assert all(value.equal(before[name]) for name, value in task.backbone.state_dict().items())  # the batch norms too
    assert all(parameter.requires_grad for parameter in task.backbone.parameters())


def test_one_that_was_killed_has_the_outputs_already(images, runtime, feed, tmp_path, monkeypatch):
    first = losses_of(classification(images), feed, runtime, tmp_path)
    task = classification(images)
    monkeypatch.setattr(VisionNetwork, "forward", None)
    assert losses_of(task, feed, runtime, tmp_path) == first


@pytest.mark.parametrize("finished", [1, 3])
def test_one_that_was_killed_between_these_epochs_resumes_to_the_same_model(images, runtime, monkeypatch, finished):
    """With a checkpoint after each of them, the last one included, which no other epoch follows yet."""
    whole = train(classification(images), images, CONFIG, replace(runtime, store=Store(runtime.store.root / "whole")))
    monkeypatch.setattr(loop, "_CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(loop, "_CHECKPOINT_SHARE", float("inf"))
    save = loop._Run._save_in_time

    def killed(run, **optimizer):
        save(run, **optimizer)
        if len(run.progress.frozen) == finished and not run.progress.step:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop._Run, "_save_in_time", killed)
    with pytest.raises(KeyboardInterrupt):
        train(classification(images), images, CONFIG, runtime)
    monkeypatch.setattr(loop._Run, "_save_in_time", save)
    monkeypatch.setattr(Classification, "start", None)  # it was prepared before
    resumed = train(classification(images), images, CONFIG, runtime)
    assert resumed.content == whole.content
    assert resumed.training["ft-clip"]["frozen"] == whole.training["ft-clip"]["frozen"]


def test_a_loss_that_is_no_number_is_reported_before_the_other_epochs(images, runtime, monkeypatch):
    monkeypatch.setattr(loop._Run, "_epoch", None)
    with raises(RecipeError, "diverged", "ft-clip"):
        train(classification(images), images, replace(CONFIG, lr=1e30), runtime)


def test_it_comes_before_the_epochs_and_is_told(images, runtime):
    trained = train(classification(images), images, CONFIG, runtime)
    history = json.loads((trained.entry.path / "history.json").read_text())
    assert [len(history[name]) for name in ("frozen", "loss")] == [3, 1]
    assert not list(runtime.store.root.glob("model/*.partial"))  # the outputs are gone
    alone = train(classification(images), images, replace(CONFIG, frozen_epochs=0), runtime)
    assert history["loss"] < json.loads((alone.entry.path / "history.json").read_text())["loss"]


def test_stages_that_a_recipe_freezes_stay_through_the_training_and_only_through_it(images, runtime):
    def trained(stages):
        task = classification(images)
        if not stages:
            task.backbone.freeze(2)  # as a network that was trained so, from which another starts
        train(task, images, replace(CONFIG, frozen_epochs=0, frozen_stages=stages), runtime)
        before = classification(images).backbone.state_dict()
        return {name for name, value in task.backbone.state_dict().items() if not value.equal(before[name])}

    first = ("backbone.conv1.", "backbone.bn1.", "backbone.layer1.")
    assert not [name for name in trained(1) if name.startswith(first)]
    for part in first:
        assert [name for name in trained(0) if name.startswith(part)]


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_that_a_recipe_freezes_stay_while_all_else_learns(images, runtime, frozen):
    task = classification(images)
    before = {name: value.clone() for name, value in task.backbone.state_dict().items()}
    train(task, images, replace(CONFIG, frozen_epochs=0, frozen_statistics=frozen), runtime)
    changed = {name for name, value in task.backbone.state_dict().items() if not value.equal(before[name])}
    statistics = {name for name, _ in task.backbone.named_buffers() if name in before}
    assert changed & statistics == (set() if frozen else statistics)
    assert changed - statistics == set(before) - statistics


@pytest.mark.parametrize("key", ["frozen_stages", "frozen_statistics"])
def test_what_is_frozen_is_so_in_a_moving_average_of_the_network_too(images, runtime, key):
    config = irt_r.Config(
        backbone="test_resnet", image_size=32, resize_size=40, epochs=1, batch=16, lr=1e-2, momentum=0.9, **{key: 1}
    )
    task = irt_r.PairLearning(VisionNetwork(config), np.unique(images.labels, return_inverse=True)[1], config)
    before = task.slow.network.backbone.bn1.running_mean.clone()
    train(task, images, config, runtime)
    assert torch.equal(task.slow.network.backbone.bn1.running_mean, before)


def test_a_method_of_which_nothing_would_learn_refuses_it():
    with pytest.raises(ValueError, match="frozen_epochs = 3"):
        irt_r.Config(backbone="test_resnet", epochs=1, lr=1.0, frozen_epochs=3)
    with pytest.raises(ValueError, match="frozen_stages = 1"):
        rqvae.Config(epochs=1, lr=1.0, frozen_stages=1)
