"""The diagnostics of identifiers as text: a column for each kind, a row for each figure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from irbench.experiments.diagnose import Examined
from irbench.metrics.diagnostics import loss_gap

_ALL_UP_TO = 8  # positions; of more, every doubling is shown
_GAP = "—"
_LEGEND = (
    "entropy N: of the Nth code, in bits; cluster purity N: the share of images whose class is the commonest one",
    "among the images with the same first N codes; oracle: the precision of a decoder that always ranks the best",
    "identifiers first; entropy lower bound, in nats per code: the loss of a decoder that knows everything but which",
    "image of the class is the target; loss above the bound, in nats per identifier (label smoothing alone keeps it",
    "above 0); reached, loss and valid-identifier rate (share of generated sequences, without the trie, that are",
    "identifiers of the gallery): of the decoder of a stored result",
)


def render(examined: Sequence[Examined]) -> str:
    """Return the figures of the identifiers of one data set, aligned."""
    columns = {one.identifier: dict(_figures(one, one.before)) for one in examined if one.before is not None}
    lines = [_title(examined[0])]
    if columns:
        longest = max(columns.values(), key=len)  # every other kind's rows are among its rows
        first = max(map(len, longest))
        widths = {name: max(len(name), *map(len, column.values())) for name, column in columns.items()}
        lines += ["", "  ".join([" " * first, *(f"{name:>{width}}" for name, width in widths.items())])]
        for label in longest:
            cells = (f"{columns[name].get(label, ''):>{width}}" for name, width in widths.items())
            lines.append("  ".join([f"{label:<{first}}", *cells]))
        lines += ["", *_LEGEND]
    old = [one.identifier for one in examined if one.after is not None and not one.current]
    if old:
        lines.append(f"made by other code or recipes than these: the stored decoder of {', '.join(old)}")
    lines += [f"{one.identifier}: {one.reason}" for one in examined if one.reason]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _title(one: Examined) -> str:
    return f"identifiers on {one.dataset}, scale {one.scale}, seed {one.seed}"


def _figures(one: Examined, report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every row of one kind of identifier. Only the number of positions differs between kinds."""
    each = report["images_each"]
    yield "codebooks x size", f"{report['num_codebooks']} x {report['codebook_size']}"
    yield "images", f"{report['images']:,}"
    yield "identifiers in use", f"{report['in_use']:,}"
    yield "images of one, mean", f"{each['mean']:.1f}"
    yield "images of one, most", f"{each['max']:,}"
    yield "with an image alone", f"{each['histogram'].get('1', 0):,}"
    for label, key, digits in (
        ("codes used", "codes_used", 0),
        ("entropy", "entropy_bits", 2),
        ("cluster purity", "cluster_purity", 3),
    ):
        for m in _positions(report["num_codebooks"]):
            yield f"{label} {m}", f"{report[key][m - 1]:.{digits}f}"
    for name, best in report["oracle_precision"].items():
        yield f"oracle {name}", f"{best:.3f}"
    for name in report["oracle_precision"]:
        yield f"reached {name}", _figure((one.precision or {}).get(name))
    yield "entropy lower bound", _figure(report.get("entropy_lower_bound"))
    yield "loss reached", _figure(one.loss)
    yield "loss above the bound", _figure(loss_gap(report, one.loss))
    yield "valid-identifier rate", _figure((one.after or {}).get("valid_identifier_rate"))


def _positions(num_codebooks: int) -> list[int]:
    return [m for m in range(1, num_codebooks + 1) if m <= _ALL_UP_TO or m & (m - 1) == 0]


def _figure(value: Any) -> str:
    return _GAP if value is None else f"{value:.3f}"
