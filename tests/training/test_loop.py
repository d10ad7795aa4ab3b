"""One training, stopped and not stopped: the same model; the schedule, the batches and the order of events."""

import json
import math
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from raising import raises
from safetensors.torch import load_file
from torch import Generator, nn

from irbench.config import recipes
from irbench.config.recipes import build_config
from irbench.config.registry import ENCODERS, IDENTIFIERS, RETRIEVERS
from irbench.core.errors import RecipeError
from irbench.data.pixels import View, pixels
from irbench.training import loop
from irbench.training.config import TrainingConfig
from irbench.training.feed import Feed
from irbench.training.loop import Task, train
from irbench.training.optim import make_optimizer, make_scheduler
from irbench.training.validation import held_out

TRAINING = {"backbone": "test_resnet", "image_size": 32, "resize_size": 36, "batch": 16, "lr": 1e-2}
RECIPES = {
    "ft-clip": {"warmup": 0.3, "rotate": 10.0, "shift": 0.1, "backbone_lr": 0.5, "drop_path": 0.2},
    "cgd": {"per_class": 3, "dim": 32, "frozen_statistics": False, "optimizer": "adam", "schedule": "step"},
    "irt-r": {
        "memory_ratio": 0.7,
        "momentum": 0.9,
        "dim": 16,
        "frozen_epochs": 1,
        "clip_gradient": 1.0,
        "schedule": "constant",
    },
}
JUDGED = {"validation_share": 0.2, "patience": 2}
EPOCHS = 3


class Killed(BaseException):
    """Nothing catches a kill."""


@pytest.fixture(params=sorted(RECIPES))
def encoder(request):
    """Build a new encoder, as another process would."""
    schema = ENCODERS.schema(request.param)
    config = build_config(schema, {**TRAINING, **JUDGED, "epochs": EPOCHS, **RECIPES[request.param]}, "test")
    return lambda runtime: ENCODERS.load(request.param)(config, runtime)


def model(runtime):
    (folder,) = [path for path in (runtime.store.root / "model").iterdir() if path.suffix == ""]
    return load_file(folder / "model.safetensors"), json.loads((folder / "history.json").read_text())


