"""The encoder-decoder and how it learns (section 3.2): from an image, write the identifier of an image like it.

Shape letters: B images, N training images, M codes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from irbench.core.identifiers import Identifiers
from irbench.networks.backbones import VisionNetwork
from irbench.retrievers.irgen.decoder import Decoder
from irbench.training.loop import Task


class Targets:
    """For each training image the identifiers of its class; those drawn are of its nearest neighbours x2."""

    def __init__(self, identifiers: Identifiers, labels: NDArray[np.int64], device: str) -> None:
        _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        by_class = identifiers.codes[np.argsort(labels, kind="stable")]
        self._codes = torch.from_numpy(by_class).to(device)  # [N,M] class by class
        self._first = torch.from_numpy((sizes.cumsum() - sizes)[classes]).to(device)  # [N] where the row's class begins
        self._size = torch.from_numpy(sizes[classes]).to(device)

    def draw(self, rows: Tensor, times: int) -> Tensor:
        """Codes [B·times,M] of images of the same classes as `rows` [B], each itself not excluded, as published."""
        rows = rows.repeat_interleave(times)
        size = self._size[rows]
        place = (torch.rand(len(rows), device=rows.device) * size).long().clamp(max=size - 1)
        return self._codes[self._first[rows] + place]


class Autoregression(Task):
    """Equation 5: cross-entropy of each code of a partner's identifier, given the image and the codes before it.

    `times` targets are drawn for an image each time it is seen; the image is encoded once for all of them.
    """

    name = "irgen"
    backbone: VisionNetwork

    def __init__(
        self, network: VisionNetwork, decoder: Decoder, targets: Targets, *, times: int, label_smoothing: float
    ) -> None:
        self.backbone, self.decoder, self.targets = network, decoder, targets
        self.times, self.label_smoothing = times, label_smoothing
        self.module = nn.ModuleList([network, decoder])

    def loss(self, images: Tensor, rows: Tensor) -> Tensor:
        """Cross-entropy of the batch."""
        codes = self.targets.draw(rows, self.times)
        tokens = self.backbone(images).repeat_interleave(self.times, dim=0)
        logits = self.decoder(tokens, codes)
        return functional.cross_entropy(logits.flatten(0, 1), codes.flatten(), label_smoothing=self.label_smoothing)
