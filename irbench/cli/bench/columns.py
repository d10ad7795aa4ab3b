"""The columns of the tables that `irbench bench` prints: the heading, and the value of a row as text."""

from collections.abc import Callable
from typing import Any


def or_gap(value: float | None, form: str) -> str:
    return "—" if value is None else format(value, form)


Columns = dict[str, Callable[[Any], str]]
POINT: Columns = {
    "precision": lambda p: p.precision,
    "blocks": lambda p: f"{p.num_layers}",
    "batch": lambda p: f"{p.batch}",
    "beam size": lambda p: f"{p.beam_size}",
    "latency ms": lambda p: f"{1000 * p.total_s:,.2f}",
    "queries/s": lambda p: f"{p.queries_per_s:.2f}",
    "x encoder": lambda p: f"{p.over_encoder:.2f}",
    "encoder": lambda p: f"{p.encoder_s / p.total_s:.0%}",
    "decoder": lambda p: or_gap(p.decoder_s and p.decoder_s / p.total_s, ".0%"),
    "trie": lambda p: or_gap(p.trie_s and p.trie_s / p.total_s, ".1%"),
    "of roof": lambda p: f"{p.of_roof:.1%}",
    "peak MB": lambda p: f"{p.peak_bytes / 1e6:,.0f}",
}
MACHINE: Columns = {
    "precision": lambda r: r.precision,
    "product TFLOP/s": lambda r: f"{r.flop_per_s / 1e12:.2f}",
    "copy GB/s": lambda r: f"{r.bytes_per_s / 1e9:.1f}",
}
ENCODED: Columns = {
    "precision": lambda p: p.precision,
    "batch": lambda p: f"{p.batch}",
    "ms": lambda p: f"{1000 * p.total_s:,.2f}",
    "images/s": lambda p: f"{p.images_per_s:,.1f}",
    "GFLOP/image": lambda p: f"{p.gflop_per_image:.2f}",
    "of product": lambda p: f"{p.of_product:.1%}",
    "of roof": lambda p: f"{p.of_roof:.1%}",
    "peak MB": lambda p: f"{p.peak_bytes / 1e6:,.0f}",
}
TRAINED: Columns = {
    "precision": lambda p: p.precision,
    "trained to": lambda p: f"generate {p.targets}" if p.targets else "classify",
    "frozen stages": lambda p: "all" if p.frozen_stages is None else f"{p.frozen_stages}",
    "batch": lambda p: f"{p.batch}",
    "ms": lambda p: f"{1000 * p.total_s:,.1f}",
    "images/s": lambda p: f"{p.images_per_s:,.1f}",
    "augment": lambda p: f"{p.augment_s / p.total_s:.0%}",
    "forward": lambda p: f"{p.forward_s / p.total_s:.0%}",
    "backward": lambda p: f"{p.backward_s / p.total_s:.0%}",
    "peak MB": lambda p: f"{p.peak_bytes / 1e6:,.0f}",
}
COMPARISON: Columns = {
    "blocks": lambda c: f"{c.num_layers}",
    "batch": lambda c: f"{c.batch}",
    "beam size": lambda c: f"{c.beam_size}",
    "reference ms/query": lambda c: f"{1000 * c.reference_s / c.batch:,.1f}",
    "faster, end to end": lambda c: f"{c.ratio:.1f} x",
    "faster, decoding": lambda c: f"{c.ratio_decoding:.1f} x",
    "other leaves": lambda c: f"{c.leaves_differing}",
    "score difference": lambda c: f"{c.score_difference:.1e}",
}
SEARCHED: Columns = {
    "search": lambda p: p.search,
    "build s": lambda p: or_gap(p.build_s, ".2f"),
    "queries/s": lambda p: or_gap(p.queries_per_s, ",.0f"),
    "ms alone": lambda p: or_gap(p.single_ms, ".2f"),
    "recall": lambda p: or_gap(p.recall, ".4f"),
    "MB": lambda p: or_gap(p.index_bytes and p.index_bytes / 1e6, ".1f"),
    "setting": lambda p: p.reason or p.setting or "recipe",
}
SCORED: Columns = {
    "queries": lambda t: f"{t.queries:,}",
    "results": lambda t: f"{t.results}",
    "metrics": lambda t: f"{t.metrics}",
    "ms": lambda t: f"{1000 * t.total_s:.1f}",
    "loops ms": lambda t: f"{1000 * t.loop_s:,.0f}",
    "faster": lambda t: f"{t.ratio:.0f} x",
    "difference": lambda t: f"{t.difference:.0e}",
}
SCALED: Columns = {
    "stage           ": lambda m: f"{m.stage:<16}",
    "size": lambda m: f"{m.size:,}",
    "ms": lambda m: or_gap(m.seconds and 1000 * m.seconds, ",.2f"),
    "library ms": lambda m: or_gap(m.library_s and 1000 * m.library_s, ",.2f"),
    "x library": lambda m: or_gap(m.overhead, ".2f"),
    "peak MB": lambda m: or_gap(m.peak_bytes and m.peak_bytes / 1e6, ",.0f"),
    "x gallery, beside the index": lambda m: or_gap(m.beside_index, ".2f"),
    "": lambda m: m.reason,
}
ADDED: Columns = {
    "search      ": lambda o: f"{o.search:<12}",
    "asked": lambda o: f"{o.asked:<6}",
    "us": lambda o: or_gap(o.times and 1e6 * o.times.seconds / o.times.queries, ",.2f"),
    "library us": lambda o: or_gap(o.times and o.times.library_s and 1e6 * o.times.library_s / o.times.queries, ",.2f"),
    "x library": lambda o: or_gap(o.times and o.times.ratio, ".3f"),
    "us more": lambda o: or_gap(o.times and o.times.added_s and 1e6 * o.times.added_s, ".2f"),
    "us with checks": lambda o: or_gap(o.times and 1e6 * o.times.wall_s / o.times.queries, ",.2f"),
    "": lambda o: o.reason or ("too much" if o.times and o.times.is_little is False else ""),
}
LOADED: Columns = {
    "search      ": lambda one: f"{one.search:<12}",
    "clients": lambda one: f"{one.clients or ''} {one.way}".strip(),
    "queries/s": lambda one: or_gap(one.queries_per_s, ",.0f"),
    "mean ms": lambda one: or_gap(one.mean_ms, ".3f"),
    "p50 ms": lambda one: or_gap(one.p50_ms, ".3f"),
    "p95 ms": lambda one: or_gap(one.p95_ms, ".3f"),
    "p99 ms": lambda one: or_gap(one.p99_ms, ".3f"),
    "": lambda one: one.reason or ("" if one.steady else f"not steady: 2nd half {one.drift:.2f} x the 1st"),
}
COSTS: Columns = {
    "method        ": lambda c: f"{c.method + (f', {c.scale}' if c.scale else ''):<14}",
    "asked": lambda c: f"{c.asked:<6}",
    "N": lambda c: or_gap(c.size, ","),
    "ms/query": lambda c: or_gap(c.seconds and 1000 * c.seconds, ",.4f"),
    "recall": lambda c: or_gap(c.recall, ".3f"),
    "": lambda c: c.reason or c.setting,
}
CROSSED: Columns = {
    "model": lambda c: f"{c.scale:<6}",
    "asked": lambda c: f"{c.asked:<6}",
    "against   ": lambda c: f"{c.search:<10}",
    "cheaper from N =": lambda c: "never to " + _rounded(c.looked_to) if c.size is None else _size(c, c.size),
    "95 % interval": lambda c: "never" if c.low is None else f"{_size(c, c.low)} to {_size(c, c.high)}",
    "at N =": lambda c: f"{c.measured_to:,}",
    "encode, generate ms": lambda c: f"{1000 * c.generate_s:,.2f}",
    "encode, search ms": lambda c: f"{1000 * c.search_s:,.2f}",
    "predicted": lambda c: or_gap(c.held_out, ".2f"),
    "recall": lambda c: f"{c.recall:.3f}",
}


def _size(crossover: Any, size: float | None) -> str:
    if size is None:
        return "never"
    return f"< {_rounded(size)}" if size <= crossover.measured_from else _rounded(size)


def _rounded(size: float) -> str:
    return f"{float(f'{size:.2g}'):,.0f}"


GROWN: Columns = {
    "stage           ": lambda g: f"{g.stage:<16}",
    "from": lambda g: f"{g.sizes[0]:,}",
    "to": lambda g: f"{g.sizes[1]:,}",
    "time ~ N^": lambda g: f"{g.time:.2f}",
    "memory ~ N^": lambda g: or_gap(g.memory, ".2f"),
}
BUILT: Columns = {
    "identifiers": lambda b: f"{b.identifiers:,}",
    "build s": lambda b: f"{b.build_s:.3f}",
    "MB": lambda b: f"{b.bytes / 1e6:.1f}",
    "step ms": lambda b: f"{b.step_ms:.2f}",
}
