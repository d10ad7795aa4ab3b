"""The notes below a panel: what is missing and why, and what was left out of the numbers."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from irbench import paper
from irbench.core.text import as_text
from irbench.report.lines import Line, label, precision_of, why
from irbench.report.quantities import Quantity, at_full_load
from irbench.report.ranks import taken_together
from irbench.report.wording import enumerated, short
from irbench.results.schema import Dataset, Result

_DECODES = ("train_s", "encode_gallery_s")  # costs that decoding is a part of
_OF_A_DECODER = frozenset({"tokenizer", "rqvae", "irgen"})  # trainings that are not those of an encoder
_PAPER_CODES = 256
_FITS = {"center-crop": "its middle (center-crop)", "squash": "all of it, squashed"}
_SQUARE = frozenset({"digits", "omniglot-small", "omniglot-million"})  # data sets of square images
_TRAINED = 1.0  # seconds; less is no training
UNRELIABLE = "other programs used the CPU; rerun on an idle machine"


def notes_of(dataset: str, lines: Sequence[Line], columns: Sequence[Quantity]) -> Iterator[str]:
    """Yield the notes of a panel, each reason once with all seeds that it holds for."""
    results = [result for line in lines for result in line.results]
    yield from _reasons(lines, columns)
    yield from _weights(results)
    yield from _recipes(results)
    yield from _without_recipe(results)
    yield from _of_mteb(results)
    yield from _not_clip(results)
    yield from _starts(results)
    yield from _fits(dataset, results)
    yield from dict.fromkeys(_few_codes(results))
    yield from _rates_at_the_end(results)
    yield from _misses(results)
    yield from _imported(results)
    yield from _all_tied(results)
    yield from _without_counts(lines, columns)
    yield from _timed_apart(lines, columns)
    if any(column.key.endswith(("_ms", "_s")) for column in columns):
        yield from under_concurrent_load(results)
        if wide := [result for result in results if result.on_more_cores]:
            yield f"timed on more cores than the threads that are stated: {_cells(wide)}"
    if any(column.key == "load_per_s" for column in columns):
        yield from _under_load(results)
    if any(column.key in _DECODES for column in columns):
        yield from _decoded_again(results)
    yield from _trained_together(results)
    if any(column.key == "train_s" for column in columns):
        yield from _trained_apart(results)
    for facts in dict.fromkeys(result.dataset for result in results):
        yield from left_out_of(facts)
    if dataset in ("inshop", "inshop-incremental") and any(
        column.key.startswith("precision_irgen@") for column in columns
    ):
        yield paper.INSHOP_PRECISION


def _weights(results: Sequence[Result]) -> Iterator[str]:
    """Name the whole origin of weights that come from a file, of which rows have the first words only."""
    used = {result.backbone for result in results if result.backbone and "sha256:" in result.backbone.weights}
    yield from sorted(f"weights of {one.name}: {short(one.weights)}" for one in used)


def _trained_together(results: Sequence[Result]) -> Iterator[str]:
    """Say which networks were trained by several processes, whose batch norms may have other statistics."""
    for result in results:
        for task, facts in _tasks(result).items():
            processes = facts.get("processes") if isinstance(facts, dict) else None
            if isinstance(processes, list):
                counts = " and ".join(map(str, processes))
                yield f"{task} of {_cells([result])} was trained in {counts} processes (torchrun)"


def _under_load(results: Sequence[Result]) -> Iterator[str]:
    """Say what was tried under load and what is shown of it, and where the throughput had not settled."""
    loads = [(result, load) for result in results if (load := at_full_load(result))]
    tried = sorted({point.clients for result, _ in loads for point in result.cost.load or ()})
    yield (
        f"loaded: single queries of clients that ask at once ({', '.join(map(str, tried))} of them were tried), each "
        "on one thread (irbench time --clients), with irbench's own checks; shown for the fewest that get 95 % of the "
        "highest throughput"
    )
    for way in dict.fromkeys(load.way for _, load in loads):
        yield f"loaded by {way}: {_cells([result for result, load in loads if load.way == way])}"
    if rough := [result for result, load in loads if not load.steady]:
        yield f"under load the throughput had not settled: {_cells(rough)}"


def _decoded_again(results: Sequence[Result]) -> Iterator[str]:
    """Say whose images were decoded whenever they were needed, which takes longer than reading what was decoded."""
    if again := [result for result in results if result.environment.get("decoded_again")]:
        yield f"images were decoded whenever they were needed, for want of room on disk: {_cells(again)}"


def _timed_apart(lines: Sequence[Line], columns: Sequence[Quantity]) -> Iterator[str]:
    """Say that query times of different sessions stand beside each other."""
    for c, column in enumerate(columns):
        cells = [line.row.cells[c] for line in lines if line.row.kind == "measured"]
        known = [cell for cell in cells if column.timed and cell.value is not None]
        if len(known) > 1 and not taken_together(known):
            yield "query times were not taken together, so that none is marked: irbench time"
            return


def _without_counts(lines: Sequence[Line], columns: Sequence[Quantity]) -> Iterator[str]:
    """Name the rows of which it is not known whether each query had K results."""
    keys = {column.key for column in columns}
    rows = [
        line.row.method
        for line in lines
        if any(
            key in keys and one.mean is not None and one.short is None
            for result in line.results
            for key, one in result.metrics.items()
        )
    ]
    if rows:
        yield f"not known whether each query had K results, so that none is marked as the best: {', '.join(rows)}"


def left_out_of(facts: Dataset) -> Iterator[str]:
    """Say which queries and images of a data set are in no number."""
    if facts.without_positives:
        yield f"{facts.without_positives} of {facts.queries} queries have no positive in the gallery and are left out"
    if facts.bad_images:
        some = ", ".join(facts.left_out[:3]) + (" …" if len(facts.left_out) > 3 else "")
        named = f" ({some})" if some else ""
        yield f"images that were skipped (--on-bad-image skip), being unreadable or no files: {facts.bad_images}{named}"
    yield from facts.remarks


def _reasons(lines: Sequence[Line], columns: Sequence[Quantity]) -> Iterator[str]:
    """Yield a line for each reason of a gap that no row shows."""
    shown = {(_who(result), line.row.reason) for line in lines for result in line.results}
    seeds: dict[tuple[str, str], list[int]] = defaultdict(list)
    for result in (result for line in lines for result in line.results):
        for reason in _gaps(result, columns):
            seeds[_who(result), reason].append(result.seed)
    for (cell, reason), which in seeds.items():
        if (cell, reason) not in shown:
            yield f"{cell}, seed {_listed(which)}: {reason}"


def _recipes(results: Sequence[Result]) -> Iterator[str]:
    recipes = defaultdict(set)
    for result in results:
        recipes[_who(result)].add(result.recipe_in_force)
    yield from (f"{cell}: {len(used)} recipes, a row for each" for cell, used in recipes.items() if len(used) > 1)


def _without_recipe(results: Sequence[Result]) -> Iterator[str]:
    """Say which methods cannot be repeated from a recipe."""
    objects = [one for one in results if one.spec.origin == "object" and "mteb" not in one.retriever]
    cells = dict.fromkeys(map(label, objects))
    if cells:
        yield f"{', '.join(cells)}: a Python object or file, behind which no recipe stands"


def _of_mteb(results: Sequence[Result]) -> Iterator[str]:
    """Say that the precision of a row is not that of a model which MTEB loads."""
    loaded = [one for one in results if "mteb" in one.retriever and precision_of(one) != "fp32"]
    if loaded:
        cells = dict.fromkeys(map(label, loaded))
        yield f"{', '.join(cells)}: computes in the precision in which MTEB loads it, whatever the row states"


def _not_clip(results: Sequence[Result]) -> Iterator[str]:
    """Say that FT-CLIP, the paper's name of a method, was run on another network, where that is pretrained too."""
    networks = [result.backbone for result in results if result.method == "ft-clip" and result.backbone]
    others = {network.name for network in networks if "." in network.name and "clip" not in network.name}
    if others:
        yield f"ft-clip: the paper's method of this name, on {', '.join(sorted(others))} in place of CLIP"