@pytest.mark.parametrize("kept", [1, 3])
def test_a_training_killed_after_any_step_resumes_to_the_same_model(
    encoder, kept, runtime, images, tmp_path, monkeypatch
):
    unbroken = replace(runtime, store=type(runtime.store)(tmp_path / "unbroken"))
    encoder(unbroken).train(images)
    expected, history = model(unbroken)

    monkeypatch.setattr(loop, "_CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(loop, "_CHECKPOINT_SHARE", float("inf"))
    step, done = loop._Run._step, []

    def killed(run, *batch):
        if len(done) == kept:
            raise Killed
        done.append((len(run.progress.losses), run.progress.step))
        return step(run, *batch)

    monkeypatch.setattr(loop._Run, "_step", killed)
    lives = 0
    while done or not lives:
        done.clear()
        lives += 1
        with suppress(Killed):
            encoder(runtime).train(images)
            done.clear()
    assert lives == math.ceil(EPOCHS * 2 / kept)  # each went on where the last one was killed
    again, found = model(runtime)
    assert found == history
    assert len(history["validation"]) == len(history["loss"])
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
        self.module = self.backbone = nn.Linear(3, 1)
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


def test_the_order_of_events_and_what_is_stored(runtime, images, config):
    task = Recording()
    trained = train(task, images, config, runtime)
    batches = ["step"] * round(40 / 16)
    assert task.events == ["start", *[*batches, "end"] * 3, "finish"]
    assert (load_file(trained.entry.path / "model.safetensors")["weight"] == 7).all()
    assert not task.module.training
    again = Recording()
    assert train(again, images, config, runtime) == trained
    assert again.events == []
    assert (again.module.weight == 7).all()


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_reported_and_nothing_is_stored(runtime, images, config, factor):
    with raises(RecipeError, "diverged", "recording", "epoch 1"):
        train(Recording(factor), images, config, runtime)
    assert not [path for path in (runtime.store.root / "model").iterdir() if path.is_dir() and path.suffix == ""]


def feed(images, config, runtime):
    return Feed(pixels(images, View(config.resize_size), runtime), images.labels, config, runtime)


def test_an_epoch_shows_every_image_once_in_another_order(runtime, images, config):
    source = feed(images, config, runtime)
    epochs = []
    for seed in (0, 0, 1):
        batches = list(source.epoch(Generator().manual_seed(seed)))
        shown = pixels(images, View(36), runtime)[:]
        for pictures, rows, _ in batches:
            assert (pictures.numpy() == shown[rows.numpy()]).all()
        assert len(batches) == source.batches
        assert max(len(rows) for _, rows, _ in batches) - min(len(rows) for _, rows, _ in batches) <= 1
        epochs.append(torch.cat([rows for _, rows, _ in batches]).tolist())
    assert sorted(epochs[0]) == list(range(40))
    assert epochs[0] == epochs[1] != epochs[2]


@pytest.mark.parametrize(("per_class", "classes", "each"), [(4, 4, 4), (8, 2, 8), (16, 1, 10)])
def test_batches_by_class_hold_so_many_images_of_each(runtime, images, config, per_class, classes, each):
    source = feed(images, replace(config, per_class=per_class), runtime)
    for _, rows, _ in source.epoch(Generator().manual_seed(0)):
        assert len(set(rows.tolist())) == len(rows)
        assert np.unique(images.labels[rows], return_counts=True)[1].tolist() == [each] * classes


def test_more_images_of_a_class_than_a_batch_holds_are_reported(runtime, images, config):
    with raises(RecipeError, "bad-value", "per_class", 17, "batch", 16):
        feed(images, replace(config, per_class=17), runtime)


@dataclass
class Split:
    module: nn.Module
    backbone: nn.Module


@pytest.fixture
def split():
    backbone = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    return Split(nn.Sequential(backbone, nn.Linear(3, 4)), backbone)


def rates(split, config, batches=10):
    optimizer = make_optimizer(split.module, split.backbone, config)
    scheduler = make_scheduler(optimizer, config, batches)
    for step in range(config.epochs * batches):
        scheduler.step_update(step)
        yield [group["lr"] for group in optimizer.param_groups]


@pytest.mark.parametrize("decay_vectors", [False, True])
def test_the_backbone_trains_at_its_share_and_vectors_decay_where_they_are_to(split, config, decay_vectors):
    config = replace(config, backbone_lr=0.01, weight_decay=0.3, decay_vectors=decay_vectors)
    groups = make_optimizer(split.module, split.backbone, config).param_groups
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    (linear, norm), head = split.backbone, split.module[1]
    assert len(found) == len(list(split.module.parameters()))
    assert found[id(linear.weight)] == pytest.approx((1e-4, 0.3))
    for vector in (linear.bias, norm.weight, norm.bias):
        assert found[id(vector)] == pytest.approx((1e-4, 0.3 * decay_vectors))
    assert found[id(head.weight)] == pytest.approx((1e-2, 0.3))
    assert found[id(head.bias)] == pytest.approx((1e-2, 0.3 * decay_vectors))


def test_schedules_follow_their_formulas(split, config):
    config = replace(config, epochs=10, backbone_lr=0.1, warmup=0.0)
    cosine = list(rates(split, replace(config, warmup=0.2, warmup_lr=1e-7, final_lr=1e-5)))
    for step, (backbone, *_, head) in enumerate(cosine):
        rise = 1e-7 + (1e-2 - 1e-7) * step / 20
        fall = 1e-5 + (1e-2 - 1e-5) * (1 + np.cos(np.pi * step / 100)) / 2
        assert head == pytest.approx(rise if step < 20 else fall)
        if step >= 20:
            assert backbone == pytest.approx(1e-5 + (1e-3 - 1e-5) * (1 + np.cos(np.pi * step / 100)) / 2)
    stepped = [group[-1] for group in rates(split, replace(config, schedule="step"))]
    assert stepped == pytest.approx([1e-2] * 60 + [1e-3] * 20 + [1e-4] * 20)
    assert [group[-1] for group in rates(split, replace(config, schedule="constant"))] == [1e-2] * 100


@pytest.mark.parametrize(("cycles", "decay"), [(3, 1.0), (2, 0.5)])
def test_a_cosine_starts_again_as_often_as_it_is_to(split, config, cycles, decay):
    config = replace(config, epochs=10, warmup=0.1, warmup_lr=1e-7, final_lr=1e-5)
    config = replace(config, cycle_epochs=3, cycles=cycles, cycle_decay=decay)
    for step, (*_, rate) in enumerate(rates(split, config)):
        cycle, place = divmod(step, 30)
        top = 1e-2 * decay**cycle
        fall = 1e-5 + (top - 1e-5) * (1 + np.cos(np.pi * place / 30)) / 2
        assert rate == pytest.approx(
            1e-7 + (1e-2 - 1e-7) * step / 10 if step < 10 else fall if cycle < cycles else 1e-5
        )


def published(name, scale="paper"):
    """The configs of irgen-as-published and its tokenizer."""
    recipe = recipes.find("methods" if name == "irgen" else "methods/identifier", f"{name}-as-published")
    schema = RETRIEVERS.schema("irgen") if name == "irgen" else IDENTIFIERS.schema("semantic")
    return recipe.config(schema, scale=scale, dataset="")


def test_the_published_schedules_at_some_epochs(split):
    found = [rate for *_, rate in rates(split, published("irgen"), batches=1)]
    assert len(found) == 400
    expected = {0: 5e-8, 10: (5e-8 + 8e-5) / 2, 50: (5e-7 + 8e-5) / 2, 100: 8e-5, 250: (5e-7 + 8e-5) / 2, 300: 8e-5}
    assert {epoch: found[epoch] for epoch in expected} == pytest.approx(expected)
    found = [rate for *_, rate in rates(split, published("semantic"), batches=1)]
    assert len(found) == 200
    expected = {0: 1e-7, 10: (1e-7 + 5e-4) / 2, 25: (1e-6 + 5e-4) / 2, 50: 1e-6, 199: 1e-6}
    assert {epoch: found[epoch] for epoch in expected} == pytest.approx(expected)


# --- validation


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.floats(0.05, 0.9), st.integers(0, 5))
def test_what_is_held_out_is_spread_over_the_classes_and_leaves_each_of_them_some(sizes, share, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    if max(sizes) == 1:
        with raises(RecipeError, "too-few-images", "validation_share"):
            held_out(labels, share, seed)
        return
    aside = held_out(labels, share, seed)
    spare = len(labels) - len(sizes)
    assert len(set(aside.tolist())) == len(aside) == min(spare, max(1, round(share * len(labels))))
    assert (np.diff(labels[aside]) >= 0).all()
    for label, size in enumerate(sizes):
        taken = int((labels[aside] == label).sum())
        assert taken < size
        assert abs(taken - (size - 1) * len(aside) / spare) <= 1


class Descent(Recording):
    """Its weight moves by one each epoch; the loss on images held out is least where the weight is `best`."""

    def __init__(self, best):
        super().__init__()
        self.best, self.seen = best, []
        nn.init.zeros_(self.module.weight)

    def loss(self, images, rows):
        self.seen += rows.tolist()
        return 0.0 * super().loss(images, rows)

    def validation_loss(self, images, rows):
        assert not self.module.training
        assert not torch.is_grad_enabled()
        assert images.shape[-1] == 32
        self.seen += [-1 - row for row in rows.tolist()]
        return (self.module.weight[0, 0] - self.best).square()

    def end_epoch(self):
        with torch.no_grad():
            self.module.weight.add_(1.0)

    def finish(self):
        self.events.append("finish")


@pytest.mark.parametrize(
    ("best", "changes", "epochs", "weight"),
    [
        (3, {"patience": 2}, 5, 3),  # stops two validations after the best
        (3, {"patience": 2, "validate_every": 2}, 6, 2),  # 2 and 4 are equally good: the first of them is kept
        (3, {}, 7, 7),  # without patience it goes on to the end, and keeps the end
        (9, {"patience": 1}, 7, 7),
        (5, {"patience": 5}, 7, 5),  # the best is kept too where the epochs run out first
    ],
)
def test_it_stops_when_validation_no_longer_gets_better_and_keeps_the_best(
    runtime, images, config, best, changes, epochs, weight
):
    config = replace(config, epochs=7, weight_decay=0.0, lr=1e-9, validation_share=0.2, **changes)
    task = Descent(best)
    trained = train(task, images, config, runtime)
    assert task.module.weight[0, 0].item() == pytest.approx(weight)
    told = trained.training["recording"]
    assert len(told["loss"]) == epochs
    validated = [e for e in range(1, epochs + 1) if e % config.validate_every == 0 or e == 7]
    assert told["validation"] == pytest.approx([(e - best) ** 2 for e in validated], abs=1e-3)
    assert task.events[-1] == "finish"
    aside = {-1 - row for row in task.seen if row < 0}
    assert len(aside) == 8
    assert {row for row in task.seen if row >= 0} == set(range(40)) - aside


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["ft-clip", "irt-r"])  # the triplets of cgd are chosen on the host, by their library
@pytest.mark.parametrize("resident", [True, False])
def test_within_an_epoch_the_host_does_not_wait_for_a_gpu(name, resident, runtime, images, monkeypatch):
    step, draw = loop._Run._step, loop._Run._seed
    stepped = []

    def strict(run, *batch):
        stepped.append(step(run, *batch))
        torch.cuda.set_sync_debug_mode("error")  # from the second step on: in the first, libraries are loaded
        return stepped[-1]

    def lenient(run, epoch, place):
        if place > run.feed.batches:  # the end of an epoch, where its loss is read
            torch.cuda.set_sync_debug_mode("default")
        draw(run, epoch, place)

    monkeypatch.setattr(loop._Run, "_step", strict)
    monkeypatch.setattr(loop._Run, "_seed", lenient)
    monkeypatch.setattr("irbench.training.feed._SHARE_OF_DEVICE", 0.4 if resident else 0.0)
    config = build_config(ENCODERS.schema(name), {**TRAINING, "epochs": 2, **RECIPES[name], "mirror": True}, "test")
    try:
        ENCODERS.load(name)(config, replace(runtime, device="cuda", precision="bf16")).train(images)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(stepped) == 2 * round(len(images.labels) / TRAINING["batch"])
