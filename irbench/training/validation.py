"""Which images a training learns nothing from, to be judged by them."""

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import RecipeError


def held_out(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Return rows that make up `share` of the set, spread evenly over its classes and sorted by them.

    At least one image of each class is left to learn from.
    """
    if not share:
        return np.empty(0, np.int64)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    candidates = by_class[1:][labels[by_class[1:]] == labels[by_class[:-1]]]  # all but the first of each class
    if not len(candidates):
        raise RecipeError(f"validation_share = {share}: no class has an image to spare; set it to 0")
    count = min(len(candidates), max(1, round(share * len(labels))))
    return candidates[np.arange(count) * len(candidates) // count]
