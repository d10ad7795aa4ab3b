"""`irbench data`: get data sets, and look at them."""

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irbench.cli import options as o
from irbench.config import recipes
from irbench.core.errors import IrbenchError, UsageError
from irbench.core.text import as_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from irbench.core.benchmark import Benchmark
    from irbench.data.audit import Audit, Pair
    from irbench.data.verify import Count, Findings
    from irbench.results.without import Effect

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
    if qrels is None:
        place = datasets.placed(own.located(dataset, root), work)
    else:
        place = str(datasets.with_qrels(dataset, qrels, work))
    benchmark = datasets.load(place, data=data, crop=crop, protocol=protocol, files_must_exist=False, store=store)
    notes = [*own.differing(dataset, benchmark, root), *(own.judged_too(dataset, root) if qrels is None else ())]
    for note in notes:
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
    work: o.Work = Path("runs/work"),
    results: o.ResultsOut = None,
    as_json: o.AsJson = False,
) -> None:
    """Look at every image: counts, labels, what is missing, surplus, unreadable or copied. Status 1 if any is wrong."""
    from irbench.data import datasets
    from irbench.data.verify import verify as look
    from irbench.results import own
    from irbench.results.place import default_folder

    root = results or default_folder()
    named = own.located(dataset, root)
    place = datasets.placed(named, work)
    findings = look(datasets.find(place), data, crop=crop)
    if named != dataset:  # found by the name that results have
        with suppress(IrbenchError):  # which verify has named
            found = datasets.load(place, data=data, files_must_exist=False)
            findings = replace(findings, name=dataset, notes=[*own.differing(dataset, found, root), *findings.notes])
    typer.echo(json.dumps(_document(findings)) if as_json else "\n".join(_lines(findings, classes=classes)))
    raise typer.Exit(1 if findings.problems else 0)


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """The options of `irbench data audit`."""

    dataset: o.OneDataset
    data: o.Data = Path("data")
    crop: o.Crop = None
    protocol: o.Protocol = None
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            help="Encoder whose features decide, such as imagenet; by default thumbnails do.",
            autocompletion=o.names_of("methods"),
        ),
    ] = None
    bits: Annotated[
        int | None,
        typer.Option(
            "--bits",
            min=0,
            max=32,
            help="Bits of 64 in which hashes of near-duplicates may differ; by default 10, with --method 20.",
            show_default=False,
        ),
    ] = None
    alike: Annotated[
        float,
        typer.Option("--alike", min=0, max=1, help="Least correlation of their thumbnails, or cosine of features."),
    ] = 0.9
    out: Annotated[Path | None, typer.Option("--out", help="Folder for a page that shows them.")] = None
    results: o.ResultsOut = None
    work: o.Work = Path("runs/work")
    as_json: o.AsJson = False


@app.command()
@o.command(AuditOptions)
def audit(options: AuditOptions) -> None:
    """Find near-duplicates within and between splits, labels in conflict, and what results score without them."""
    from irbench.data import audit as bench
    from irbench.data import datasets
    from irbench.report.site import audit as page
    from irbench.results import own
    from irbench.results.files import read_all
    from irbench.results.hits import Reader
    from irbench.results.place import default_folder
    from irbench.results.without import effects
    from irbench.runtime.cache import Store

    if options.out is not None:
        page.check(options.out)
    root = options.results or default_folder()
    place = datasets.placed(own.located(options.dataset, root), options.work)
    benchmark = datasets.load(
        place, data=options.data, crop=options.crop, protocol=options.protocol, store=Store(options.work)
    )
    features = None if options.method is None else _features(options, benchmark)
    for note in own.judged_too(options.dataset, root):
        typer.echo(f"irbench: {note}", err=True)
    found = bench.audit(benchmark, bits=options.bits, alike=options.alike, features=features)
    stored = [result for result in read_all(root)[0] if result.dataset.fingerprint == benchmark.fingerprint]
    changed = list(effects(stored, Reader(root), benchmark, found.queries))
    typer.echo(json.dumps(_audited(found, changed)) if options.as_json else "\n".join(_audit_lines(found, changed)))
    if options.out is not None:
        typer.echo(f"images side by side: {page.write(found, changed, options.out)}", err=True)


