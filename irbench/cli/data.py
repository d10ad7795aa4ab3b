"""`irbench data`: get data sets, and look at them."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irbench.cli import options as o
from irbench.config import recipes
from irbench.core.errors import IrbenchError
from irbench.core.text import as_text

if TYPE_CHECKING:
    from collections.abc import Collection

    from irbench.data.verify import Count, Findings

app = typer.Typer(no_args_is_help=True, help="Get data sets, and look at them.")
_SHOWN = 5  # examples of each kind; --json has all of them


@app.command("list")
def list_(data: o.Data = Path("data")) -> None:
    """List the data sets, and which of them are here."""
    from irbench.data import datasets

    for name in recipes.names("datasets"):
        here = "here   " if datasets.find(name).is_here(data) else "missing"
        typer.echo(f"{name:<18} {here}  {recipes.find('datasets', name).title}")


@app.command()
def info(
    dataset: o.OneDataset,
    data: o.Data = Path("data"),
    crop: o.Crop = None,
    protocol: o.Protocol = None,
    work: o.Work = Path("runs/work"),
    results: o.ResultsOut = None,
    qrels: Annotated[
        Path | None, typer.Option("--qrels", help="Which images of your own are relevant to which, as for run.")
    ] = None,
    as_json: o.AsJson = False,
) -> None:
    """Print the counts of a data set and the fingerprint of its protocol."""
    from irbench.data import datasets
    from irbench.results import own
    from irbench.results.place import default_folder
    from irbench.runtime.cache import Store

    store, root = Store(work), results or default_folder()
    place = own.located(dataset, root) if qrels is None else datasets.with_qrels(dataset, qrels, work)
    benchmark = datasets.load(place, data=data, crop=crop, protocol=protocol, files_must_exist=False, store=store)
    for note in own.differing(dataset, benchmark, root):
        typer.echo(f"irbench: {note}", err=True)
    facts = datasets.summary(benchmark)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        text = ", ".join(f"{k} {v:,}" for k, v in value.items()) if isinstance(value, dict) else value
        text = "; ".join(map(str, value)) if isinstance(value, list) else text
        typer.echo(f"{name.replace('_', ' '):<26} {text}")


@app.command()
def fetch(
    dataset: o.OneDataset,
    data: o.Data = Path("data"),
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="You accept the terms that the data set comes with.")
    ] = False,
) -> None:
    """Download, check and unpack a data set; what was interrupted goes on."""
    from irbench.data import datasets
    from irbench.data.download.fetch import fetch as carry_out
    from irbench.data.download.fetch import plan

    found = datasets.find(dataset)
    planned = plan(found, data)
    root = carry_out(planned, license_accepted=accept_license, tell=lambda line: typer.echo(line, err=True))
    typer.echo(f"{found.name} is in {root}" if found.head.files else f"{found.name} needs {found.loader.shape}")
    typer.echo(f"whether it is whole: irbench data verify {found.name} --data {data}", err=True)


@app.command()
def verify(
    dataset: o.OneDataset,
    data: o.Data = Path("data"),
    crop: o.Crop = None,
    classes: Annotated[bool, typer.Option("--classes", help="Also count each class.")] = False,
    results: o.ResultsOut = None,
    as_json: o.AsJson = False,
) -> None:
    """Look at every image: counts, labels, what is missing, surplus, unreadable or copied. Status 1 if any is wrong."""
    from irbench.data import datasets
    from irbench.data.verify import verify as look
    from irbench.results import own
    from irbench.results.place import default_folder

    root = results or default_folder()
    place = own.located(dataset, root)
    findings = look(datasets.find(place), data, crop=crop)
    if place != dataset:  # found by the name that results have
        with suppress(IrbenchError):  # which verify has named
            found = datasets.load(place, data=data, files_must_exist=False)
            findings = replace(findings, name=dataset, notes=[*own.differing(dataset, found, root), *findings.notes])
    typer.echo(json.dumps(_document(findings)) if as_json else "\n".join(_lines(findings, classes=classes)))
    raise typer.Exit(1 if findings.problems else 0)


def _document(found: "Findings") -> dict[str, Any]:
    splits = {
        name: {"images": count.images, "classes": len(count.per_class), "per_class": count.per_class}
        for name, count in found.splits.items()
    }
    kinds = ("missing", "surplus", "irregular", "unreadable", "boxes", "doubtful_boxes", "labels", "notes", "problems")
    return {
        "name": found.name,
        "root": str(found.root),
        "sound": not found.problems,
        "expected_counts_known": found.expected,
        "splits": splits,
        "classes": found.classes,
        **{kind: getattr(found, kind) for kind in kinds},
        "contradicting": found.contradicting,
        "duplicates": [vars(copy) for copy in found.duplicates],
        "trained": [vars(copy) for copy in found.trained],
        "published_duplicates": found.published_duplicates,
    }


def _lines(found: "Findings", *, classes: bool) -> list[str]:
    lines = [f"{found.name} in {found.root}", "", f"{'split':<10}{'images':>12}{'classes':>10}   images a class"]
    lines += [_split_line(name, count) for name, count in found.splits.items()]
    if classes:
        lines += ["", *_class_lines(found)]
    lines += [
        "",
        *_kind("two labels", found.labels),
        *_kind("missing", found.missing),
        *_kind("surplus", found.surplus),
        *_kind("listed, but no files", [f"{id_}: a {kind}" for id_, kind in found.irregular.items()]),
        *_kind("unreadable", [f"{id_}: {why}" for id_, why in found.unreadable.items()]),
        *_kind("boxes that do not fit", [f"{id_}: {why}" for id_, why in found.boxes.items()]),
        *_kind("boxes hardly meant so", [f"{id_}: {why}" for id_, why in found.doubtful_boxes.items()]),
        *_kind("queries copied in gallery", [_copy_line(copy) for copy in found.duplicates]),
        *_kind("queries copied in train", [_copy_line(copy) for copy in found.trained]),
        *_kind("copies with another label", found.contradicting),
        *[f"note: {note}" for note in found.notes],
        "",
    ]
    return lines + _verdict(found)


def _split_line(name: str, count: "Count") -> str:
    low, high = count.range
    return f"{name:<10}{count.images:>12,}{len(count.per_class):>10,}   {low:,} to {high:,}"


def _class_lines(found: "Findings") -> list[str]:
    lines = [f"{'class':<10}" + "".join(f"{name:>10}" for name in found.splits) + "   first image"]
    for label, first in found.classes.items():
        counts = "".join(f"{count.per_class.get(label, 0):>10,}" for count in found.splits.values())
        lines.append(f"{label:<10}{counts}   {as_text(first)}")
    return lines


def _kind(what: str, found: "Collection[str]") -> list[str]:
    shown = [f"    {as_text(line)}" for line, _ in zip(found, range(_SHOWN), strict=False)]
    more = [f"    … and {len(found) - _SHOWN:,} more (--json has all)"] if len(found) > _SHOWN else []
    return [f"{what:<26}{len(found):>10,}", *shown, *more]


def _copy_line(copy: Any) -> str:
    return f"{copy.query} = {copy.gallery}" + ("" if copy.same_label else ", with another label")


def _verdict(found: "Findings") -> list[str]:
    if found.problems:
        return ["wrong:", *[f"  {problem}" for problem in found.problems]]
    if found.expected:
        copies = f"; {len(found.duplicates):,} of its queries are copies, as published" if found.duplicates else ""
        return [f"complete: every image that was published is here and can be read{copies}"]
    images = found.images
    return [f"OK: {images:,} image{'s' if images != 1 else ''}, no problems (no published counts to compare)"]
