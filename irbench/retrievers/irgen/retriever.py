"""IRGen as a retriever: identifiers of the gallery, and a decoder that generates them. Recipe: methods/irgen.toml."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, TypeVar

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
from irbench.networks.backbones import center_crop, to_device
from irbench.protocols import Components, Trainable
from irbench.retrievers.irgen.autoregression import Autoregression, Targets
from irbench.retrievers.irgen.beam import BeamSearch, generate
from irbench.retrievers.irgen.decoder import Decoder, DecoderConfig
from irbench.retrievers.irgen.exact import ExactSearch, Found, Misses, misses
from irbench.retrievers.irgen.features import cached_features
from irbench.retrievers.irgen.gallery import Gallery, by_similarity
from irbench.retrievers.irgen.start import StartConfig, check_start, starting_network
from irbench.runtime.batches import in_batches
from irbench.runtime.code import code_digest
from irbench.runtime.machine import Runtime
from irbench.runtime.progress import track
from irbench.runtime.timer import caches_bypassed, span, subspan
from irbench.training.loop import train

T = TypeVar("T")
Search = BeamSearch | ExactSearch
_SEARCHES: Mapping[str, type[Search]] = {"beam": BeamSearch, "exact": ExactSearch}
LEAST_BEAMS = 30  # the paper's beam size on most data sets
_COMPARED = 512  # queries, at most, for which beam search is compared with exact search


@dataclass(frozen=True, kw_only=True)
class Config(StartConfig):
    """Schema of methods/irgen.toml."""

    inference_keys: ClassVar[frozenset[str]] = frozenset(
        {"beam_size", "search_batch", "decode", "within", "rerank", "unseen"}
    )

    num_layers: PositiveInt = 12  # blocks of the decoder
    width: PositiveInt = 768
    num_heads: PositiveInt = 12
    targets_per_image: PositiveInt = 1  # identifiers of its class that an image is trained on, each time it is seen
    label_smoothing: Part = 0.0
    residual: Literal["stream", "normalised"] = "stream"  # what a block of the decoder adds to: see DecoderConfig
    beam_size: PositiveInt | None = None  # None: as many as images are asked for, so that the ranking is full
    search_batch: PositiveInt = 64  # queries that are decoded at once
    decode: Literal["beam", "exact"] = "beam"  # exact: the most probable identifiers, as many as beams
    # Beyond the paper. Similarity is the distance of features of the decoder's own network: a query's are computed
    # anyway, the gallery's are stored with the index.
    within: Literal["gallery", "similarity"] = "gallery"  # the order of images that share an identifier
    rerank: NonNegativeInt = 0  # this many results are reordered by similarity
    unseen: Literal["encode", "nearest", "generate"] = "encode"  # an added image's identifier: see IrgenRetriever

    @property
    def compares(self) -> bool:
        """Are results ordered by similarity, within an identifier or across?"""
        return self.within == "similarity" or self.rerank > 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.num_heads:
            raise ValueError(f"width = {self.width} is not a multiple of num_heads = {self.num_heads}")


class IrgenRetriever:
    """Generates identifiers of gallery images for a query image, constrained by a trie of those that exist.

    An image that is added after training gets, as `unseen` says, its own identifier ("encode", as in the paper, though
    the decoder was not trained to generate it), that of the "nearest" image by similarity, or the most probable one in
    the trie that the decoder would "generate" for it. The last two are identifiers that the decoder was trained on.
    """

    def __init__(self, config: Config, runtime: Runtime, components: Components) -> None:
        check_start(config, components)
        self.config, self.runtime, self.components = config, runtime, components
        self.identifier = components.identifier()
        self._task: Autoregression | None = None
        self._training: dict[str, dict[str, object]] = {}
        self._indexed: Gallery | None = None
        self._misses: Misses | None = None
        self._beam_size = config.beam_size or LEAST_BEAMS  # of the latest search

    def train(self, images: ImageSet) -> None:
        """Train the identifier, then the encoder-decoder on pairs of images of one class."""
        if isinstance(self.identifier, Trainable):
            self.identifier.train(images)
        identifiers = self.identifier.encode(images)
        start = starting_network(self.config, self.runtime, self.components, images)
        decoder_config = DecoderConfig(
            memory_dim=start.network.token_dim,
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
            Decoder(decoder_config),
            targets,
            targets_per_image=self.config.targets_per_image,
            label_smoothing=self.config.label_smoothing,
        )
        also = [start.origin, identifiers.digest, asdict(decoder_config), code_digest(starting_network)]
        trained = train(task, images, self.config, self.runtime, also=also)
        self._task, self._training = task, {**start.training, **trained.training}

    def index(self, gallery: ImageSet) -> None:
        """Compute the identifier of every gallery image and build the trie."""
        self.runtime.cast_weights(self._trained.module)
        with span("encode"):
            identifiers, features = self.identifier.encode(gallery), self._features(gallery)
        self._use(Gallery.of(identifiers, features))

    def add(self, images: ImageSet) -> None:
        """Add images, with identifiers as `unseen` says, and rebuild the trie; no network is trained."""
        with span("encode"):
            features = self._features(images)
            identifiers = self._identify(images, features)
        self._use(self._gallery.with_more(identifiers, features))

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Rebuild the trie without these rows; an identifier without images is not generated any more."""
        self._use(self._gallery.without(rows))

    def search(self, queries: ImageSet, k: int) -> Ranking:
        """Generate the best identifiers for each query and return the ranking [Q,k] of their images.

        Each identifier has an image, so that k beams fill the ranking. A smaller `beam_size` of the recipe leaves the
        ends of rankings empty.
        """
        self._beam_size = self.config.beam_size or max(LEAST_BEAMS, self._depth(k))
        if self.config.decode == "exact" and not caches_bypassed():
            self._misses = self._compare(queries)
        return Ranking.stack(self._by_batches(queries, lambda images: self._search_batch(images, k)))

    def identifiers(self) -> Identifiers:
        """Return the identifiers codes[N,M] of the gallery, those of removed rows included."""
        return self._gallery.identifiers

    @torch.inference_mode()
    def generate(self, queries: ImageSet) -> NDArray[np.int64]:
        """Return the codes [Q,K,M] of the most probable sequences of each query without a trie, best first."""

        def generated(images: torch.Tensor) -> NDArray[np.int64]:
            with self.runtime.autocast():
                tokens = self._tokens(images)
                with span("search"):
                    codes = generate(self._trained.decoder, tokens, self.config.beam_size or LEAST_BEAMS)
                    return codes.cpu().numpy()

        return np.concatenate(self._by_batches(queries, generated))

    def describe(self) -> Description:
        """Describe the encoder-decoder, the identifiers, and the settings of the search."""
        task, trie, config = self._trained, self._gallery.trie, self.config
        per_leaf = np.diff(trie.first_row)  # images
        identifier: dict[str, Any] = dict(self.identifier.describe().details)
        details: dict[str, Any] = {
            "training": {**identifier.pop("training", {}), **self._training},
            **identifier,
            "beam_size": self._beam_size,
            "decode": config.decode,
            "within": config.within,
            "rerank": config.rerank,
            "unseen": config.unseen,
            "images_per_identifier_max": int(per_leaf.max()),
            "images_sharing_an_identifier": int(per_leaf[per_leaf > 1].sum()),
        }
        if self._misses:
            details["beam_misses"] = asdict(self._misses)
        return Description(
            backbone=task.backbone.facts(),
            model_bytes=self.runtime.weight_bytes(task.module),
            index_bytes=self._gallery.nbytes + self._search.nbytes,
            details=details,
        )

    def _use(self, gallery: Gallery) -> None:
        """Build the search structure of a gallery and search that gallery from now on."""
        with span("build"):
            self._indexed = gallery
            self._search: Search = _SEARCHES[self.config.decode](gallery.trie, self.runtime.device)

    def _features(self, images: ImageSet) -> NDArray[np.float32] | None:
        """Return the features [N,D] of the decoder's own network, if results or identifiers depend on them."""
        if not self.config.compares and self.config.unseen != "nearest":
            return None
        return cached_features(self._trained.backbone, images, self.config, self.runtime)

    def _identify(self, images: ImageSet, features: NDArray[np.float32] | None) -> Identifiers:
        """Return identifiers of images that are added after training."""
        if self.config.unseen == "encode":
            return self.identifier.encode(images)
        if features is not None and self.config.unseen == "nearest":
            return self._gallery.of_nearest(features)
        best = self._by_batches(images, lambda batch: self._leaves(self._tokens(batch), 1)[0][:, 0])
        return self._gallery.of_leaves(np.concatenate(best))

    def _by_batches(self, images: ImageSet, compute: Callable[[torch.Tensor], T]) -> list[T]:
        """Return what is computed for batches of uint8 images [B,H,H,3], halved where memory does not suffice."""
        images_uint8 = pixels(images, View(self.config.resize_size, self.config.fit), self.runtime)
        size = self.config.search_batch

        def computed(start: int, end: int) -> T:
            with span("encode"):
                batch = torch.from_numpy(images_uint8[np.arange(start, end)])
            return compute(batch)

        batches = in_batches("search", len(images), size, computed)
        return list(track(batches, "generate", total=-(-len(images) // size)))

    @torch.inference_mode()
    def _tokens(self, images_uint8: torch.Tensor) -> torch.Tensor:
        """Return tokens [B,T,D] of images [B,H,H,3]."""
        with span("encode"), self.runtime.autocast():
            return self._trained.backbone(
                center_crop(to_device(images_uint8, self.runtime.device), self.config.image_size)
            )

    @torch.inference_mode()
    def _leaves(self, tokens: torch.Tensor, beam_size: int, search: Search | None = None) -> Found:
        """Return the best leaves [B,K] of the trie for tokens [B,T,D], and their scores [B,K]."""
        with self.runtime.autocast():
            leaves, scores = (search or self._search)(self._trained.decoder, tokens, beam_size)
        return leaves.cpu().numpy(), scores.cpu().numpy()

    def _compare(self, queries: ImageSet) -> Misses:
        """Return how often beam search misses what exact search finds, on an even sample of the queries."""
        count = min(len(queries), _COMPARED)
        beam_search = BeamSearch(self._gallery.trie, self.runtime.device)

        def both(images: torch.Tensor) -> tuple[Found, Found]:
            tokens = self._tokens(images)
            return self._leaves(tokens, self._beam_size, beam_search), self._leaves(tokens, self._beam_size)

        by_beam, exact = zip(
            *self._by_batches(queries.take(np.arange(count) * len(queries) // count), both), strict=True
        )
        return misses(_joined(by_beam), _joined(exact))

    def _search_batch(self, images_uint8: torch.Tensor, k: int) -> Ranking:
        """Return the ranking [B,k] of query images [B,H,H,3]."""
        tokens = self._tokens(images_uint8)
        with span("search"):
            leaves, scores = self._leaves(tokens, self._beam_size)
            with subspan("lookup"):
                found = self._gallery.trie.ranking(leaves, scores, self._depth(k))
            return self._reordered(found, tokens).cut(k) if self.config.compares else found

    def _depth(self, k: int) -> int:
        """Return how many images to collect for the best `k`: whole identifiers, where their images are ordered."""
        depth = max(k, self.config.rerank)
        if self.config.within == "similarity":
            depth += int(np.diff(self._gallery.trie.first_row).max()) - 1
        return depth

    def _reordered(self, found: Ranking, tokens: torch.Tensor) -> Ranking:
        """Order a ranking by the distance of features, those of the queries computed from tokens [B,T,D]."""
        with torch.inference_mode():
            features = self._trained.backbone.feature(tokens).cpu().numpy()
        distances = self._gallery.distances(features, found.rows)
        within = self.config.within == "similarity"
        return by_similarity(found, distances, within=within, rerank=self.config.rerank)

    @property
    def _trained(self) -> Autoregression:
        if self._task is None:
            raise ContractError("IrgenRetriever was used before it was trained", code="not-trained")
        return self._task

    @property
    def _gallery(self) -> Gallery:
        if self._indexed is None:
            raise ContractError("IrgenRetriever was used before it had indexed a gallery", code="not-indexed")
        return self._indexed


def _joined(found: Sequence[Found]) -> Found:
    """Concatenate the leaves and scores of batches of queries."""
    leaves, scores = zip(*found, strict=True)
    return np.concatenate(leaves), np.concatenate(scores)
