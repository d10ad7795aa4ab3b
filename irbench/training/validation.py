"""The choice of images that are held out of training for validation."""

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import RecipeError


def held_out(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Return the rows of a `share` of the set, spread evenly over its classes and sorted by class.

    At least one image of each class stays in training. Raises `RecipeError` if no class has two images.
    """
    if not share:
        return np.empty(0, np.int64)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    candidates = by_class[1:][labels[by_class[1:]] == labels[by_class[:-1]]]  # all but the first of each class
    if not len(candidates):
        raise RecipeError(f"validation_share = {share}: no class has two images; set it to 0", code="too-few-images")
    count = min(len(candidates), max(1, round(share * len(labels))))
    return candidates[np.arange(count) * len(candidates) // count]
