"""Ablations: IRGen with one thing varied, as families of cells. Tables 3, 4 and 6 and Figure 5 of the paper."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from irbench import recipes
from irbench.cell import Cell, Value
from irbench.errors import UsageError, check_choice
from irbench.grid import GRIDS, Request, cells
from irbench.recipes import MethodHead

Changes = tuple[tuple[str, Value], ...]


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What is varied, and the tables that tell what it made of it."""

    identifiers: tuple[str, ...] = ()
    changes: tuple[Changes, ...] = ((),)
    fresh: bool = False  # every method of the grid, with half of the gallery added after training
    tables: tuple[str, ...] = ("precision",)


ABLATIONS: Mapping[str, Ablation] = {
    "identifier": Ablation(identifiers=("random", "hkm", "hkm-200", "hkm-500", "rqvae", "semantic")),
    "length": Ablation(changes=tuple((("length", length),) for length in (2, 4, 6, 8))),
    "beam": Ablation(
        changes=(*((("beams", beams),) for beams in (1, 10, 20, 30)), (("decode", "exact"),)),
        tables=("precision", "latency", "components"),
    ),
    "fresh": Ablation(
        fresh=True,
        changes=(
            (),
            (("within", "similarity"),),
            (("rerank", 30),),
            (("beams", 100), ("rerank", 100)),
            (("unseen", "nearest"),),
            (("unseen", "write"),),
            (("unseen", "write"), ("within", "similarity"), ("rerank", 30)),
        ),
        tables=("precision", "precision_old", "precision_new", "setup"),
    ),
}


def ablation_cells(name: str, request: Request) -> list[Cell]:
    """Return the cells of an ablation; `request` says everything that it leaves open.

    Methods that write identifiers are varied, irgen where none is named; others take part only where images are added.
    """
    check_choice("ablation", name, ABLATIONS)
    chosen = ABLATIONS[name]
    named = request.methods or (GRIDS[request.grid] if chosen.fresh else ("irgen",))
    varied = tuple(method for method in named if _writes_identifiers(method))
    others = tuple(method for method in named if method not in varied)
    if others and not chosen.fresh:
        raise UsageError(f"ablate {name}: {', '.join(others)} writes no identifiers; leave it out, or name irgen")
    asked = [replace(request, methods=others, changes=(), fresh=True)] if others else []
    asked += [
        replace(
            request,
            methods=varied,
            identifiers=chosen.identifiers or request.identifiers,
            changes=tuple((dict(request.changes) | dict(changes)).items()),
            fresh=chosen.fresh,
        )
        for changes in chosen.changes
        if varied
    ]
    return list(dict.fromkeys(cell for one in asked for cell in cells(one)))


def _writes_identifiers(method: str) -> bool:
    return recipes.find("methods", method.partition("+")[0]).head(MethodHead).identifier is not None
