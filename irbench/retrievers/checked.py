"""What components return, checked: an object of one's own may return anything."""

from collections.abc import Iterator, Mapping
from typing import Any

from irbench.core.description import Backbone, Description
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
        _check(found, type(part).__name__)
        return found
    return Description(details={kind: type(part).__qualname__})


def _check(found: Description, who: str) -> None:
    """Refuse what a result could not hold."""
    for what, value, kind in _parts(found):
        whole = kind is int and (isinstance(value, bool) or not isinstance(value, int) or value < 0)
        if whole or not isinstance(value, kind):
            due = "a whole number from 0" if kind is int else f"a {kind.__name__}"
            raise ContractError(f"{who}.describe: {what} is {value!r:.60}, not {due}", code="bad-description")


def _parts(found: Description) -> Iterator[tuple[str, object, type]]:
    """Yield the parts of a description, and of which type each has to be."""
    yield from (("model_bytes", found.model_bytes, int), ("index_bytes", found.index_bytes, int))
    yield "details", found.details, Mapping
    if found.backbone is not None:
        yield "backbone", found.backbone, Backbone
        yield from ((f"{name} of the backbone", getattr(found.backbone, name), str) for name in ("name", "weights"))
        yield "parameters of the backbone", found.backbone.parameters, int
