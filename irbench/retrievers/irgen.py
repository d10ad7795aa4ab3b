"""IRGen as a retriever: identifiers for the gallery, a decoder that writes them. Recipe: methods/irgen.toml."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import PositiveInt

from irbench.backbones import centre
from irbench.bounds import Part
from irbench.clock import stage
from irbench.collection import ImageSet
from irbench.errors import ContractError
from irbench.images import View, pixels
from irbench.irgen.autoregression import Autoregression, Partners
from irbench.irgen.beam import BeamSearch
from irbench.irgen.decoder import Decoder, Shape
from irbench.irgen.start import StartConfig, starting_network
from irbench.irgen.trie import Trie
from irbench.machine import Runtime
from irbench.progress import track
from irbench.protocols import Description, Parts, Trainable
from irbench.ranking import Ranking
from irbench.training.loop import learn


@dataclass(frozen=True, kw_only=True)
class Config(StartConfig):
    """Schema of methods/irgen.toml."""

    answering: ClassVar[frozenset[str]] = frozenset({"beams", "search_batch"})

    depth: PositiveInt = 12  # blocks of the decoder
    width: PositiveInt = 768
    heads: PositiveInt = 12
    partners: PositiveInt = 1  # images of its class whose identifiers an image is to write, each time it is seen
    label_smoothing: Part = 0.0
    beams: PositiveInt = 30
    search_batch: PositiveInt = 64  # queries that are decoded at once

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(f"width = {self.width} is not divided by heads = {self.heads}")


class IrgenRetriever:
    """Writes the identifiers of gallery images for a query image, under a trie of those that exist."""

    def __init__(self, config: Config, runtime: Runtime, parts: Parts) -> None:
        self.config, self.runtime, self.parts = config, runtime, parts
        self.identifier = parts.identifier()
        self._task: Autoregression | None = None
        self._trie: Trie | None = None

    def train(self, images: ImageSet) -> None:
        """Train the identifier, then the encoder-decoder on pairs of one class."""
        if isinstance(self.identifier, Trainable):
            self.identifier.train(images)
        identifiers = self.identifier.encode(images)
        network, origin = starting_network(self.config, self.runtime, self.parts, images)
        shape = Shape(
            memory_dim=network.dim,
            length=identifiers.length,
            codes=identifiers.codebook_size,
            depth=self.config.depth,
            width=self.config.width,
            heads=self.config.heads,
        )
        partners = Partners(identifiers, images.labels, self.runtime.device)
        task = Autoregression(
            network,
            Decoder(shape),
            partners,
            times=self.config.partners,
            label_smoothing=self.config.label_smoothing,
        )
        learn(task, images, self.config, self.runtime, also=[origin, identifiers.digest])
        self._task = task

    def index(self, gallery: ImageSet) -> None:
        """Give every gallery image its identifier and build the trie."""
        with stage("encode"):
            identifiers = self.identifier.encode(gallery)
        with stage("build"):
            self._trie = Trie.build(identifiers)
            self._beam_search = BeamSearch(self._trie, self.runtime.device)

    def search(self, queries: ImageSet, k: int) -> Ranking:
        """Write the best identifiers for each query; their images are the answers."""
        pictures = pixels(queries, View(self.config.decoded_side, self.config.fit), self.runtime)
        starts = range(0, len(queries), self.config.search_batch)
        answers = []
        for start in track(starts, "generate", total=len(starts)):
            rows = np.arange(start, min(start + self.config.search_batch, len(queries)))
            with stage("encode"):
                batch = torch.from_numpy(pictures[rows])
            answers.append(self._answer(batch, k))
        return Ranking.stack(answers)

    def describe(self) -> Description:
        """The encoder-decoder, the identifiers, and how they are used."""
        task, trie = self._ready()
        parameters = sum(p.numel() for p in task.module.parameters())
        images = np.diff(trie.first_row)
        details: dict[str, Any] = {
            **self.identifier.describe().details,
            "beams": self.config.beams,
            "identifiers": trie.leaves,
            "images_per_identifier_max": int(images.max()),
            "images_sharing_an_identifier": int(images[images > 1].sum()),
        }
        return Description(
            backbone=task.body.facts(), model_bytes=4 * parameters, index_bytes=trie.nbytes, details=details
        )

    @torch.inference_mode()
    def _answer(self, pictures: torch.Tensor, k: int) -> Ranking:
        """Answer the queries whose pictures are [B,H,H,3]."""
        task, trie = self._ready()
        with self.runtime.autocast():
            with stage("encode"):
                tokens = task.body(centre(pictures.to(self.runtime.device), self.config.side))
            with stage("search"):
                leaves, scores = self._beam_search(task.decoder, tokens, self.config.beams)
                return trie.ranking(leaves.cpu().numpy(), scores.cpu().numpy(), k)

    def _ready(self) -> tuple[Autoregression, Trie]:
        if self._task is None or self._trie is None:
            raise ContractError("IrgenRetriever was asked before it was trained and had indexed a gallery")
        return self._task, self._trie