def _starts(results: Sequence[Result]) -> Iterator[str]:
    """Name the encoders that are trained before a decoder, and say that their training counts."""
    found: dict[str, list[Result]] = defaultdict(list)
    for one in results:
        for encoder in _tasks(one) if one.identifier else ():
            if encoder not in _OF_A_DECODER:
                found[encoder].append(one)
    for encoder, starting in found.items():
        yield f"trained on top of {encoder}, whose training counts as theirs: {_cells(starting)}"


def _fits(dataset: str, results: Sequence[Result]) -> Iterator[str]:
    """Say which rows see another part of an image, where images are not square: it can decide more than the method."""
    found: dict[str, list[Result]] = defaultdict(list)
    for one in results:
        for fit in _fits_of(one):
            found[fit].append(one)
    if len(found) < 2 or dataset.removesuffix("-incremental") in _SQUARE:
        return
    *fewer, most = sorted(found, key=lambda fit: len(found[fit]))
    seen = {fit: _FITS.get(fit, f'it by fit = "{fit}"') for fit in found}  # of a user's own, too
    parts = "; ".join(f"the networks of {_cells(found[fit])} see {seen[fit]}" for fit in fewer)
    yield f"of an image that is not square, {parts}; the others {seen[most]}"


def _fits_of(result: Result) -> set[str]:
    """Return how a result's networks make an image square: the `fit` of each recipe that has a backbone."""
    said, asked = dict(result.recipe_in_force), result.overrides
    recipes = (key.removesuffix(".backbone") for key in said if key.endswith(".backbone"))
    own = {name: json.loads(said.get(f"{name}.fit", '"center-crop"')) for name in recipes}
    return {str(asked.get(f"{name}.fit", asked.get("fit", fit))) for name, fit in own.items()}


