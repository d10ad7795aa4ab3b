"""How large a change has to be to count."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["better", "same", "worse"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is tolerated; shares are of 1."""

    alpha: float = 0.01  # chance of any false alarm among all tests of quality
    floor: float = 0.005  # a mean that moved less does not matter …
    net: float = 0.005  # … unless few queries changed, and on balance so many of all moved one way
    few: float = 0.10
    slower: float = 2.0  # ratio of the times of a query; other prices follow from it


def judge(move: float, *, counts: bool) -> Verdict:
    """Name a change of something of which more is better."""
    return "same" if not counts or move == 0 else "better" if move > 0 else "worse"


def overall(verdicts: Collection[Verdict]) -> Verdict:
    """Return the worst news, else the best: what got worse is not made up for by something else."""
    return "worse" if "worse" in verdicts else "better" if "better" in verdicts else "same"
