"""What every encoder has to keep."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from irbench.config.registry import ENCODERS
from irbench.core.benchmark import ImageSet
from irbench.core.embeddings import Embeddings
from irbench.protocols import ClassifyingEncoder, Encoder, Trainable
from irbench.retrievers.adapters import as_encoder
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import Timer
from irbench.testing import toys
from irbench.testing.contracts import Check, Contract, contracts, demand, demand_description, demand_refusal
from irbench.testing.subjects import Subject, subject


def check_encoder(
    encoder: Any, *, config: Any = None, recipe: str | None = None, runtime: Runtime | None = None, **limits: Any
) -> None:
    """Check every contract of an encoder, on 40 images of 40 x 40 pixels; one that can be trained is trained on these.

    Args:
        encoder: A registered name, a class, or an object that is trained and ready to encode.
        config: What a class is built with, instead of its recipe's values.
        recipe: The recipe of methods to build a class from, by default the one that is called like it.
        runtime: Device, precision and weights, by default a CPU in fp32; work files go to a temporary folder.
        **limits: Keys of the recipe to set; those that are not given and decide how long it takes are set to little.

    Raises:
        AssertionError: A contract is broken; the message says which one, what was due and what came.
    """
    for contract in encoder_contracts(encoder, config=config, recipe=recipe, runtime=runtime, **limits):
        contract()


def encoder_contracts(
    encoder: Any, *, config: Any = None, recipe: str | None = None, runtime: Runtime | None = None, **limits: Any
) -> Iterator[Contract[Encoder]]:
    """Yield the contracts that `check_encoder` checks, each to be called by itself."""
    if not isinstance(encoder, str | type):
        encoder = as_encoder(encoder)  # which takes PIL images, as `irbench.evaluate` gives them to it
    return contracts(_CHECKS, subject(encoder, ENCODERS, config=config, recipe=recipe, runtime=runtime, limits=limits))


def _every_image_gets_a_finite_vector_of_its_own(made: Subject[Encoder]) -> None:
    vectors = _encoded(_trained(made), toys.images())
    demand(len(vectors) == 40 and vectors.shape[1] > 0, due="an array [40, D]", came=vectors.shape)
    distinct = len(np.unique(vectors.round(4), axis=0))
    demand(distinct > 20, due="different vectors for different images", came=f"{distinct} distinct ones for 40 images")


def _a_vector_does_not_depend_on_the_batch(made: Subject[Encoder]) -> None:
    encoder, images = _trained(made), toys.images()
    together = _encoded(encoder, images)
    for rows in ([7, 30, 2], [11]):
        alone = _encoded(encoder, images.take(np.array(rows)))
        _demand_close(alone, together[rows], due=f"the vectors of rows {rows} as among all images")


def _encoding_twice_gives_the_same(made: Subject[Encoder]) -> None:
    encoder, images = _trained(made), toys.images()
    first = _encoded(encoder, images)
    _demand_equal(_encoded(encoder, images), first, due="equal vectors for equal images")


def _equal_seeds_give_equal_vectors(made: Subject[Encoder]) -> None:
    found = []
    for work in ("one", "other"):  # two work folders, so that nothing is taken up from the first
        np.random.seed(len(work))  # noqa: NPY002 -- whatever the caller has drawn before
        torch.manual_seed(len(work))
        found.append(_encoded(_trained(made, seed=1, work=work), toys.images()))
    _demand_equal(found[1], found[0], due="equal vectors for equal seeds")


def _a_new_object_takes_up_what_was_trained(made: Subject[Encoder]) -> None:
    first = _encoded(_trained(made), toys.images())
    _demand_equal(_encoded(_trained(made), toys.images()), first, due="the vectors of the first training")


def _images_stay_as_they_are(made: Subject[Encoder]) -> None:
    images = toys.images()
    encoder = _trained(made, images=images)
    _encoded(encoder, images)
    demand(
        np.array_equal(toys.pixels(images), toys.pixels(toys.images())),
        due="the images as they were",
        came="other pixels",
    )


def _encoding_before_training_is_refused(made: Subject[Encoder]) -> None:
    encoder = made.make(work="untrained")
    if isinstance(encoder, Trainable) and not made.ready:
        demand_refusal(lambda: encoder.encode(toys.images()), Exception, what="the encoder was never trained")


def _bypassing_caches_gives_the_same(made: Subject[Encoder]) -> None:
    encoder, images = _trained(made), toys.images()
    vectors = _encoded(encoder, images)
    with Timer(bypass_cache=True).run():
        _demand_equal(_encoded(encoder, images), vectors, due="equal vectors while latency is measured")


def _the_encoder_describes_itself(made: Subject[Encoder]) -> None:
    described = _trained(made).describe()
    demand_description(described)
    if described.backbone is not None:
        weights, stored = 4 * described.backbone.parameters, described.model_bytes
        demand(stored > 0 or weights == 0, due="bytes of a model that has parameters", came=stored)


def _a_classifier_knows_the_training_classes(made: Subject[Encoder]) -> None:
    encoder, images = _trained(made), toys.images()
    if not isinstance(encoder, ClassifyingEncoder) or made.ready:  # of a ready one the training images are not known
        return
    vectors, chances = encoder.classify(images)
    _demand_close(vectors.array, _encoded(encoder, images), due="the vectors of `encode`")
    shape = (len(images), len(np.unique(images.labels)))
    demand(chances.shape == shape, due=f"log-probabilities {list(shape)}", came=list(chances.shape))
    sums = np.exp(chances).sum(axis=1)
    demand(np.allclose(sums, 1, atol=1e-3), due="probabilities that sum to 1", came=f"sums from {sums.min():g}")


_CHECKS: Sequence[Check[Encoder]] = (
    _every_image_gets_a_finite_vector_of_its_own,
    _a_vector_does_not_depend_on_the_batch,
    _encoding_twice_gives_the_same,
    _equal_seeds_give_equal_vectors,
    _a_new_object_takes_up_what_was_trained,
    _images_stay_as_they_are,
    _encoding_before_training_is_refused,
    _bypassing_caches_gives_the_same,
    _the_encoder_describes_itself,
    _a_classifier_knows_the_training_classes,
)


def _trained(made: Subject[Encoder], *, seed: int = 0, work: str = "work", images: ImageSet | None = None) -> Encoder:
    encoder = made.make(seed=seed, work=work)
    if isinstance(encoder, Trainable) and not made.ready:
        encoder.train(images or toys.images())
    return encoder


def _encoded(encoder: Encoder, images: ImageSet) -> NDArray[np.float32]:
    vectors = encoder.encode(images)
    demand(isinstance(vectors, Embeddings), due="Embeddings", came=type(vectors).__name__)
    return vectors.array


def _demand_equal(came: NDArray[np.float32], vectors: NDArray[np.float32], *, due: str) -> None:
    demand(np.array_equal(came, vectors), due=due, came=_difference(came, vectors))


def _demand_close(came: NDArray[np.float32], vectors: NDArray[np.float32], *, due: str) -> None:
    close = came.shape == vectors.shape and np.allclose(came, vectors, rtol=1e-3, atol=1e-4 * np.abs(vectors).max())
    demand(close, due=due, came=_difference(came, vectors))


def _difference(came: NDArray[np.float32], vectors: NDArray[np.float32]) -> str:
    if came.shape != vectors.shape:
        return f"shape {came.shape} instead of {vectors.shape}"
    return f"differences of up to {np.abs(came - vectors).max():g}"