def _few_codes(results: Sequence[Result]) -> Iterator[str]:
    """Say which rows of RQ-VAE tell nothing of the paper's, as their codebooks are smaller."""
    for result in results:
        size = result.retriever.get("codebook_size")
        if result.identifier == "rqvae" and size not in (None, _PAPER_CODES):
            yield f"{label(result)}: codebooks of {size} codes, {_PAPER_CODES} in the paper, whose row is another"


def _tasks(result: Result) -> Mapping[str, Any]:
    """Return the trainings that a result reports, by their names."""
    training = result.retriever.get("training")
    return training if isinstance(training, dict) else {}


def _rates_at_the_end(results: Sequence[Result]) -> Iterator[str]:
    """Name the trainings whose learning rate is the smallest or the largest of those that were tried."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for result in results:
        for task, chosen, tried in _chosen_rates(result):
            if chosen in (min(tried), max(tried)):
                beyond = "smaller" if chosen == min(tried) else "larger"
                what = f"{task}'s learning rate {chosen:g} is the end of those tried, and a {beyond} one may be better"
                found[_who(result), what].append(result.seed)
    yield from (f"{cell}, seed {_listed(seeds)}: {what}" for (cell, what), seeds in found.items())


def _chosen_rates(result: Result) -> Iterator[tuple[str, float, Sequence[float]]]:
    """Yield each training that chose its learning rate, the rate, and those tried."""
    for task, curves in _tasks(result).items():
        if isinstance(curves, dict) and curves.get("lr_tried"):
            yield task, curves["lr"][0], curves["lr_tried"]


def _who(result: Result) -> str:
    return f"{label(result)} ({result.scale})"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(set(numbers))))


def _gaps(result: Result, columns: Sequence[Quantity]) -> Iterator[str]:
    if result.status != "ok":
        yield why(result)
        return
    reasons = defaultdict(list)
    for column in columns:
        if reason := column.read(result).reason:
            reasons[reason].append(column.key)
    for reason, keys in reasons.items():
        yield f"{', '.join(keys)}: {reason}"


def under_concurrent_load(results: Sequence[Result]) -> Iterator[str]:
    """Say which times were measured under concurrent load, and may be too long for no fault of the method."""
    seeds: dict[str, list[int]] = defaultdict(list)
    for result in results:
        if result.under_concurrent_load:
            seeds[result.cell].append(result.seed)
    if not seeds:
        return
    which = ", ".join(f"{cell} (seed {_listed(found)})" for cell, found in seeds.items())
    of = "" if sum(map(len, seeds.values())) == len(results) > 1 else f" of {which}"
    yield f"timings{of} unreliable: {UNRELIABLE}"


def _trained_apart(results: Sequence[Result]) -> Iterator[str]:
    """Say under which conditions networks were trained: a remembered one brings its own."""
    trained = [result for result in results if (result.cost.train_s or 0) >= _TRAINED]
    busy = [result for result in trained if result.trained_under_concurrent_load]
    if busy:
        yield f"trained beside other programs, so that train_s may be too long: {_cells(busy)}"
    if unknown := [result for result in trained if result.cost.training is None or result.cost.training.load is None]:
        yield f"load while training not recorded: {_cells(unknown)}"
    names = {name for result in trained if result.cost.training for name in result.cost.training.processors}
    if len(names) > 1:
        yield f"trained on different processors: {', '.join(sorted(names))}"


def _cells(results: Sequence[Result]) -> str:
    return enumerated(list(dict.fromkeys(result.cell for result in results)))


def _misses(results: Sequence[Result]) -> Iterator[str]:
    """Say what beam search would have missed, where decoding is exact."""
    found: dict[str, dict[int, tuple[float, float]]] = defaultdict(dict)
    for result in results:
        missed = result.retriever.get("beam_misses")
        if isinstance(missed, dict):
            leaves, queries = (100 * float(str(missed[share])) for share in ("leaves", "queries"))
            found[label(result)][result.seed] = (leaves, queries)
    for cell, by_seed in found.items():
        leaves_missed, queries_hit = zip(*by_seed.values(), strict=True)
        yield (
            f"{cell}, seed {_listed(list(by_seed))}: beam search would have missed {_range(leaves_missed, 2)} % of "
            f"these identifiers, at least one for {_range(queries_hit, 1)} % of the queries"
        )


def _all_tied(results: Sequence[Result]) -> Iterator[str]:
    """Say where scores tell nothing apart, as of vectors that are all the same."""
    for result in results:
        share: Any = result.retriever.get("all_tied")
        if share:
            yield (
                f"{_who(result)}, seed {result.seed}: all results of {100 * share:.3g} % of the queries have the same "
                "score, and are in the order of the gallery"
            )


def _imported(results: Sequence[Result]) -> Iterator[str]:
    """Say what was left out of an imported ranking, or guessed."""
    for result in results:
        facts: Any = result.retriever.get("imported", {})
        if notes := facts.get("notes"):
            yield f"{result.cell}, seed {result.seed}: {as_text('; '.join(notes))}"


def _range(values: Sequence[float], digits: int) -> str:
    bounds = dict.fromkeys(f"{value:.{digits}f}" for value in (min(values), max(values)))
    return " to ".join(bounds)
