"""The control: classes by posterior, images of a class by similarity."""

from pathlib import Path

import numpy as np
import pytest
from raising import raises

from irbench.core.benchmark import ImageSet
from irbench.core.cell import Cell
from irbench.core.errors import RecipeError
from irbench.core.ranking import MISSING
from irbench.experiments.build import Builder
from irbench.retrievers.classify import ClassifyRetriever, Config
from irbench.runtime.machine import Runtime


def retriever(runtime: Runtime, encoder: str = "ft-clip", *, cosine: bool = False) -> ClassifyRetriever:
    overrides = (("ft-clip.cosine", cosine),)
    cell = Cell(method="classify", dataset="digits", scale="tiny", epochs=2, overrides=overrides)
    return ClassifyRetriever(Config(encoder=encoder), runtime, Builder(cell, runtime))


@pytest.mark.slow
@pytest.mark.parametrize("cosine", [True, False])
def test_rankings_are_those_of_a_loop_over_classes_and_images(
    images: ImageSet, runtime: Runtime, *, cosine: bool
) -> None:
    made = retriever(runtime, cosine=cosine)
    trained, k = images.take(np.arange(0, 40, 2)), 25
    made.train(trained)
    made.index(images)
    removed = np.array([3, 12])
    made.remove(removed)
    found = made.search(images, k)

    vectors, features = made._encoder.encode(images).array, made._encoder.features(images).array
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (lengths == pytest.approx(1)) == cosine
    assert vectors == pytest.approx(features / np.linalg.norm(features, axis=1, keepdims=True) * lengths, abs=1e-6)
    posterior = made._encoder.classify(features)
    assert np.exp(posterior).sum(axis=1) == pytest.approx(1)
    numbers = {label: number for number, label in enumerate(np.unique(trained.labels))}
    known = {id_: numbers[label] for id_, label in zip(trained.ids, trained.labels, strict=True)}
    classes = [known.get(id_, int(posterior[row].argmax())) for row, id_ in enumerate(images.ids)]
    for query in range(len(images)):
        expected = sorted(
            set(range(len(images))) - set(removed),
            key=lambda row: (-posterior[query, classes[row]], np.square(vectors[row] - vectors[query]).sum(), row),
        )
        assert found.rows[query].tolist() == expected[:k]
    assert (made.search(images, 50).rows == MISSING).sum(axis=1).tolist() == [12] * 40
    made.add(images.take(removed))
    assert sorted(made.search(images, 40).rows[0]) == [row for row in range(42) if row not in removed]


def test_an_encoder_without_a_classifier_is_refused(images: ImageSet, runtime: Runtime, tmp_path: Path) -> None:
    with raises(RecipeError, "no-classifier", "pixels"):
        retriever(runtime, "pixels").train(images)
