"""Identifiers by hierarchical k-means (HKM) on an encoder's features. Recipes: methods/identifier/hkm*.toml.

The recursion is that of DSI as published for NCI (solidsea98/Neural-Corpus-Indexer-NCI:Data_process/NQ_dataset/kmeans):
all images are clustered into K; the images of a cluster of at most c = K are enumerated in order, a cluster of one gets
no further code, and a larger one is clustered again. The paper builds HKM-100, -200 and -500 with it on the features of
FT-CLIP (section 4.2). It does not state c; with c < K a cluster could be too small for k-means, so c = K. Identifiers
are padded to the longest one with a symbol of its own, K.

Shape letters: N training images, D dimensions, M codes, K clusters.
"""

import hashlib
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveInt
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.errors import ContractError
from irbench.core.identifiers import Identifiers
from irbench.protocols import Components, Trainable
from irbench.runtime.cache import Key
from irbench.runtime.code import code_digest
from irbench.runtime.machine import Runtime


@dataclass(frozen=True, kw_only=True)
class Config:
    """Schema of methods/identifier/hkm*.toml. The defaults are NCI's."""

    clusters: Annotated[int, Field(ge=2)]  # K, of every node; also c, the size up to which a cluster is enumerated
    features: str = "ft-clip"  # method whose encoder's vectors are clustered
    starts: PositiveInt = 100  # k-means++ initialisations, of which the best is used
    iterations: PositiveInt = 300
    tolerance: NonNegativeFloat = 1e-7
    mini_batch: PositiveInt = (
        1000  # batch size of mini-batch k-means, used for the root and for clusters of at least this size
    )


@dataclass(frozen=True, eq=False)
class Node:
    """An inner node: a cluster that is clustered again. The root has an empty prefix."""

    prefix: tuple[int, ...]
    codes: NDArray[np.int64]  # [children] of the non-empty clusters below it
    centroids: NDArray[np.float32]  # [children,D]


class HierarchicalIdentifier:
    """The path of an image through a tree of k-means clusters, and its number within the last cluster."""

    def __init__(self, config: Config, runtime: Runtime, components: Components) -> None:
        self.config, self.runtime, self.components = config, runtime, components
        self._tree: Tree | None = None
        self._rows: dict[str, int] = {}

    def train(self, images: ImageSet) -> None:
        """Train the encoder and cluster its vectors of the images."""
        self._encoder = self.components.encoder(self.config.features)
        if isinstance(self._encoder, Trainable):
            self._encoder.train(images)
        vectors = self._encoder.encode(images).array
        facts = {
            "config": asdict(self.config),
            "seed": self.runtime.seed,
            "vectors": hashlib.sha256(vectors.tobytes()).hexdigest(),  # stands for encoder, weights and images
            "code": code_digest(type(self)),
        }

        def fit(folder: Path) -> None:
            nodes, identifiers = cluster(vectors, self.config, self.runtime.seed)
            _save(folder, nodes, identifiers)

        entry = self.runtime.store.ensure(Key("clusters", {"hkm": facts}), fit, span="train")
        self._tree = Tree(vectors, *_load(entry.path))
        self._rows = {id_: row for row, id_ in enumerate(images.ids)}

    def encode(self, images: ImageSet) -> Identifiers:
        """Return the codes [N,M]; an image outside the training set gets those of the nearest one in its cluster."""
        rows = np.array([self._rows.get(id_, -1) for id_ in images.ids])
        if (new := np.flatnonzero(rows < 0)).size:
            rows[new] = self._trained.nearest(self._encoder.encode(images.take(new)).array)
        return Identifiers(self._trained.codes[rows], self.config.clusters + 1)

    def describe(self) -> Description:
        """Describe the encoder's network, and the tree, which counts as part of the model."""
        tree, encoder = self._trained, self._encoder.describe()
        details = {
            "num_codebooks": tree.codes.shape[1],
            "codebook_size": self.config.clusters + 1,
            "clusters": self.config.clusters,
        }
        if "training" in encoder.details:
            details["training"] = encoder.details["training"]
        return Description(backbone=encoder.backbone, model_bytes=encoder.model_bytes + tree.nbytes, details=details)

    @property
    def _trained(self) -> "Tree":
        if self._tree is None:
            raise ContractError("HierarchicalIdentifier was used before it was trained", code="not-trained")
        return self._tree


class Tree:
    """The clusters, and the training images in them."""

    def __init__(self, vectors: NDArray[np.float32], nodes: list[Node], codes: NDArray[np.int64]) -> None:
        self.vectors, self.codes = vectors, codes  # [N,D], [N,M] padded with K
        self._nodes = {node.prefix: node for node in nodes}

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that new images are compared with."""
        return self.vectors.nbytes + self.codes.nbytes + sum(node.centroids.nbytes for node in self._nodes.values())

    def nearest(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the training rows [B] nearest to vectors [B,D] within the clusters to which the centroids lead."""
        found = np.empty(len(vectors), np.int64)
        # prefix of a node, the vectors that were routed to it, and the training rows below it
        pending: list[tuple[tuple[int, ...], NDArray[np.int64], NDArray[np.int64]]]
        pending = [((), np.arange(len(vectors)), np.arange(len(self.vectors)))]
        while pending:
            prefix, routed, members = pending.pop()
            node = self._nodes.get(prefix)
            if node is None:
                found[routed] = members[_nearest(vectors[routed], self.vectors[members])]
                continue
            child = node.codes[_nearest(vectors[routed], node.centroids)]
            below = self.codes[members, len(prefix)]
            pending += [((*prefix, int(c)), routed[child == c], members[below == c]) for c in np.unique(child)]
        return found


