"""The encoder-decoder and how it learns (section 3.2): from an image, write the identifier of an image like it.

Shape letters: B images, N training images, M codes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from irbench.backbones import VisionNetwork
from irbench.identifiers import Identifiers
from irbench.irgen.decoder import Decoder
from irbench.training.loop import Task


class Partners:
    """For each training image the images of its class, one of which is drawn as the nearest neighbour x2."""

    def __init__(self, labels: NDArray[np.int64], device: str) -> None:
        _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        self.order = torch.from_numpy(np.argsort(labels, kind="stable")).to(device)  # [N] rows, class by class
        self.first = torch.from_numpy((sizes.cumsum() - sizes)[classes]).to(device)  # [N] where the row's class begins
        self.size = torch.from_numpy(sizes[classes]).to(device)

    def draw(self, rows: Tensor) -> Tensor:
        """Return a row of the same class for each of `rows` [B], itself not excluded, as the published code has it."""
        size = self.size[rows]
        place = (torch.rand(len(rows), device=rows.device) * size).long().clamp(max=size - 1)
        return self.order[self.first[rows] + place]


class Autoregression(Task):
    """Equation 5: cross-entropy of each code of the partner's identifier, given the image and the codes before it."""

    name = "irgen"
    body: VisionNetwork

    def __init__(
        self,
        network: VisionNetwork,
        decoder: Decoder,
        identifiers: Identifiers,
        labels: NDArray[np.int64],
        *,
        device: str,
        label_smoothing: float,
    ) -> None:
        self.body, self.decoder = network, decoder
        self.codes = torch.from_numpy(identifiers.codes).to(device)  # [N,M]
        self.partners = Partners(labels, device)
        self.label_smoothing = label_smoothing
        self.module = nn.ModuleList([network, decoder])

    def loss(self, images: Tensor, rows: Tensor) -> Tensor:
        """Cross-entropy of the batch."""
        codes = self.codes[self.partners.draw(rows)]
        logits = self.decoder(self.body(images), codes)
        return functional.cross_entropy(logits.flatten(0, 1), codes.flatten(), label_smoothing=self.label_smoothing)
