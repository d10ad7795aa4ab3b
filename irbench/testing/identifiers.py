"""What every kind of identifier has to keep."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irbench.config.registry import IDENTIFIERS
from irbench.core.benchmark import ImageSet
from irbench.core.identifiers import Identifiers
from irbench.protocols import Identifier, Trainable
from irbench.runtime.machine import Runtime
from irbench.testing import toys
from irbench.testing.contracts import Check, Contract, contracts, demand, demand_description, demand_refusal
from irbench.testing.subjects import Subject, subject


def check_identifier(
    identifier: Any, *, config: Any = None, recipe: str | None = None, runtime: Runtime | None = None, **limits: Any
) -> None:
    """Check every contract of a kind of identifier, on 40 images of 40 x 40 pixels that it is trained on if need be.

    Args:
        identifier: A registered name, a class, or an object that is trained and ready to encode.
        config: What a class is built with, instead of its recipe's values.
        recipe: The recipe of methods/identifier to build a class from, by default the one that is called like it.
        runtime: Device and precision, by default a CPU in fp32; work files go to a temporary folder in any case.
        **limits: Keys of the recipe to set; those that are not given and decide how long it takes are set to little.

    Raises:
        AssertionError: A contract is broken; the message says which one, what was due and what came.
    """
    for contract in identifier_contracts(identifier, config=config, recipe=recipe, runtime=runtime, **limits):
        contract()


def identifier_contracts(
    identifier: Any, *, config: Any = None, recipe: str | None = None, runtime: Runtime | None = None, **limits: Any
) -> Iterator[Contract[Identifier]]:
    """Yield the contracts that `check_identifier` checks, each to be called by itself."""
    return contracts(
        _CHECKS, subject(identifier, IDENTIFIERS, config=config, recipe=recipe, runtime=runtime, limits=limits)
    )


def _every_image_gets_codes_within_the_codebook(made: Subject[Identifier]) -> None:
    found = _trained(made).encode(toys.images())
    demand(isinstance(found, Identifiers), due="Identifiers, whose codes are checked", came=type(found).__name__)
    demand(len(found) == 40, due="40 identifiers for 40 images", came=len(found))


def _codes_do_not_depend_on_the_batch(made: Subject[Identifier]) -> None:
    identifier, images = _trained(made), toys.images()
    together = _codes(identifier, images)
    shuffled = np.random.default_rng(0).permutation(len(images))
    for rows in (shuffled, shuffled[:1]):
        _demand_equal(_codes(identifier, images.take(rows)), together[rows], due="the codes as among all images")


def _equal_seeds_give_equal_codes(made: Subject[Identifier]) -> None:
    found = [_codes(_trained(made, work=work), toys.images()) for work in ("work", "work", "elsewhere")]
    _demand_equal(found[1], found[0], due="the codes of the first training, taken up again")
    _demand_equal(found[2], found[0], due="equal codes for equal seeds")


def _images_that_were_not_trained_on_get_codes_too(made: Subject[Identifier]) -> None:
    identifier, images = _trained(made), toys.images()
    known = identifier.encode(images)
    new = replace(images, ids=tuple(f"new {id_}" for id_ in images.ids), arrays=255 - toys.pixels(images))
    found = identifier.encode(new)
    shapes = [(len(each), each.num_codebooks, each.codebook_size) for each in (known, found)]
    demand(shapes[0] == shapes[1], due=f"images, codebooks and codebook size {shapes[0]}", came=shapes[1])


def _images_stay_as_they_are(made: Subject[Identifier]) -> None:
    images = toys.images()
    _trained(made, images=images).encode(images)
    demand(
        np.array_equal(toys.pixels(images), toys.pixels(toys.images())),
        due="the images as they were",
        came="other pixels",
    )


def _encoding_before_training_is_refused(made: Subject[Identifier]) -> None:
    identifier = made.make(work="untrained")
    if isinstance(identifier, Trainable) and not made.ready:
        demand_refusal(lambda: identifier.encode(toys.images()), Exception, what="the identifier was never trained")


def _the_description_holds_the_shape_of_the_codes(made: Subject[Identifier]) -> None:
    identifier = _trained(made)
    found, described = identifier.encode(toys.images()), identifier.describe()
    demand_description(described)
    shape = {"num_codebooks": found.num_codebooks, "codebook_size": found.codebook_size}
    demand(shape.items() <= described.details.items(), due=f"details with {shape}", came=dict(described.details))


_CHECKS: Sequence[Check[Identifier]] = (
    _every_image_gets_codes_within_the_codebook,
    _codes_do_not_depend_on_the_batch,
    _equal_seeds_give_equal_codes,
    _images_that_were_not_trained_on_get_codes_too,
    _images_stay_as_they_are,
    _encoding_before_training_is_refused,
    _the_description_holds_the_shape_of_the_codes,
)


def _trained(made: Subject[Identifier], *, work: str = "work", images: ImageSet | None = None) -> Identifier:
    identifier = made.make(work=work)
    if isinstance(identifier, Trainable) and not made.ready:
        identifier.train(images or toys.images())
    return identifier


def _codes(identifier: Identifier, images: ImageSet) -> NDArray[np.int64]:
    return identifier.encode(images).codes


def _demand_equal(came: NDArray[np.int64], codes: NDArray[np.int64], *, due: str) -> None:
    same = came.shape == codes.shape and np.array_equal(came, codes)
    differs = (came != codes).any(axis=1).sum() if came.shape == codes.shape else came.shape
    demand(same, due=due, came=f"{differs} identifiers that differ")
