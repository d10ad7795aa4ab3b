"""Every registered encoder keeps the contracts, and every contract can be broken."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from irbench.config.registry import ENCODERS
from irbench.core.benchmark import ImageSet
from irbench.core.description import Backbone, Description
from irbench.core.embeddings import Embeddings
from irbench.runtime.cache import Store
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import caches_bypassed
from irbench.testing import Contract, check_encoder, encoder_contracts

# an encoder that trains nothing needs weights, which come from a file here
ON_VECTORS = ("vectors",)  # which look at no image: tests/data/test_vectors.py
PUBLISHED = {"off-the-shelf": {"recipe": "clip", "backbone": "test_resnet.r160_in1k", "projected": False}}


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file({k: v.contiguous() for k, v in timm.create_model("test_resnet").state_dict().items()}, path)
    return path


@pytest.mark.parametrize(
    "contract",
    [contract for name in ENCODERS if name not in (*PUBLISHED, *ON_VECTORS) for contract in encoder_contracts(name)],
    ids=str,
)
def test_registered_encoders_keep(contract: Contract) -> None:
    contract()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_encoders_keep_all(name: str, weights: Path, tmp_path: Path) -> None:
    check_encoder(name, runtime=Runtime(store=Store(tmp_path), weights=(weights,)), **PUBLISHED[name])


@dataclass(frozen=True, kw_only=True)
class Config:
    pass


class Sound:
    """Mean colours of the quarters of an image, shifted by what training found."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.runtime, self.shift = runtime, None

    def train(self, images: ImageSet) -> None:
        rng = np.random.default_rng(self.runtime.seed)
        self.shift = images.arrays.mean() + rng.normal()

    def encode(self, images: ImageSet) -> Embeddings:
        quarters = images.arrays.reshape(len(images), 2, 20, 2, 20, 3).mean(axis=(2, 4)).reshape(len(images), -1)
        return Embeddings((quarters - self.shift).astype(np.float32))

    def describe(self) -> Description:
        return Description(backbone=Backbone(name="none", weights="none", parameters=0))


class Constant(Sound):
    def encode(self, images: ImageSet) -> Embeddings:
        return Embeddings(np.ones_like(super().encode(images).array))


class Missing(Sound):
    """Leaves an image out."""

    def encode(self, images: ImageSet) -> Embeddings:
        return Embeddings(super().encode(images).array[1:])


class Bare(Sound):
    def encode(self, images: ImageSet) -> Any:
        return super().encode(images).array


class Centring(Sound):
    def encode(self, images: ImageSet) -> Embeddings:
        vectors = super().encode(images).array
        return Embeddings(vectors - vectors.mean(axis=0))


class Dropping(Sound):
    """Drops some features at random, as in training."""

    def encode(self, images: ImageSet) -> Embeddings:
        vectors = super().encode(images).array
        return Embeddings(vectors * np.random.default_rng().integers(1, 3, vectors.shape))


class Unseeded(Sound):
    def train(self, images: ImageSet) -> None:
        self.shift = np.random.normal()  # noqa: NPY002 -- the fault


class Darkening(Sound):
    def encode(self, images: ImageSet) -> Embeddings:
        images.arrays[:] //= 2
        return super().encode(images)


class Guessing(Sound):
    """Encodes before it was trained."""

    def encode(self, images: ImageSet) -> Embeddings:
        self.shift = self.shift or 0.0
        return super().encode(images)


class Hasty(Sound):
    """Does less while latency is measured."""

    def encode(self, images: ImageSet) -> Embeddings:
        vectors = super().encode(images).array
        return Embeddings(vectors.round() if caches_bypassed() else vectors)


class Weightless(Sound):
    """Has parameters that take no bytes."""

    def describe(self) -> Description:
        return Description(backbone=Backbone(name="vit", weights="trained from scratch", parameters=9))


class Scoring(Sound):
    """Classifies by scores that are no probabilities."""

    def classify(self, images: ImageSet) -> tuple[Embeddings, np.ndarray]:
        return self.encode(images), np.zeros((len(images), len(np.unique(images.labels))), np.float32)


FAULTS = {
    Constant: "every image gets a finite vector of its own",
    Missing: "every image gets a finite vector of its own",
    Bare: "every image gets a finite vector of its own",
    Centring: "a vector does not depend on the batch",
    Dropping: "encoding twice gives the same",
    Unseeded: "equal seeds give equal vectors",
    Darkening: "images stay as they are",
    Guessing: "encoding before training is refused",
    Hasty: "bypassing caches gives the same",
    Weightless: "the encoder describes itself",
    Scoring: "a classifier knows the training classes",
}


def broken(encoder: Any) -> set[str]:
    found = set()
    for contract in encoder_contracts(encoder):
        try:
            contract()
        except AssertionError:
            found.add(contract.name)
    return found


def test_a_sound_one_passes_as_a_class_and_as_an_object(runtime: Runtime, images: ImageSet) -> None:
    assert broken(Sound) == set()
    encoder = Sound(Config(), runtime)
    encoder.train(images)
    check_encoder(encoder)


@pytest.mark.parametrize(("fault", "contract"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_found(fault: type, contract: str) -> None:
    assert contract in broken(fault)
