"""The published recursion, transcribed plainly, on the partitions that k-means made; what must hold of any tree."""

import json
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.retrievers.irgen.identifiers import hkm as hierarchical
from irbench.retrievers.irgen.identifiers.hkm import Config, HierarchicalIdentifier, Tree, cluster
from irbench.runtime.code import code_digest


def blobs(seed, size, dim=3, spread=0.5):
    """Vectors about centres of very uneven weight, so that some clusters need another level and some hold one."""
    rng = np.random.default_rng(seed)
    centres, weight = 4 * rng.normal(size=(6, dim)), rng.dirichlet(0.3 * np.ones(6))
    return (centres[rng.choice(6, size, p=weight)] + spread * rng.normal(size=(size, dim))).astype(np.float32)


def config(clusters, **changes):
    return Config(clusters=clusters, **{"starts": 2, "mini_batch": 40, **changes})


def published_recursion(vectors, k, c, partition):
    """NCI's kmeans.py: identifiers as lists of their own lengths; `partition(prefix, rows)` is its clustering."""
    identifiers = [[int(label)] for label in partition((), np.arange(len(vectors)))]

    def recurse(prefix, rows):
        if len(rows) <= c:
            if len(rows) == 1:
                return
            for number, row in enumerate(rows):
                identifiers[row].append(number)
            return
        labels = partition(prefix, rows)
        for code in range(k):
            inside = [row for row, label in zip(rows, labels, strict=True) if label == code]
            for row in inside:
                identifiers[row].append(code)
            recurse((*prefix, code), inside)

    for code in range(k):
        recurse((code,), [row for row, own in enumerate(identifiers.copy()) if own[0] == code])
    return identifiers


@pytest.mark.parametrize("clusters", [2, 3, 7])
@pytest.mark.parametrize("seed", range(4))
def test_identifiers_are_those_of_the_published_recursion(clusters, seed):
    vectors = blobs(seed, 90)
    made = config(clusters)

    def partition(prefix, rows):
        return hierarchical._kmeans(vectors[rows], made, 0, root=not prefix)[1]

    expected = published_recursion(vectors, clusters, clusters, partition)
    nodes, codes = cluster(vectors, made, 0)
    longest = max(map(len, expected))
    assert codes.tolist() == [own + [clusters] * (longest - len(own)) for own in expected]
    assert len({len(own) for own in expected}) > 1  # the case is one that needs padding
    assert all(node.prefix == () or len(node.prefix) < longest for node in nodes)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 6), st.integers(1, 60), st.integers(0, 1000), st.sampled_from([0.5, 0.0])
)  # spread 0: many equal vectors, more than a cluster may enumerate
def test_every_image_has_an_identifier_of_its_own_and_none_is_another_ones_beginning(clusters, size, seed, spread):
    vectors = blobs(seed, size, spread=spread)
    _, codes = cluster(vectors, config(clusters, starts=1), seed)
    own = [tuple(row[row < clusters].tolist()) for row in codes]
    assert all(own)
    assert len(set(own)) == size
    for row, name in zip(codes, own, strict=True):
        assert row.tolist() == [*name, *[clusters] * (codes.shape[1] - len(name))]  # the pad at the end only
    beginnings = {name[:cut] for name in own for cut in range(1, len(name))}
    assert not beginnings & set(own)
    siblings = defaultdict(set)
    for name in own:
        for depth, code in enumerate(name):
            siblings[name[:depth]].add(code)
    assert max(map(len, siblings.values())) <= clusters


def test_a_new_vector_gets_the_identifier_of_the_nearest_image_in_the_cluster_to_which_centroids_lead():
    vectors, asked = blobs(1, 200), blobs(2, 60)
    nodes, codes = cluster(vectors, config(4), 0)
    by_prefix = {node.prefix: node for node in nodes}
    found = Tree(vectors, nodes, codes).nearest(asked)
    for vector, row in zip(asked, found, strict=True):
        prefix = ()
        while (node := by_prefix.get(prefix)) is not None:
            prefix += (int(node.codes[((node.centroids - vector) ** 2).sum(axis=1).argmin()]),)
        members = [n for n, own in enumerate(codes.tolist()) if tuple(own[: len(prefix)]) == prefix]
        assert row == min(members, key=lambda n: ((vectors[n] - vector) ** 2).sum())
    assert len(by_prefix) > 1
    np.testing.assert_array_equal(codes[Tree(vectors, nodes, codes).nearest(vectors)], codes)


class Colours:
    """Mean colours as an encoder; counts its trainings."""

    trained = 0

    def train(self, images):
        self.trained += 1

    def encode(self, images):
        return Embeddings(images.arrays.mean(axis=(1, 2)).astype(np.float32))

    def describe(self):
        return Description(model_bytes=7)


class Components:
    def __init__(self):
        self.made = Colours()

    def encoder(self, method=None):
        assert method == "ft-clip"
        return self.made


def test_training_images_are_known_again_by_name_and_the_fit_is_made_once(runtime, images, monkeypatch):
    identifier = HierarchicalIdentifier(config(3), runtime, Components())
    identifier.train(images)
    own = identifier.encode(images)
    assert own.codebook_size == 4
    assert len(np.unique(own.codes, axis=0)) == len(images)
    mixed = images.take(np.array([7, 3, 30]))
    np.testing.assert_array_equal(identifier.encode(mixed).codes, own.codes[[7, 3, 30]])
    # the same pictures under names that training has not seen: found by their vectors
    renamed = replace(images, ids=tuple(f"new-{id_}" for id_ in images.ids))
    np.testing.assert_array_equal(identifier.encode(renamed).codes, own.codes)

    monkeypatch.setattr(hierarchical, "cluster", None)
    again = HierarchicalIdentifier(config(3), runtime, Components())
    again.train(images)
    np.testing.assert_array_equal(again.encode(images).codes, own.codes)
    np.testing.assert_array_equal(again.encode(renamed).codes, own.codes)
    for other in (
        HierarchicalIdentifier(config(4), runtime, Components()),
        HierarchicalIdentifier(config(3), replace(runtime, seed=1), Components()),
    ):
        with pytest.raises(TypeError):  # these are fitted anew
            other.train(images)
    with pytest.raises(TypeError):
        again.train(replace(images, arrays=images.arrays // 2))


def test_a_stored_tree_is_keyed_by_the_code_of_its_class(runtime, images):
    HierarchicalIdentifier(config(3), runtime, Components()).train(images)
    (entry,) = runtime.store.root.glob("clusters/*/entry.json")
    assert json.loads(entry.read_text())["key"]["hkm"]["code"] == code_digest(HierarchicalIdentifier)
