"""The training of the encoder-decoder (section 3.2): from an image, predict the identifier of an image of its class.

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
from irbench.training.parallel import ALL, Part


class Targets:
    """For each training image the identifiers of its class; a drawn one is that of its nearest neighbour x2 (eq. 5)."""

    def __init__(self, identifiers: Identifiers, labels: NDArray[np.int64], device: str) -> None:
        _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        by_class = identifiers.codes[np.argsort(labels, kind="stable")]
        self._codes = torch.from_numpy(by_class).to(device)  # [N,M] class by class
        self._first = torch.from_numpy((sizes.cumsum() - sizes)[classes]).to(device)  # [N] start of the image's class
        self._size = torch.from_numpy(sizes[classes]).to(device)  # [N] images of the class

    def draw(self, rows: Tensor, targets_per_image: int, part: Part = ALL) -> Tensor:
        """Draw codes [B·targets_per_image,M] of images of the classes of `rows` [B], with replacement.

        An image may be its own target, as in the published code. Rows that are a `part` of a batch get the targets that
        they would get in the whole of it.
        """
        chance = torch.rand((part.size(rows), targets_per_image), device=rows.device)[part.rows].flatten()
        rows = rows.repeat_interleave(targets_per_image)
        size = self._size[rows]
        place = (chance * size).long().clamp(max=size - 1)
        return self._codes[self._first[rows] + place]


class Autoregression(Task):
    """Equation 5: cross-entropy of each code of a target's identifier, given the image and the codes before it.

    `targets_per_image` targets are drawn each time that an image is seen; it is encoded once for all of them.
    """

    name = "irgen"
    backbone: VisionNetwork

    def __init__(
        self,
        network: VisionNetwork,
        decoder: Decoder,
        targets: Targets,
        *,
        targets_per_image: int,
        label_smoothing: float,
    ) -> None:
        self.backbone, self.decoder, self.targets = network, decoder, targets
        self.targets_per_image, self.label_smoothing = targets_per_image, label_smoothing
        self.module = nn.ModuleList([network, decoder])

    def loss_of_tokens(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """Return the mean cross-entropy, in nats a code, of images' tokens [B,T,D] that are training `rows` [B]."""
        codes = self.targets.draw(rows, self.targets_per_image, self.part)
        logits = self.decoder(tokens, codes)  # [B·targets_per_image,M,L]
        return functional.cross_entropy(logits.flatten(0, 1), codes.flatten(), label_smoothing=self.label_smoothing)
