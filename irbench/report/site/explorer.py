"""The explorer of one data set: queries, and the results of any two methods side by side.

The stored hits suffice to mark relevant results; images and identifiers need the data and the work folder of the run.
What is missing is left out, and a note says so.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark
from irbench.core.errors import IrbenchError
from irbench.core.ranking import MISSING, Ranking
from irbench.core.text import as_text
from irbench.data.sources import Source
from irbench.metrics.retrieval import Judged
from irbench.report.figures.retrieved import relevant_and_not
from irbench.report.figures.selection import Group, Panel
from irbench.report.site.sheet import MOST, Sheet, make_sheet, side_for
from irbench.results.artefacts import Artefacts

SHOWN = 8  # results of each method
QUERIES = 240  # with their results, at most
_LONGEST = 8  # codes of an identifier that are shown
_BYTES = 8_000_000  # of one data set's images
_NO_IMAGES = (
    "The images are not shown: this report was written without them, or without the rankings, which stay in the work "
    "folder of the run. Where both are at hand, irbench report --work FOLDER --data FOLDER shows them."
)
_NO_RANKINGS = "No images are shown for methods whose rankings are not in this work folder"
_GOLDEN = (5**0.5 - 1) / 2
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, eq=False)
class Contender:
    """One method with the results of one of its seeds."""

    group: Group
    judged: Judged
    ranking: Ranking | None
    codes: NDArray[np.int64] | None  # [N,M] identifiers of the gallery, where the method generates them

    @property
    def seed(self) -> int:
        """The seed whose results are shown."""
        return self.group.results[0].seed

    @cached_property
    def hits(self) -> NDArray[np.int32]:
        """[Q'] hits among the results that are shown."""
        return self.judged.hits_in(SHOWN)


@dataclass(frozen=True, eq=False)
class Explorer:
    """A data set's contenders, the queries that are shown, and their images where these are at hand."""

    contenders: tuple[Contender, ...]
    shown: NDArray[np.int64]  # places among the Q' queries that have positives
    benchmark: Benchmark | None
    sheet: Sheet | None
    tiles: dict[tuple[str, int], int]  # ("query" or "gallery", row) -> tile of the sheet
    notes: tuple[str, ...]

    @property
    def num_queries(self) -> int:
        """Q', the queries that have positives."""
        return len(self.contenders[0].hits)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """[Q'] the row of each of them among all queries; their place where the data are not at hand."""
        return np.arange(self.num_queries) if self.benchmark is None else np.flatnonzero(self.benchmark.positives > 0)

    @cached_property
    def pair(self) -> tuple[int, int]:
        """The two contenders that are shown first: one that generates identifiers, and the best one that does not."""
        order = np.argsort([-one.hits.mean() for one in self.contenders], kind="stable").tolist()
        plain = [i for i in order if not self.contenders[i].group.setting] or order
        generators = [i for i in plain if self.contenders[i].group.results[0].identifier]
        others = [i for i in plain if i not in generators]
        first = (generators or others)[0]
        second = next((i for i in [*others, *order] if i != first), first)
        return first, second

    @property
    def words(self) -> tuple[str, str]:
        """What a relevant result is, and another one."""
        return relevant_and_not(self.benchmark)

    def document(self) -> dict[str, object]:
        """Return all that the page's script needs, as a JSON value."""
        return {
            "queries": [self.query(place) for place in self.shown.tolist()],
            "methods": [self._method(one) for one in self.contenders],
            "classes": [as_text(name) for name in self.benchmark.class_names] if self.benchmark is not None else [],
        }

    def class_name(self, label: int) -> str:
        """Return the name of a class; its number where the data set does not name it."""
        names = self.benchmark.class_names if self.benchmark is not None else ()
        return as_text(names[label]) if names else f"class {label}"

    def query(self, place: int) -> dict[str, object]:
        """Return what is known of a query: its number, and with the data its name, class and tile."""
        row = int(self.rows[place])
        known: dict[str, object] = {"place": place, "row": row}
        if self.benchmark is not None:
            queries = self.benchmark.queries
            id_ = queries.ids[row].encode("utf-8", "backslashreplace").decode()  # bytes that are no text become escapes
            known |= {"id": id_, "tile": self.tiles.get(("query", row))}
            known |= {"label": int(queries.labels[row])} if self.benchmark.labelled else {}
        return known

    def retrieved(self, one: Contender, place: int) -> list[dict[str, object]]:
        """Return a contender's results for a query, best first."""
        hits = one.judged.hits[place, :SHOWN].tolist()
        if one.ranking is None or self.benchmark is None:
            return [{"relevant": bool(hit)} for hit in hits]
        rows = one.ranking.rows[self.rows[place], :SHOWN].tolist()
        return [self._retrieved(one, row, hit) for row, hit in zip(rows, hits, strict=False)]

    def _retrieved(self, one: Contender, row: int, hit: bool) -> dict[str, object]:  # noqa: FBT001 -- a value, not a flag
        if row == MISSING or self.benchmark is None:
            return {"relevant": False, "missing": True}
        known: dict[str, object] = {"relevant": bool(hit), "row": row}
        known |= {"label": int(self.benchmark.gallery.labels[row])} if self.benchmark.labelled else {}
        if one.codes is not None:
            codes = one.codes[row].tolist()
            known["path"] = " ".join(map(str, codes[:_LONGEST])) + (" …" if len(codes) > _LONGEST else "")
        return known | {"tile": self.tiles.get(("gallery", row))}

    def _method(self, one: Contender) -> dict[str, object]:
        """Return a contender: its number of hits for every query, and its results for the queries that are shown."""
        return {
            "name": one.group.label,
            "color": one.group.look.color,
            "seed": one.seed,
            "hits": "".join(_DIGITS[count] for count in one.hits.tolist()),
            "lines": [self.retrieved(one, place) for place in self.shown.tolist()],
        }


def explore(panel: Panel, artefacts: Artefacts) -> Explorer | None:
    """Return the explorer of a panel's data; None where no result has stored hits."""
    notes: list[str] = []
    contenders = _contenders(panel, artefacts, notes)
    if not contenders:
        return None
    has_rankings = any(one.ranking is not None for one in contenders)
    benchmark = _benchmark(panel, artefacts, notes) if has_rankings else None  # without them there are no images
    shown = choose(np.array([one.hits for one in contenders]), QUERIES)
    bare = Explorer(tuple(contenders), shown, benchmark, None, {}, tuple(dict.fromkeys(notes)))
    return bare if benchmark is None else _with_images(bare, benchmark)


def choose(hits: NDArray[np.int32], most: int) -> NDArray[np.int64]:
    """Return the queries to show, by hits [methods,Q']: those that tell methods apart, and an even spread, by turns.

    Of any two methods there are queries that one of them wins, as many as have room; the spread shows those which all
    methods solve, or none. By turns, so that fewer queries are still of both kinds.
    """
    total = hits.shape[1]
    even = np.arange(min(most, total)) * total // min(most, total)
    even = even[np.argsort(np.arange(len(even)) * _GOLDEN % 1)]  # so that the first few are spread evenly too
    by_turns = chain.from_iterable(zip_longest(_telling(hits, most // 2), even.tolist()))
    return np.array(list(dict.fromkeys(place for place in by_turns if place is not None))[:most], np.int64)


def _telling(hits: NDArray[np.int32], most: int) -> list[int]:
    """Return queries that one of two methods wins, those first by which it wins most, and a query for each pair first.

    Of many pairs, the queries that are the best for most of them come first.
    """
    methods = len(hits)
    each = max(1, most // max(1, methods * (methods - 1)))
    ranked: list[Counter[int]] = [Counter() for _ in range(each)]
    for one in hits:
        ahead = one - hits  # [methods,Q'] by how much this one wins
        best = np.argsort(-ahead, axis=1, kind="stable")[:, :each]
        for place in range(best.shape[1]):
            won = best[ahead[np.arange(methods), best[:, place]] > 0, place]
            ranked[place].update(won.tolist())
    return [query for found in ranked for query, _ in found.most_common()][:most]


def _benchmark(panel: Panel, artefacts: Artefacts, notes: list[str]) -> Benchmark | None:
    try:
        benchmark = artefacts.benchmark(panel.groups[0].results[0])
    except IrbenchError as error:
        own = panel.groups[0].results[0].dataset.collection is not None  # whose message says how to find them
        notes.append(f"No images are shown: {error}" if own or error.code != "not-found" else _NO_IMAGES)
        return None
    if benchmark.queries.vectors is None:
        return benchmark
    notes.append("No images are shown: vectors were searched.")
    return None


def _contenders(panel: Panel, artefacts: Artefacts, notes: list[str]) -> list[Contender]:
    """Return the groups with stored hits, and with their rankings where these are stored."""
    found, gone = [], []
    for group in panel.groups:
        first = group.results[0]
        try:
            judged = artefacts.judged(first)[""]
        except IrbenchError as error:
            notes.append(f"{group.label} is not shown: {error}")
            continue
        ranking = codes = None
        try:
            ranking, codes = artefacts.ranking(first).cut(SHOWN), artefacts.codes(first)
        except IrbenchError:
            gone.append(group.label)
        found.append(Contender(group, judged, ranking, codes))
    if gone:
        notes.append(_NO_IMAGES if len(gone) == len(found) else f"{_NO_RANKINGS}: {', '.join(gone)}.")
    return found


def _with_images(bare: Explorer, benchmark: Benchmark) -> Explorer:
    """Add the images of as many queries, the first ones, as there is room for."""
    count = len(bare.shown)
    while True:
        tiles = _tiles(bare, count)
        if len(tiles) <= MOST:
            sheet = _sheet(benchmark, tiles)
            if len(sheet.content) <= _BYTES or count == 1:
                break
        count = max(1, count // 2)
    return Explorer(bare.contenders, bare.shown[:count], benchmark, sheet, tiles, bare.notes)


def _tiles(bare: Explorer, count: int) -> dict[tuple[str, int], int]:
    """Assign a tile of the sheet to every image that the first `count` queries need."""
    rows = bare.rows[bare.shown[:count]]
    retrieved = [one.ranking.rows[rows].ravel() for one in bare.contenders if one.ranking is not None]
    gallery = np.unique(np.concatenate(retrieved))
    needed = [*(("query", row) for row in rows.tolist()), *(("gallery", row) for row in gallery.tolist() if row >= 0)]
    return {image: tile for tile, image in enumerate(needed)}


def _sheet(benchmark: Benchmark, tiles: dict[tuple[str, int], int]) -> Sheet:
    sources = {"query": Source(benchmark.queries), "gallery": Source(benchmark.gallery)}
    images = (sources[split].seen(row) for split, row in tiles)
    return make_sheet(images, side_for(sources["query"].seen(next(iter(tiles))[1])))
