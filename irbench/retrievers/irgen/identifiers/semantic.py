"""The semantic tokenizer (section 3.1, equations 1-4). Recipe: methods/identifier/semantic.toml.

A network is trained to classify its feature, and every prefix of the feature's residual quantisation, so that images
of one class come to share their first codes. Network and codebooks are optimised alternately: the codebooks are set by
k-means between epochs and are constant within an epoch.

Where the paper leaves it open, the codebooks are fitted to the features computed during the previous epoch, and an
image's codes follow its current feature. With `codebooks = "encoded"`, as in the published code, all images are encoded
again between epochs for that, and their codes are constant within an epoch too. In the published code both weights are
1e-7 (the option for them is unused), the commitment is a mean over dimensions, here a sum, and the prefixes share one
classifier, though compiled files published with it still have one for each, which is the default here.

Shape letters: B images, N training images, D dimensions, M codes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.errors import ContractError
from irbench.core.identifiers import Identifiers
from irbench.networks.backbones import VisionNetwork
from irbench.protocols import Components
from irbench.retrievers.irgen.features import cached_features, features
from irbench.retrievers.irgen.quantizer import ResidualQuantizer
from irbench.retrievers.irgen.start import StartConfig, check_start, starting_network
from irbench.runtime.machine import Runtime
from irbench.training.loop import Task, train


@dataclass(frozen=True, kw_only=True)
class Config(StartConfig):
    """Schema of methods/identifier/semantic.toml."""

    num_codebooks: PositiveInt = 4  # M
    codebook_size: PositiveInt = 256  # L
    prefix_weight: NonNegativeFloat = 1.0  # lambda 1, of the classification of prefixes
    commitment_weight: NonNegativeFloat = 1.0  # lambda 2, of the distance between the feature and its prefixes
    prefix_classifiers: Literal["own", "shared"] = "own"
    codebooks: Literal["seen", "encoded"] = "seen"  # the features that they are fitted to: see above


class SemanticIdentifier:
    """Codes of the residual quantisation of a feature that is trained for it."""

    def __init__(self, config: Config, runtime: Runtime, components: Components) -> None:
        check_start(config, components)
        self.config, self.runtime, self.components = config, runtime, components
        self._task: Tokenization | None = None
        self._training: dict[str, dict[str, object]] = {}

    def train(self, images: ImageSet) -> None:
        """Train network and codebooks alternately."""
        start = starting_network(self.config, self.runtime, self.components, images)
        classes = np.unique(images.labels, return_inverse=True)[1]

        def encode(*, cache: bool) -> NDArray[np.float32]:
            return (cached_features if cache else features)(start.network, images, self.config, self.runtime)

        task = Tokenization(start.network, classes, self.config, self.runtime.seed, encode)
        trained = train(task, images, self.config, self.runtime, also=start.origin)
        self._task, self._training = task, {**start.training, **trained.training}

    def encode(self, images: ImageSet) -> Identifiers:
        """Return the codes [N,M] of the images; `train` comes first."""
        quantizer = self._trained.quantizer
        vectors = torch.from_numpy(cached_features(self._trained.backbone, images, self.config, self.runtime))
        return Identifiers(quantizer.codes(vectors).cpu().numpy(), self.config.codebook_size)

    def describe(self) -> Description:
        """Describe the network, its bytes with those of the codebooks, and the training."""
        task = self._trained
        numbers = sum(p.numel() for p in task.backbone.parameters()) + task.quantizer.codebooks.numel()
        details = {
            "num_codebooks": self.config.num_codebooks,
            "codebook_size": self.config.codebook_size,
            "training": self._training,
        }
        return Description(backbone=task.backbone.facts(), model_bytes=4 * numbers, details=details)

    @property
    def _trained(self) -> "Tokenization":
        if self._task is None:
            raise ContractError("SemanticIdentifier was used before it was trained", code="not-trained")
        return self._task


_SAMPLE = 256  # features for each codebook entry that k-means uses; it would drop the rest


class Encode(Protocol):
    """Returns the features [N,D] of the whole training set by the current network, without augmentation."""

    def __call__(self, *, cache: bool) -> NDArray[np.float32]:
        """Return the features; with `cache` they are stored for later use."""


class Tokenization(Task):
    """Equation 3 as a training task. The first and last codebooks are fitted to the features that `encode` returns."""

    name = "tokenizer"
    backbone: VisionNetwork

    def __init__(
        self,
        network: VisionNetwork,
        classes: NDArray[np.int64],
        config: Config,
        seed: int,
        encode: Encode,
    ) -> None:
        self.backbone, self.config, self.seed, self.encode = network, config, seed, encode
        self.classes = torch.from_numpy(classes)
        self.seen: list[Tensor] = []  # features [B,D] of the latest batches of this epoch
        outputs = int(classes.max()) + 1
        heads = config.num_codebooks if config.prefix_classifiers == "own" else 1
        self.quantizer = ResidualQuantizer(config.num_codebooks, config.codebook_size, network.dim)
        self.on_feature = nn.Linear(network.dim, outputs)
        self.on_prefix = nn.ModuleList(nn.Linear(network.dim, outputs) for _ in range(heads))
        self.module = nn.ModuleList([network, self.quantizer, self.on_feature, self.on_prefix])
        if config.codebooks == "encoded":
            self.module.register_buffer("codes", torch.zeros(len(classes), config.num_codebooks, dtype=torch.int64))

    def loss_of_tokens(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """Return equation 3: cross-entropy of the feature and of its M prefixes, and the commitment to the prefixes."""
        target = self.target(rows)
        feature = self.backbone.feature(tokens)  # [B,D]
        prefixes = self._prefixes(feature, rows)  # [B,M,D]
        # straight-through: the value of the prefix, the gradient of the feature
        through = feature.unsqueeze(1) + (prefixes - feature.unsqueeze(1)).detach()
        residuals = feature.unsqueeze(1) - prefixes  # equation 4; the quantiser passes no gradient
        return (
            functional.cross_entropy(self.on_feature(feature).float(), target)
            + self.config.prefix_weight * self._on_prefixes(through, target)
            + self.config.commitment_weight * residuals.square().sum(dim=(1, 2)).mean()
        )

    def start(self) -> None:
        """Fit the first codebooks to the features of the initial network."""
        self._set_codebooks(torch.from_numpy(self.encode(cache=False)))

    def end_epoch(self) -> None:
        """Fit the codebooks to the features of this epoch's batches, or to new ones of all images."""
        encoded = self.config.codebooks == "encoded"
        self._set_codebooks(torch.from_numpy(self.encode(cache=False)) if encoded else torch.cat(self.seen))
        self.seen.clear()

    def finish(self) -> None:
        """Fit the last codebooks to the features of the trained network, without augmentation."""
        self._set_codebooks(torch.from_numpy(self.encode(cache=True)))

    def state(self) -> Mapping[str, Tensor]:
        """Return the features of this epoch's batches so far."""
        return {"seen": torch.cat(self.seen)} if self.seen else {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore them."""
        self.seen = [seen.to(self.quantizer.codebooks.device) for seen in state.values()]

    def _prefixes(self, feature: Tensor, rows: Tensor) -> Tensor:
        """Return prefix sums [B,M,D] of the current features, or of the codes that were set before this epoch."""
        if self.config.codebooks == "encoded":
            return self.quantizer.sums(self.module.get_buffer("codes")[rows])
        if self.module.training:
            self._remember(self.part.gather(feature.detach()))
        sums: Tensor = self.quantizer(feature)[1]
        return sums

    def _on_prefixes(self, through: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy of the prefixes, mean over the batch and summed over the prefixes."""
        M = through.shape[1]
        heads = [*self.on_prefix] * (M // len(self.on_prefix))
        logits = torch.stack([head(prefix) for head, prefix in zip(heads, through.unbind(1), strict=True)], dim=1)
        return M * functional.cross_entropy(logits.flatten(0, 1).float(), target.repeat_interleave(M))

    def _remember(self, feature: Tensor) -> None:
        """Append features, and drop the oldest ones beyond the number that k-means uses."""
        self.seen.append(feature)
        surplus = sum(map(len, self.seen)) - max(_SAMPLE * self.config.codebook_size, len(feature))
        while surplus >= len(self.seen[0]):
            surplus -= len(self.seen.pop(0))

    def _set_codebooks(self, features_: Tensor) -> None:
        self.quantizer.fit(features_, self.seed)
        if self.config.codebooks == "encoded":
            self.module.get_buffer("codes").copy_(self.quantizer.codes(features_))
