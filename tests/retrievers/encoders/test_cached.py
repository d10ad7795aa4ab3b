"""The cache in front of an encoder: what it may answer, and what it must not."""

import itertools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch

from irbench.core import cell
from irbench.core.description import Backbone, Description
from irbench.core.embeddings import Embeddings
from irbench.data import shards
from irbench.data.pixels import View
from irbench.experiments.build import Builder
from irbench.networks import backbones
from irbench.networks.backbones import run_network
from irbench.retrievers import cached_encoder
from irbench.retrievers.cached_encoder import CachedEncoder
from irbench.runtime.timer import Timer


class Counting:
    """Mean colours, and how often they were asked for."""

    def __init__(self):
        self.calls = 0

    def encode(self, images):
        self.calls += 1
        return Embeddings(images.arrays.mean(axis=(1, 2)).astype(np.float32))

    def describe(self):
        return Description()


class Learning(Counting):
    """The same, with something to learn."""

    def train(self, images):
        self.trained_on = images


def test_a_second_call_computes_nothing(runtime, images):
    encoder = Counting()
    first = CachedEncoder(encoder, runtime.store, {"encoder": "x"}).encode(images)
    again = CachedEncoder(encoder, runtime.store, {"encoder": "x"}).encode(images)
    assert encoder.calls == 1
    np.testing.assert_array_equal(first.array, again.array)


def test_a_live_clock_is_never_answered_from_the_store(runtime, images):
    encoder = Counting()
    cached = CachedEncoder(encoder, runtime.store, {"encoder": "x"})
    cached.encode(images)
    with Timer(bypass_cache=True).run():
        cached.encode(images)
        cached.encode(images)
    assert encoder.calls == 3


def test_another_identity_other_images_or_another_training_set_never_share(runtime, images):
    encoder, learning = Counting(), Learning()
    half = images.take(np.arange(20))
    darker = replace(images, arrays=images.arrays // 2)
    for encoded, identity in itertools.product((images, half, darker), ({"seed": 0}, {"seed": 1})):
        CachedEncoder(encoder, runtime.store, identity).encode(encoded)
    assert encoder.calls == 6
    relabelled = replace(images, labels=images.labels[::-1].copy())
    for train in (images, half, darker, relabelled, replace(images, mirror=False)):
        cached = CachedEncoder(learning, runtime.store, {"seed": 0})
        cached.train(train)
        cached.encode(images)
    assert learning.calls == 5
    assert learning.trained_on.mirror is False


def test_other_weights_never_share_wherever_they_come_from(runtime, images):
    class Weighted(Counting):
        weights = "hub model.safetensors sha256:a"

        def describe(self):
            return Description(backbone=Backbone(name="vit", weights=self.weights, parameters=1))

    encoder = Weighted()
    cached = CachedEncoder(encoder, runtime.store, {"encoder": "x"})
    cached.encode(images)
    encoder.weights = "hub model.safetensors sha256:b"  # the hub's file has changed
    cached.encode(images)
    cached.encode(images)
    assert encoder.calls == 2


class Network:
    """A real network as an encoder, which can be stopped when it is asked for the `stop`th time."""

    def __init__(self, network, runtime, stop=0):
        self.network, self.runtime, self.stop, self.asked = network, runtime, stop, []

    def encode(self, images):
        self.asked.append(images.name)
        if len(self.asked) == self.stop:
            raise KeyboardInterrupt
        return Embeddings(run_network(self.network, images, View(160), image_size=160, runtime=self.runtime))

    def describe(self):
        return Description()


@pytest.mark.parametrize("rows", [16, 32])
def test_shards_equal_the_whole_to_the_bit_and_go_on_where_they_were_stopped(runtime, images, monkeypatch, rows):
    monkeypatch.setattr(backbones, "BATCH", 16)
    monkeypatch.setattr(shards, "ROWS", rows)
    network = timm.create_model("test_vit", num_classes=0)
    whole = Network(network, runtime).encode(images).array
    with pytest.raises(KeyboardInterrupt):
        CachedEncoder(Network(network, runtime, stop=2), runtime.store, {"encoder": "x"}).encode(images)
    going_on = Network(network, runtime)
    joined = CachedEncoder(going_on, runtime.store, {"encoder": "x"}).encode(images).array
    np.testing.assert_array_equal(joined, whole)
    count = -(-len(images) // rows)
    assert going_on.asked == [f"train, part {part} of {count}" for part in range(2, count + 1)]


def test_joining_shards_takes_the_memory_of_the_whole_and_of_one(tmp_path):
    for number in range(8):
        np.save(tmp_path / f"{number}.npy", np.full((1000, 500), number, np.float32))
    tracemalloc.start()
    whole = cached_encoder._loaded([tmp_path / f"{number}.npy" for number in range(8)], 8000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (whole[:, 0] == np.repeat(np.arange(8), 1000)).all()
    assert peak <= whole.nbytes + 1.1 * whole.nbytes / 8


def test_what_a_network_returns_is_in_memory_once():
    tracemalloc.start()
    whole = backbones._gathered((torch.full((50, 2000), number) for number in range(100)), 5000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (whole[:, 7] == np.repeat(np.arange(100), 50)).all()
    assert peak <= 1.1 * whole.nbytes


def identity(runtime, **changes):
    facts = {
        "method": "pixels",
        "search": "linear",
        "identifier": None,
        "dataset": "digits",
        "scale": "tiny",
        "seed": 0,
    }
    return Builder(cell.Cell(**{**facts, **changes}), runtime).encoder().identity


def test_seed_precision_recipe_and_data_set_are_part_of_the_identity(runtime):
    found = [
        identity(runtime),
        identity(replace(runtime, seed=1)),
        identity(replace(runtime, precision="bf16")),
        identity(runtime, dataset="omniglot-small"),  # pixels are reduced to 32 there, and to 8 on digits
        identity(runtime, method="ft-clip"),
        identity(runtime, method="ft-clip", epochs=1),
    ]
    for one, other in itertools.combinations(found, 2):
        assert one != other


@pytest.mark.parametrize("change", [{"scale": "small"}, {"search": "scann"}])
def test_what_does_not_matter_is_shared(runtime, change):
    assert identity(runtime) == identity(runtime, **change)
