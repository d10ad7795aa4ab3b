"""The semantic tokenizer (section 3.1, equations 1-4). Recipe: methods/identifier/semantic.toml.

A network is trained to classify its feature, and every prefix of the feature's residual quantisation; so images of
one class come to share their first codes. Codebooks and network take turns: the codebooks are set by k-means between
epochs, on the features that the epoch before has seen, and stand still within an epoch.

Shape letters: B images, N training images, D dimensions, M codes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from irbench.backbones import Featurizer, VisionNetwork, run_network
from irbench.collection import ImageSet
from irbench.errors import ContractError
from irbench.identifiers import Identifiers
from irbench.images import View
from irbench.irgen.quantizer import ResidualQuantizer
from irbench.irgen.start import StartConfig, starting_network
from irbench.machine import Runtime
from irbench.protocols import Description, Parts
from irbench.training.loop import Task, learn


@dataclass(frozen=True, kw_only=True)
class Config(StartConfig):
    """Schema of methods/identifier/semantic.toml."""

    length: PositiveInt = 4  # M
    codes: PositiveInt = 256  # L
    prefix_weight: NonNegativeFloat = 1.0  # lambda 1, of the classification of prefixes
    commitment_weight: NonNegativeFloat = 1.0  # lambda 2, of the distance between the feature and its prefixes


class SemanticTokenizer:
    """Codes of the residual quantisation of a feature that was trained to be quantised."""

    def __init__(self, config: Config, runtime: Runtime, parts: Parts) -> None:
        self.config, self.runtime, self.parts = config, runtime, parts
        self._task: Tokenization | None = None

    def train(self, images: ImageSet) -> None:
        """Train network and codebooks in turns."""
        network, origin = starting_network(self.config, self.runtime, self.parts, images)
        classes = np.unique(images.labels, return_inverse=True)[1]
        task = Tokenization(network, classes, self.config, self.runtime.seed, lambda: self._features(network, images))
        learn(task, images, self.config, self.runtime, also=origin)
        self._task = task

    def encode(self, images: ImageSet) -> Identifiers:
        """Return the codes [N,M] of the images; `train` comes first."""
        quantizer = self._trained.quantizer
        features = torch.from_numpy(self._features(self._trained.body, images)).to(self.runtime.device)
        codes = torch.cat([quantizer(batch)[0] for batch in torch.split(features, _BATCH)])
        return Identifiers(codes.cpu().numpy(), self.config.codes)

    def describe(self) -> Description:
        """Tell the network and its bytes, the codebooks included."""
        task = self._trained
        kept = sum(p.numel() for p in task.body.parameters()) + task.quantizer.codebooks.numel()
        details = {"length": self.config.length, "codes": self.config.codes}
        return Description(backbone=task.body.facts(), model_bytes=4 * kept, details=details)

    @property
    def _trained(self) -> "Tokenization":
        if self._task is None:
            raise ContractError("SemanticTokenizer was used before it was trained")
        return self._task

    def _features(self, network: VisionNetwork, images: ImageSet) -> NDArray[np.float32]:
        view = View(self.config.decoded_side, self.config.fit)
        return run_network(Featurizer(network), images, view, side=self.config.side, runtime=self.runtime)


_BATCH = 1024  # features that are quantised at once: distances take batch * codes * dimensions floats


class Tokenization(Task):
    """Equation 3 as a training task.

    `features` returns the features [N,D] of the whole training set as they are now; the first and the last codebooks
    are made of these.
    """

    name = "tokenizer"
    body: VisionNetwork

    def __init__(
        self,
        network: VisionNetwork,
        classes: NDArray[np.int64],
        config: Config,
        seed: int,
        features: Callable[[], NDArray[np.float32]],
    ) -> None:
        self.body, self.config, self.seed, self.features = network, config, seed, features
        self.classes = torch.from_numpy(classes)
        self.seen: list[Tensor] = []  # features [B,D] of each batch of this epoch
        outputs = int(classes.max()) + 1
        self.quantizer = ResidualQuantizer(config.length, config.codes, network.dim)
        self.on_feature = nn.Linear(network.dim, outputs)
        self.on_prefix = nn.Linear(network.dim, outputs)  # one for all prefixes, as in the published code
        self.module = nn.ModuleList([network, self.quantizer, self.on_feature, self.on_prefix])

    def loss(self, images: Tensor, rows: Tensor) -> Tensor:
        """Equation 3: classification of the feature and of its M prefixes, and the commitment to the prefixes."""
        target = self.target(rows)
        feature = self.body.feature(self.body(images))  # [B,D]
        self.seen.append(feature.detach())
        _, prefixes = self.quantizer(feature)  # [B,M,D]
        # straight-through: the value of the prefix, the gradient of the feature
        through = feature.unsqueeze(1) + (prefixes - feature.unsqueeze(1)).detach()
        M = prefixes.shape[1]
        on_prefixes = functional.cross_entropy(
            self.on_prefix(through).flatten(0, 1).float(), target.repeat_interleave(M)
        )
        residuals = feature.unsqueeze(1) - prefixes  # equation 4; the quantiser passes no gradient
        return (
            functional.cross_entropy(self.on_feature(feature).float(), target)
            + self.config.prefix_weight * M * on_prefixes
            + self.config.commitment_weight * residuals.square().sum(dim=(1, 2)).mean()
        )

    def start(self) -> None:
        """The first codebooks are those of the network's features before it learns."""
        self.quantizer.fit(torch.from_numpy(self.features()), self.seed)

    def end_epoch(self) -> None:
        """Set the codebooks on the features that this epoch has seen."""
        self.quantizer.fit(torch.cat(self.seen), self.seed)
        self.seen.clear()

    def finish(self) -> None:
        """Set the codebooks on the features as they are in the end, without augmentation."""
        self.quantizer.fit(torch.from_numpy(self.features()), self.seed)
