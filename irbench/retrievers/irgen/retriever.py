"""IRGen as a retriever: identifiers for the gallery, a decoder that writes them. Recipe: methods/irgen.toml."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt

from irbench.config.fields import Part
from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.errors import ContractError
from irbench.core.identifiers import Identifiers
from irbench.core.ranking import Ranking
from irbench.data.pixels import View, pixels
from irbench.networks.backbones import centre, sent
from irbench.protocols import Components, Trainable
from irbench.retrievers.irgen.autoregression import Autoregression, Targets
from irbench.retrievers.irgen.beam import BeamSearch, generate
from irbench.retrievers.irgen.decoder import Decoder, DecoderConfig
from irbench.retrievers.irgen.exact import ExactSearch, Found, Misses, misses
from irbench.retrievers.irgen.features import kept_features
from irbench.retrievers.irgen.gallery import Gallery, by_similarity
from irbench.retrievers.irgen.start import StartConfig, starting_network
from irbench.runtime.machine import Runtime
from irbench.runtime.progress import track
from irbench.runtime.timer import caches_bypassed, span, subspan
from irbench.training.loop import train

Find = BeamSearch | ExactSearch
_FINDS: Mapping[str, type[Find]] = {"beam": BeamSearch, "exact": ExactSearch}
_COMPARED = 512  # queries, at most, for which beam search is held against exact search


@dataclass(frozen=True, kw_only=True)
class Config(StartConfig):
    """Schema of methods/irgen.toml."""

    answering: ClassVar[frozenset[str]] = frozenset(
        {"beam_size", "search_batch", "decode", "within", "rerank", "unseen"}
    )

    num_layers: PositiveInt = 12  # blocks of the decoder
    width: PositiveInt = 768
    num_heads: PositiveInt = 12
    targets_per_image: PositiveInt = (
        1  # images of its class whose identifiers an image is to write, each time it is seen
    )
    label_smoothing: Part = 0.0
    residual: Literal["stream", "normalised"] = "stream"  # what each part of a block of the decoder is added to
    beam_size: PositiveInt = 30
    search_batch: PositiveInt = 64  # queries that are decoded at once
    decode: Literal["beam", "exact"] = "beam"  # exact: as many identifiers as there are beams, and none missed
    # Beyond the paper. Similarity is the distance of features, those of the network that the decoder looks through:
    # a query's are there already, the gallery's are computed and kept with the index.
    within: Literal["gallery", "similarity"] = "gallery"  # the order of images that share an identifier
    rerank: NonNegativeInt = 0  # so many of the best answers are put in order of similarity
    unseen: Literal["encode", "nearest", "generate"] = "encode"  # an added image's identifier: see IrgenRetriever

    @property
    def compares(self) -> bool:
        """Are answers ordered by similarity, within an identifier or across?"""
        return self.within == "similarity" or self.rerank > 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.num_heads:
            raise ValueError(f"width = {self.width} is not divided by num_heads = {self.num_heads}")


class IrgenRetriever:
    """Writes the identifiers of gallery images for a query image, under a trie of those that exist.

    The identifier of an image that is added, which training has not seen, is its own ("encode", as the paper does: the
    decoder has never written it), that of the image "nearest" to it by similarity, or the best one of those in the
    trie that the decoder would "generate" for it. An identifier of the last two kinds is one that the decoder knows.
    """

    def __init__(self, config: Config, runtime: Runtime, components: Components) -> None:
        self.config, self.runtime, self.components = config, runtime, components
        self.identifier = components.identifier()
        self._task: Autoregression | None = None
        self._training: dict[str, dict[str, object]] = {}
        self._held: Gallery | None = None
        self._misses: Misses | None = None

    def train(self, images: ImageSet) -> None:
        """Train the identifier, then the encoder-decoder on pairs of one class."""
        if isinstance(self.identifier, Trainable):
            self.identifier.train(images)
        identifiers = self.identifier.encode(images)
        start = starting_network(self.config, self.runtime, self.components, images)
        shape = DecoderConfig(
            memory_dim=start.network.dim,
            num_codebooks=identifiers.num_codebooks,
            codebook_size=identifiers.codebook_size,
            num_layers=self.config.num_layers,
            width=self.config.width,
            num_heads=self.config.num_heads,
            residual=self.config.residual,
        )
        targets = Targets(identifiers, images.labels, self.runtime.device)
        task = Autoregression(
            start.network,
            Decoder(shape),
            targets,
            targets_per_image=self.config.targets_per_image,
            label_smoothing=self.config.label_smoothing,
        )
        trained = train(task, images, self.config, self.runtime, also=[start.origin, identifiers.digest])
        self._task, self._training = task, {**start.training, **trained.training}

    def index(self, gallery: ImageSet) -> None:
        """Give every gallery image its identifier and build the trie."""
        self.runtime.cast_weights(self._trained.module)
        with span("encode"):
            identifiers, features = self.identifier.encode(gallery), self._features(gallery)
        self._hold(Gallery.of(identifiers, features))

    def add(self, images: ImageSet) -> None:
        """Give more images identifiers, as `unseen` says, and build the trie again; nothing is trained."""
        with span("encode"):
            features = self._features(images)
            identifiers = self._identify(images, features)
        self._hold(self._gallery.with_more(identifiers, features))

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Build the trie again without these rows; an identifier that no image has any more is not written again."""
        self._hold(self._gallery.without(rows))

    def search(self, queries: ImageSet, k: int) -> Ranking:
        """Write the best identifiers for each query; their images are the answers."""
        if self.config.decode == "exact" and not caches_bypassed():
            self._misses = self._compared(queries)
        return Ranking.stack([self._answer(pictures, k) for pictures in self._batches(queries)])

    def identifiers(self) -> Identifiers:
        """Return the identifiers codes[N,M] of the gallery, those of removed rows included."""
        return self._gallery.identifiers

    @torch.inference_mode()
    def generate(self, queries: ImageSet) -> NDArray[np.int64]:
        """Return for each query the codes [Q,K,M] that the decoder writes with no trie to hold it, best first."""
        written = []
        for pictures in self._batches(queries):
            with self.runtime.autocast():
                tokens = self._tokens(pictures)
                with span("search"):
                    codes = generate(self._trained.decoder, tokens, self.config.beam_size)
                    written.append(codes.cpu().numpy())
        return np.concatenate(written)

    def describe(self) -> Description:
        """The encoder-decoder, the identifiers, and how they are used."""
        task, trie, wish = self._trained, self._gallery.trie, self.config
        images = np.diff(trie.first_row)
        identifier: dict[str, Any] = dict(self.identifier.describe().details)
        details: dict[str, Any] = {
            "training": {**identifier.pop("training", {}), **self._training},
            **identifier,
            "beam_size": wish.beam_size,
            "decode": wish.decode,
            "within": wish.within,
            "rerank": wish.rerank,
            "unseen": wish.unseen,
            "images_per_identifier_max": int(images.max()),
            "images_sharing_an_identifier": int(images[images > 1].sum()),
        }
        if self._misses:
            details["beam_misses"] = asdict(self._misses)
        return Description(
            backbone=task.backbone.facts(),
            model_bytes=sum(p.nbytes for p in task.module.parameters()),
            index_bytes=self._gallery.nbytes,
            details=details,
        )

    def _hold(self, gallery: Gallery) -> None:
        """Answer from this gallery from now on."""
        with span("build"):
            self._held = gallery
            self._find: Find = _FINDS[self.config.decode](gallery.trie, self.runtime.device)

    def _features(self, images: ImageSet) -> NDArray[np.float32] | None:
        """Return the features [N,D] of the decoder's own network, if answers or identifiers depend on them."""
        if not self.config.compares and self.config.unseen != "nearest":
            return None
        return kept_features(self._trained.backbone, images, self.config, self.runtime)

    def _identify(self, images: ImageSet, features: NDArray[np.float32] | None) -> Identifiers:
        """Return the identifiers of images that training has not seen."""
        if self.config.unseen == "encode":
            return self.identifier.encode(images)
        if features is not None and self.config.unseen == "nearest":
            return self._gallery.of_nearest(features)
        best = [self._leaves(self._tokens(pictures), 1)[0][:, 0] for pictures in self._batches(images)]
        return self._gallery.of_leaves(np.concatenate(best))

    def _batches(self, images: ImageSet) -> Iterator[torch.Tensor]:
        """Yield the pictures [B,H,H,3] that are decoded at once."""
        pictures = pixels(images, View(self.config.resize_size, self.config.fit), self.runtime)
        starts = range(0, len(images), self.config.search_batch)
        for start in track(starts, "generate", total=len(starts)):
            rows = np.arange(start, min(start + self.config.search_batch, len(images)))
            with span("encode"):
                batch = torch.from_numpy(pictures[rows])
            yield batch

    @torch.inference_mode()
    def _tokens(self, pictures: torch.Tensor) -> torch.Tensor:
        """Tokens [B,T,D] of pictures [B,H,H,3]."""
        with span("encode"), self.runtime.autocast():
            return self._trained.backbone(centre(sent(pictures, self.runtime.device), self.config.image_size))

    @torch.inference_mode()
    def _leaves(self, tokens: torch.Tensor, beam_size: int, find: Find | None = None) -> Found:
        """The best leaves [B,K] of the trie for tokens [B,T,D], and their scores."""
        with self.runtime.autocast():
            leaves, scores = (find or self._find)(self._trained.decoder, tokens, beam_size)
        return leaves.cpu().numpy(), scores.cpu().numpy()

    def _compared(self, queries: ImageSet) -> Misses:
        """Tell how often beam search misses what exact search finds, for an even spread of the queries."""
        count = min(len(queries), _COMPARED)
        beam_search = BeamSearch(self._gallery.trie, self.runtime.device)
        by_beam, exact = [], []
        for pictures in self._batches(queries.take(np.arange(count) * len(queries) // count)):
            tokens = self._tokens(pictures)
            by_beam.append(self._leaves(tokens, self.config.beam_size, beam_search))
            exact.append(self._leaves(tokens, self.config.beam_size))
        return misses(_joined(by_beam), _joined(exact))

    def _answer(self, pictures: torch.Tensor, k: int) -> Ranking:
        """Answer the queries whose pictures are [B,H,H,3]."""
        tokens = self._tokens(pictures)
        with span("search"):
            leaves, scores = self._leaves(tokens, self.config.beam_size)
            with subspan("lookup"):
                found = self._gallery.trie.ranking(leaves, scores, self._depth(k))
            return self._reordered(found, tokens).cut(k) if self.config.compares else found

    def _depth(self, k: int) -> int:
        """Return how many answers have to be gathered for the best `k`: whole identifiers, where these are ordered."""
        depth = max(k, self.config.rerank)
        if self.config.within == "similarity":
            depth += int(np.diff(self._gallery.trie.first_row).max()) - 1
        return depth

    def _reordered(self, found: Ranking, tokens: torch.Tensor) -> Ranking:
        """Order the answers by how near their features are to the query's."""
        with torch.inference_mode():
            features = self._trained.backbone.feature(tokens).cpu().numpy()
        distances = self._gallery.distances(features, found.rows)
        within = self.config.within == "similarity"
        return by_similarity(found, distances, within=within, rerank=self.config.rerank)

    @property
    def _trained(self) -> Autoregression:
        if self._task is None:
            raise ContractError("IrgenRetriever was asked before it was trained")
        return self._task

    @property
    def _gallery(self) -> Gallery:
        if self._held is None:
            raise ContractError("IrgenRetriever was asked before it had indexed a gallery")
        return self._held


def _joined(found: Sequence[Found]) -> Found:
    """Join what was found for batches of queries, one after the other."""
    leaves, scores = zip(*found, strict=True)
    return np.concatenate(leaves), np.concatenate(scores)
