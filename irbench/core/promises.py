"""What a searcher promises of its results."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Promises:
    """The class attribute `promises` of a searcher; `irbench.testing.check_searcher` holds the class to it.

    A class without one promises what these defaults say: it finds some of the true neighbours.
    """

    recall: float = 0.1  # least share of the true 10 nearest that is found, on 2000 toy vectors at the recipe's setting
    exact_scores: bool = False  # minus the squared distance to the vector itself, not to a quantised or projected one