def _features(options: AuditOptions, benchmark: "Benchmark") -> "dict[str, NDArray[np.float32]]":
    """Return the vectors that an encoder has for the images of each split."""
    from irbench.data.audit import SPLITS
    from irbench.experiments.plan import Request, experiments
    from irbench.experiments.settings import Settings
    from irbench.protocols import SearchesVectors

    request = Request(
        methods=(options.method,), searches=("linear",), datasets=(str(benchmark.path or options.dataset),),
        crop=benchmark.crop, protocol=benchmark.protocol,
    )  # fmt: skip
    settings = Settings(data=options.data, work=options.work, results=options.results or Path("runs/results"))
    (experiment,) = experiments(request, settings)
    retriever = experiment.trained()
    if not isinstance(retriever, SearchesVectors):
        raise UsageError(f"--method {options.method} has no vectors of images to compare", code="not-applicable")
    return {name: retriever.vectors(getattr(benchmark, name)) for name in SPLITS}


def _audited(found: "Audit", effects: "Sequence[Effect]") -> dict[str, Any]:
    pairs = [
        {
            "kind": pair.kind,
            "images": [as_text(pair.first.id), as_text(pair.second.id)],
            "labels": [pair.first.label, pair.second.label],
            "bits": pair.bits,
            "alike": round(pair.alike, 4),
            "mirrored": pair.mirrored,
        }
        for pair in found.pairs
    ]
    return {
        "name": found.benchmark.name,
        "fingerprint": found.benchmark.fingerprint,
        "images": found.images,
        "unreadable": [as_text(id_) for id_ in found.unreadable],
        "classes_of_one_image": found.alone,
        "complete": not found.cut,
        "pairs": pairs,
        "queries": found.queries.tolist(),
        "effects": [vars(one) | {"change": one.change} for one in effects],
    }


def _audit_lines(found: "Audit", effects: "Sequence[Effect]") -> list[str]:
    lines = [f"{found.benchmark.name}: {found.images:,} images compared", ""]
    for kind, pairs in found.by_kind.items():
        lines += _kind(f"alike, {kind}", [_pair_line(pair) for pair in pairs])
    if found.benchmark.labelled:
        lines += _kind("of them with other labels", [_pair_line(pair) for pair in found.conflicting])
        lines += [f"{'classes of one image':<26}{found.alone:>10,}"]
    lines += _kind("unreadable", found.unreadable)
    lines += [f"{'queries with one alike':<26}{len(found.queries):>10,}   among the training or gallery images", ""]
    if found.cut:
        lines += ["too many pairs have similar hashes to look at all of them: give fewer --bits", ""]
    return [*lines, *_effect_lines(found, effects)]


def _pair_line(pair: "Pair") -> str:
    turned = ", mirrored" if pair.mirrored else ""
    return f"{pair.first.id} = {pair.second.id} ({pair.bits} bits, {pair.alike:.2f}{turned})"


def _effect_lines(found: "Audit", effects: "Sequence[Effect]") -> list[str]:
    """Return what results score without the queries that have a near-duplicate, by precision at two K."""
    from irbench.report.site.audit import summed

    if not effects:
        return ["no stored result is about these images (--results)"]
    ks = found.benchmark.ks
    shown = {f"precision@{k}" for k in (min(ks), max(ks))}
    rows = [row for row in summed(effects) if row[1] in shown]
    head = "results without these queries"
    width = 2 + max(len(head), *(len(cell) for cell, *_ in rows))
    lines = [f"{head:<{width}}{'metric':<14}{'all':>8}{'without':>9}{'change':>8}"]
    for cell, metric, before, after in rows:
        changed = f"{after:>9.1f}{after - before:>+8.2f}" if after is not None else f"{'—':>9}{'—':>8}"
        lines.append(f"{cell:<{width}}{metric:<14}{before:>8.1f}{changed}")
    return lines


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
