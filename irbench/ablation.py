"""Ablations: IRGen with one thing varied, as families of cells. Tables 3, 4 and 6 and Figure 5 of the paper."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from irbench.cell import Cell, Value
from irbench.errors import check_choice
from irbench.grid import GRIDS, Request, cells

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
    """Return the cells of an ablation; `request` says everything that it leaves open."""
    check_choice("ablation", name, ABLATIONS)
    chosen = ABLATIONS[name]
    asked = [
        replace(
            request,
            methods=("irgen",),
            identifiers=chosen.identifiers or request.identifiers,
            changes=request.changes + changes,
            fresh=chosen.fresh,
        )
        for changes in chosen.changes
    ]
    if chosen.fresh:
        others = request.methods or tuple(method for method in GRIDS[request.grid] if method != "irgen")
        asked.insert(0, replace(request, methods=others, fresh=True, changes=()))
    return list(dict.fromkeys(cell for one in asked for cell in cells(one)))
