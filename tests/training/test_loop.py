"""One training, stopped and not stopped: the same model; the schedule, the batches and the order of events."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Generator, nn

from irbench.catalog import ENCODERS
from irbench.errors import RecipeError
from irbench.images import View, pixels
from irbench.recipes import build_config
from irbench.training import loop
from irbench.training.config import TrainingConfig
from irbench.training.feed import Feed
from irbench.training.loop import Task, learn
from irbench.training.optim import make_optimizer, make_scheduler

TRAINING = {"backbone": "test_resnet", "side": 32, "decoded_side": 36, "batch": 16, "lr": 1e-2}
RECIPES = {
    "ft-clip": {"warmup": 0.3, "rotate": 10.0, "shift": 0.1, "body_lr": 0.5},
    "cgd": {"per_class": 3, "dim": 32, "frozen_statistics": False, "optimizer": "adam", "schedule": "step"},
    "irt-r": {"memory_ratio": 0.7, "momentum": 0.9, "clip_gradient": 1.0, "schedule": "constant"},
}
EPOCHS = 4


class Killed(BaseException):
    """Nothing catches a kill."""


@pytest.fixture(params=sorted(RECIPES))
def encoder(request):
    """Build a new encoder, as another process would."""
    schema = ENCODERS.schema(request.param)
    config = build_config(schema, {**TRAINING, "epochs": EPOCHS, **RECIPES[request.param]}, "test")
    return lambda runtime: ENCODERS.load(request.param)(config, runtime)


def model(runtime):
    (folder,) = [path for path in (runtime.store.root / "model").iterdir() if path.suffix == ""]
    return load_file(folder / "model.safetensors"), json.loads((folder / "history.json").read_text())["loss"]


@pytest.mark.parametrize("kept", range(1, EPOCHS))
def test_a_training_killed_after_any_epoch_goes_on_to_the_same_model(
    encoder, kept, runtime, images, tmp_path, monkeypatch
):
    unbroken = replace(runtime, store=type(runtime.store)(tmp_path / "unbroken"))
    encoder(unbroken).train(images)
    expected, losses = model(unbroken)

    monkeypatch.setattr(loop, "_CHECKPOINT_EVERY", -1)
    step, done = loop._Run._step, []

    def killed(run, pictures, rows):
        if len(run.progress.losses) == kept and done[-1:] == [kept]:
            raise Killed  # in the middle of an epoch: its second step
        done.append(len(run.progress.losses))
        return step(run, pictures, rows)

    monkeypatch.setattr(loop._Run, "_step", killed)
    with pytest.raises(Killed):
        encoder(runtime).train(images)
    done.clear()
    monkeypatch.setattr(
        loop._Run, "_step", lambda run, *batch: (done.append(len(run.progress.losses)), step(run, *batch))[1]
    )
    encoder(runtime).train(images)
    assert min(done) == kept  # it went on, and did not begin again
    again, history = model(runtime)
    assert history == losses
    assert again.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(again[name], tensor), name


@pytest.fixture
def config():
    return TrainingConfig(**TRAINING, epochs=3)


class Recording(Task):
    """A linear layer on mean colours, and what the loop asks of it."""

    name = "recording"

    def __init__(self, factor=1.0):
        self.module = self.body = nn.Linear(3, 1)
        self.factor, self.events = factor, []

    def loss(self, images, rows):
        self.events.append("step")
        return self.factor * self.module(images.mean(dim=(2, 3)) / 255).square().mean()

    def start(self):
        self.events.append("start")

    def end_epoch(self):
        self.events.append("end")

    def finish(self):
        self.events.append("finish")
        nn.init.constant_(self.module.weight, 7.0)


def test_the_order_of_events_and_what_is_kept(runtime, images, config):
    task = Recording()
    entry = learn(task, images, config, runtime)
    batches = ["step"] * round(40 / 16)
    assert task.events == ["start", *[*batches, "end"] * 3, "finish"]
    assert (load_file(entry.path / "model.safetensors")["weight"] == 7).all()
    assert not task.module.training
    again = Recording()
    assert learn(again, images, config, runtime).content == entry.content
    assert again.events == []
    assert (again.module.weight == 7).all()


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_told_and_nothing_is_kept(runtime, images, config, factor):
    with pytest.raises(RecipeError, match="training of recording diverged in epoch 1; lower lr"):
        learn(Recording(factor), images, config, runtime)
    assert not [path for path in (runtime.store.root / "model").iterdir() if path.is_dir() and path.suffix == ""]


def feed(images, config, runtime):
    return Feed(pixels(images, View(config.decoded_side), runtime), images.labels, config, runtime)


def test_an_epoch_shows_every_image_once_in_another_order(runtime, images, config):
    source = feed(images, config, runtime)
    epochs = []
    for seed in (0, 0, 1):
        batches = list(source.epoch(Generator().manual_seed(seed)))
        shown = pixels(images, View(36), runtime).array
        for pictures, rows in batches:
            assert (pictures.numpy() == shown[rows.numpy()]).all()
        assert len(batches) == source.batches
        assert max(len(rows) for _, rows in batches) - min(len(rows) for _, rows in batches) <= 1
        epochs.append(torch.cat([rows for _, rows in batches]).tolist())
    assert sorted(epochs[0]) == list(range(40))
    assert epochs[0] == epochs[1] != epochs[2]


@pytest.mark.parametrize(("per_class", "classes", "each"), [(4, 4, 4), (8, 2, 8), (16, 1, 10)])
def test_batches_by_class_hold_so_many_images_of_each(runtime, images, config, per_class, classes, each):
    source = feed(images, replace(config, per_class=per_class), runtime)
    for _, rows in source.epoch(Generator().manual_seed(0)):
        assert len(set(rows.tolist())) == len(rows)
        assert np.unique(images.labels[rows], return_counts=True)[1].tolist() == [each] * classes


def test_more_images_of_a_class_than_a_batch_holds_are_told(runtime, images, config):
    with pytest.raises(RecipeError, match="per_class = 17 images of a class do not fit batch = 16"):
        feed(images, replace(config, per_class=17), runtime)


@dataclass
class Split:
    module: nn.Module
    body: nn.Module


@pytest.fixture
def split():
    body = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    return Split(nn.Sequential(body, nn.Linear(3, 4)), body)


def rates(split, config, batches=10):
    optimizer = make_optimizer(split.module, split.body, config)
    scheduler = make_scheduler(optimizer, config, batches)
    for step in range(config.epochs * batches):
        scheduler.step_update(step)
        yield [group["lr"] for group in optimizer.param_groups]


def test_the_body_learns_at_its_share_and_only_matrices_decay(split, config):
    config = replace(config, body_lr=0.01, weight_decay=0.3)
    groups = make_optimizer(split.module, split.body, config).param_groups
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    (linear, norm), head = split.body, split.module[1]
    assert len(found) == len(list(split.module.parameters()))
    assert found[id(linear.weight)] == pytest.approx((1e-4, 0.3))
    for vector in (linear.bias, norm.weight, norm.bias):
        assert found[id(vector)] == pytest.approx((1e-4, 0))
    assert found[id(head.weight)] == pytest.approx((1e-2, 0.3))
    assert found[id(head.bias)] == pytest.approx((1e-2, 0))


def test_schedules_follow_their_formulas(split, config):
    config = replace(config, epochs=10, body_lr=0.1, warmup=0.0)
    cosine = list(rates(split, replace(config, warmup=0.2, warmup_lr=1e-7, final_lr=1e-5)))
    for step, (body, *_, head) in enumerate(cosine):
        rise = 1e-7 + (1e-2 - 1e-7) * step / 20
        fall = 1e-5 + (1e-2 - 1e-5) * (1 + np.cos(np.pi * step / 100)) / 2
        assert head == pytest.approx(rise if step < 20 else fall)
        if step >= 20:
            assert body == pytest.approx(1e-5 + (1e-3 - 1e-5) * (1 + np.cos(np.pi * step / 100)) / 2)
    stepped = [group[-1] for group in rates(split, replace(config, schedule="step"))]
    assert stepped == pytest.approx([1e-2] * 60 + [1e-3] * 20 + [1e-4] * 20)
    assert [group[-1] for group in rates(split, replace(config, schedule="constant"))] == [1e-2] * 100
