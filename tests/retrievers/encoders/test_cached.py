"""The cache in front of an encoder: what it may answer, and what it must not."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from irbench.core import cell
from irbench.core.description import Backbone, Description
from irbench.core.embeddings import Embeddings
from irbench.experiments.build import Builder
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
