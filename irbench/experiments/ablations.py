"""Ablations: one thing varied, as families of cells; Tables 3, 4 and 6 and Figure 5 of the paper are some of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import cast

from irbench.config import recipes
from irbench.config.recipes import MethodHead
from irbench.core.cell import Cell, Overrides
from irbench.core.errors import UsageError, check_choice
from irbench.experiments.plan import GRIDS, Request, all_searches, cells, default_values, only_methods, override, sweep


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What is varied, and the tables that show its effect."""

    identifiers: tuple[str, ...] = ()
    overrides: tuple[Overrides, ...] = ((),)
    incremental: bool = False  # every method of the grid, with half of the gallery added after training
    epochs: tuple[float, ...] = ()  # of the decoder, as multiples of the recipe's
    embedding: bool = False  # every encoder of the grid, its embeddings in fewer dimensions and in fewer bits
    index: bool = False  # every encoder of the grid, its indexes at all points of their curves
    tables: tuple[str, ...] = ("precision",)


ABLATIONS: Mapping[str, Ablation] = {
    "identifier": Ablation(identifiers=("random", "hkm", "hkm-200", "hkm-500", "rqvae", "semantic")),
    "length": Ablation(overrides=tuple((("num_codebooks", length),) for length in (2, 4, 6, 8))),
    "training": Ablation(
        identifiers=("random", "hkm", "semantic"), epochs=(0.5, 1, 2, 4, 8), tables=("precision", "training")
    ),
    "beam": Ablation(
        overrides=(*((("beam_size", beams),) for beams in (1, 8, 10, 20, 30)), (), (("decode", "exact"),)),
        tables=("precision", "latency", "components"),
    ),
    "fresh": Ablation(
        incremental=True,
        overrides=(
            (),
            (("within", "similarity"),),
            (("rerank", 30),),
            (("rerank", 100),),
            (("unseen", "nearest"),),
            (("unseen", "generate"),),
            (("unseen", "generate"), ("within", "similarity"), ("rerank", 30)),
        ),
        tables=("precision", "precision_old", "precision_new", "setup"),
    ),
    "embedding": Ablation(embedding=True, tables=("precision", "footprint")),
    "index": Ablation(index=True, tables=("precision", "search")),
}


_EXACT, _COMPACT = "linear", ("fp16", "sq8", "binary")
_REDUCED = tuple({f"embedding.{how}": number} for how in ("dims", "pca") for number in (256, 128, 64, 32, 16))


def ablation_cells(name: str, request: Request) -> list[Cell]:
    """Return the cells of an ablation; `request` says everything that it leaves open."""
    check_choice("ablation", name, ABLATIONS)
    chosen = ABLATIONS[name]
    if chosen.index:
        found = _indexes(request)
    elif chosen.embedding:
        found = _embeddings(request)
    else:
        found = _decoders(name, chosen, request)
    return list(dict.fromkeys(found))


def _encoders(name: str, request: Request) -> list[str]:
    """Return the methods that search vectors: those that are named, or that the data sets or the grid have."""
    only = dict.fromkeys(method for dataset in request.datasets for method in only_methods(dataset))
    named = request.methods or only or [method for method in GRIDS[request.grid] if _searches_vectors(method)]
    if others := [method for method in named if not _searches_vectors(method)]:
        raise UsageError(
            f"ablate {name}: {', '.join(others)} searches no vectors; leave it out, or name ft-clip", code="no-search"
        )
    return list(named)


def _embeddings(request: Request) -> list[Cell]:
    """Each encoder's embeddings as they are, in fewer dimensions, and in fewer bits, always compared one by one."""
    encoders = dict.fromkeys(method.partition("+")[0] for method in _encoders("embedding", request))
    found = []
    for encoder in encoders:
        exact = replace(request, methods=(f"{encoder}+{_EXACT}",))
        for changes in ({}, *_REDUCED):
            overrides = tuple((dict(request.overrides) | changes).items())
            found += cells(replace(exact, overrides=overrides))
        found += cells(replace(request, methods=tuple(f"{encoder}+{search}" for search in _COMPACT)))
        bits_alone = tuple((dict(request.overrides) | {"rerank": 0}).items())
        found += cells(replace(request, methods=(f"{encoder}+binary",), overrides=bits_alone))
    return found


def _indexes(request: Request) -> list[Cell]:
    """Every point of each index's curve, and one for an index with nothing to set; a method alone has all indexes."""
    named = _encoders("index", request)
    pairs = [[method] if "+" in method else [f"{method}+{search}" for search in all_searches()] for method in named]
    return [point for cell in cells(replace(request, methods=tuple(chain(*pairs)))) for point in sweep(cell)]


def _decoders(name: str, chosen: Ablation, request: Request) -> list[Cell]:
    """Methods that generate identifiers, varied, irgen where none is named; others only on an incremental gallery."""
    named = request.methods or (GRIDS[request.grid] if chosen.incremental else ("irgen",))
    varied = tuple(method for method in named if _generates_identifiers(method))
    others = tuple(method for method in named if method not in varied)
    if others and not chosen.incremental:
        raise UsageError(
            f"ablate {name}: {', '.join(others)} generates no identifiers; leave it out, or name irgen",
            code="no-identifiers",
        )
    asked = [replace(request, methods=others, overrides=(), incremental=True)] if others else []
    asked += [
        replace(
            request,
            methods=varied,
            identifiers=chosen.identifiers or request.identifiers,
            overrides=tuple((dict(request.overrides) | dict(changes)).items()),
            incremental=chosen.incremental,
        )
        for changes in chosen.overrides
        if varied
    ]
    found = [cell for one in asked for cell in cells(one)]
    return [_trained_longer(cell, share) for cell in found for share in chosen.epochs] if chosen.epochs else found


def _trained_longer(cell: Cell, share: float) -> Cell:
    """Return the cell with another number of epochs of its decoder, and of nothing that it is built on."""
    defaults, asked, key = default_values(cell), dict(cell.overrides), f"{cell.method}.epochs"
    usual = asked.get(key, asked.get("epochs", defaults[key]))
    epochs = max(1, round(share * cast("int", usual)))
    return override(cell, tuple((asked | {key: epochs}).items()), defaults)


def _generates_identifiers(method: str) -> bool:
    return _head(method).identifier is not None


def _searches_vectors(method: str) -> bool:
    return _head(method).encoder is not None


def _head(method: str) -> MethodHead:
    return recipes.find("methods", method.partition("+")[0]).head(MethodHead)
