"""How large a change has to be to be reported."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["better", "same", "undecided", "worse"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is tolerated; shares are of 1."""

    alpha: float = 0.01  # chance of calling anything worse or better by chance, among all tests of quality
    floor: float = 0.005  # smallest difference of a mean that is reported …
    net: float = 0.005  # … unless few queries changed, and this share of all moved one way on balance
    few: float = 0.10
    slower: float = 2.0  # ratio of query times; the limits of other costs follow from it


def judge(move: float, *, counts: bool) -> Verdict:
    """Return the verdict on a change of something of which more is better."""
    return "same" if not counts or move == 0 else "better" if move > 0 else "worse"


def overall(verdicts: Collection[Verdict]) -> Verdict:
    """Return the verdict on all of them: the first of worse, undecided and better that is among them."""
    order: tuple[Verdict, ...] = ("worse", "undecided", "better")
    return next((verdict for verdict in order if verdict in verdicts), "same")
