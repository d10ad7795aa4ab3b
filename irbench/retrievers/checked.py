"""What components return, checked: an object of one's own may return anything."""

from typing import Any

from irbench.core.description import Description
from irbench.core.errors import ContractError
from irbench.core.ranking import Ranking


def as_ranking(found: Any, who: Any, queries: int) -> Ranking:
    """Return what the search of `who` returned, which has to be a `Ranking` of so many queries."""
    name = type(who).__name__
    if not isinstance(found, Ranking):
        raise ContractError(
            f"{name}.search returned {type(found).__name__}, not a Ranking; see irbench.Ranking.from_topk",
            code="not-a-ranking",
        )
    if len(found) != queries:
        raise ContractError(
            f"{name}.search returned a ranking of {len(found)} queries, not {queries}", code="wrong-shape"
        )
    return found


def described(part: Any, kind: str) -> Description:
    """Return what an object reports of itself, or its class's name where it reports nothing."""
    if hasattr(part, "describe"):
        found = part.describe()
        if not isinstance(found, Description):
            raise ContractError(
                f"{type(part).__name__}.describe returned {type(found).__name__}, not a Description",
                code="not-a-description",
            )
        return found
    return Description(details={kind: type(part).__qualname__})
