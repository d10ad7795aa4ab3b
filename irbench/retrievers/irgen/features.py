"""Features of whole splits, computed once and cached in the store."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from irbench.core.benchmark import ImageSet
from irbench.data import contents
from irbench.data.pixels import View
from irbench.networks.backbones import Featurizer, NetworkConfig, VisionNetwork, run_network
from irbench.runtime.cache import Key
from irbench.runtime.code import code_digest
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import caches_bypassed


def features(network: VisionNetwork, images: ImageSet, config: NetworkConfig, runtime: Runtime) -> NDArray[np.float32]:
    """Compute the network's features [N,D] of the center crops of the images."""
    view = View(config.resize_size, config.fit)
    return run_network(Featurizer(network), images, view, image_size=config.image_size, runtime=runtime)


def cached_features(
    network: VisionNetwork, images: ImageSet, config: NetworkConfig, runtime: Runtime
) -> NDArray[np.float32]:
    """Return the features [N,D] from the store; computed on a miss, and under a timer that bypasses caches."""
    if caches_bypassed():
        return features(network, images, config, runtime)
    facts = {
        "network": _digest(network),
        "view": [config.resize_size, config.fit, config.image_size],
        "images": contents.digest(images),
        "runtime": [runtime.device, runtime.precision],
        "code": code_digest(features),
    }

    def compute(folder: Path) -> None:
        np.save(folder / "features.npy", features(network, images, config, runtime))

    entry = runtime.store.ensure(Key("features", facts), compute, span="encode")
    return np.asarray(np.load(entry.path / "features.npy", allow_pickle=False))


def _digest(network: VisionNetwork) -> str:
    """Return the SHA-256 of the network's name and weights."""
    digest = hashlib.sha256(network.name.encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