def cluster(vectors: NDArray[np.float32], config: Config, seed: int) -> tuple[list[Node], NDArray[np.int64]]:
    """Return the nodes of the tree over vectors [N,D], and the padded identifiers [N,M]."""
    nodes: list[Node] = []
    codes = np.full((len(vectors), 1), config.clusters, np.int64)
    pending: list[tuple[tuple[int, ...], NDArray[np.int64]]] = [((), np.arange(len(vectors)))]
    while pending:
        prefix, members = pending.pop()
        if prefix and len(members) == 1:
            continue
        depth = len(prefix)
        if depth == codes.shape[1]:
            codes = np.pad(codes, ((0, 0), (0, 1)), constant_values=config.clusters)
        if prefix and len(members) <= config.clusters:
            codes[members, depth] = np.arange(len(members))
            continue
        node, codes[members, depth] = _split(prefix, vectors[members], config, seed)
        nodes.append(node)
        pending += [((*prefix, int(c)), members[codes[members, depth] == c]) for c in node.codes]
    return nodes, codes


def _split(
    prefix: tuple[int, ...], vectors: NDArray[np.float32], config: Config, seed: int
) -> tuple[Node, NDArray[np.int64]]:
    """Return the node of a cluster's vectors [n,D], and the code [n] of the child to which each belongs.

    Vectors that k-means cannot separate, because they are equal, are divided in order, or the recursion would not end.
    """
    centroids, labels = _kmeans(vectors, config, seed, root=not prefix)
    codes = np.unique(labels)
    if len(codes) == 1 and len(vectors) > 1:
        labels = np.arange(len(vectors)) * config.clusters // len(vectors)
        codes = np.unique(labels)
        centroids = np.repeat(vectors[:1], config.clusters, axis=0)
    return Node(prefix, codes, centroids[codes].astype(np.float32)), labels.astype(np.int64)


def _kmeans(
    vectors: NDArray[np.float32], config: Config, seed: int, *, root: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return centroids [K,D] and labels [n] of vectors [n,D]; in one thread, so that sums repeat to the bit."""
    common: dict[str, Any] = {
        "n_clusters": min(config.clusters, len(vectors)),
        "n_init": config.starts,
        "max_iter": config.iterations,
        "tol": config.tolerance,
        "random_state": seed,
    }
    if root or len(vectors) >= config.mini_batch:
        model = MiniBatchKMeans(batch_size=config.mini_batch, max_no_improvement=20, **common)
    else:
        model = KMeans(**common)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct vectors than clusters
        labels = model.fit_predict(vectors)
    return model.cluster_centers_, labels


def _nearest(vectors: NDArray[np.float32], among: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the row [B] of `among` [n,D] nearest to each of vectors [B,D]."""
    lengths = np.square(among).sum(axis=1)
    parts = (vectors[start : start + _AT_ONCE] for start in range(0, len(vectors), _AT_ONCE))
    return np.concatenate([(lengths - 2 * part @ among.T).argmin(axis=1) for part in parts])


_AT_ONCE = 4096  # vectors whose distances are computed at a time


def _save(folder: Path, nodes: list[Node], codes: NDArray[np.int64]) -> None:
    prefixes = np.full((len(nodes), codes.shape[1]), -1, np.int64)  # -1 after the end
    for prefix, node in zip(prefixes, nodes, strict=True):
        prefix[: len(node.prefix)] = node.prefix
    np.save(folder / "identifiers.npy", codes)
    np.save(folder / "prefixes.npy", prefixes)
    np.save(folder / "children.npy", np.array([len(node.codes) for node in nodes]))
    np.save(folder / "codes.npy", np.concatenate([node.codes for node in nodes]))
    np.save(folder / "centroids.npy", np.concatenate([node.centroids for node in nodes]))


def _load(folder: Path) -> tuple[list[Node], NDArray[np.int64]]:
    names = ("identifiers", "prefixes", "children", "codes", "centroids")
    identifiers, prefixes, children, codes, centroids = (
        np.load(folder / f"{name}.npy", allow_pickle=False) for name in names
    )
    cuts = children.cumsum()[:-1]
    of_nodes = zip(prefixes.tolist(), np.split(codes, cuts), np.split(centroids, cuts), strict=True)
    nodes = [Node(tuple(c for c in prefix if c >= 0), *parts) for prefix, *parts in of_nodes]
    return nodes, identifiers
