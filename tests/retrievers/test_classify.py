"""The control: classes by posterior, images of a class by similarity."""

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


def retriever(runtime: Runtime, encoder: str = "ft-clip", **overrides: object) -> ClassifyRetriever:
    keys = (("classify.encoder", encoder), *((f"{encoder}.{key}", value) for key, value in overrides.items()))
    cell = Cell(method="classify", dataset="digits", scale="tiny", epochs=2, overrides=keys)
    return ClassifyRetriever(Config(encoder=encoder), runtime, Builder(cell, runtime))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "keys", "unit"),
    [("ft-clip", {"cosine": True}, True), ("ft-clip", {"cosine": False}, False), ("cgd", {}, True)],
)
def test_rankings_are_those_of_a_loop_over_classes_and_images(
    images: ImageSet, runtime: Runtime, encoder: str, keys: dict[str, bool], *, unit: bool
) -> None:
    made = retriever(runtime, encoder, **keys)
    trained, k = images.take(np.arange(0, 40, 2)), 25
    made.train(trained)
    made.index(images)
    removed = np.array([3, 12])
    made.remove(removed)
    found = made.search(images, k)

    compared, posterior = made._encoder.classify(images)
    vectors = compared.array
    assert vectors == pytest.approx(made._encoder.encode(images).array, abs=1e-6)
    assert (np.linalg.norm(vectors, axis=1) == pytest.approx(1)) == unit
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


@pytest.mark.parametrize("encoder", ["pixels", "irt-r"])
def test_an_encoder_without_a_classifier_is_refused_before_it_is_trained(
    images: ImageSet, runtime: Runtime, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("irbench.training.loop._Run", None)
    with raises(RecipeError, "no-classifier", encoder):
        retriever(runtime, encoder).train(images)
