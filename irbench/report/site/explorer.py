"""What the explorer of one data set shows: queries, and the answers of any two methods side by side.

Which answers were right is known from the stored results alone; pictures and the identifiers that led to them need
the data and the work folder of the run. What is missing is left out, and said.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark
from irbench.core.errors import IrbenchError
from irbench.core.ranking import MISSING, Ranking
from irbench.data.sources import Source
from irbench.metrics.retrieval import Judged
from irbench.report.figures.selection import Group, Panel
from irbench.report.site.sheet import MOST, Sheet, make_sheet, side_for
from irbench.results.artefacts import Artefacts

ANSWERS = 8  # shown of each method
QUERIES = 240  # with their answers, at most
_LONGEST = 8  # codes of an identifier that are written out
_BYTES = 4_000_000  # of one data set's pictures
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, eq=False)
class Contender:
    """One method with the answers of one of its seeds."""

    group: Group
    judged: Judged
    ranking: Ranking | None
    codes: NDArray[np.int64] | None  # [N,M] identifiers of the gallery, where the method writes them

    @property
    def seed(self) -> int:
        """The seed whose answers are shown."""
        return self.group.results[0].seed

    @cached_property
    def found(self) -> NDArray[np.int32]:
        """[Q'] right answers among those shown."""
        return self.judged.hits_in(ANSWERS)


@dataclass(frozen=True, eq=False)
class Explorer:
    """A data set's contenders, the queries that are shown, and their pictures where these are at hand."""

    contenders: tuple[Contender, ...]
    shown: NDArray[np.int64]  # places among the Q' queries that have a right answer
    benchmark: Benchmark | None
    sheet: Sheet | None
    tiles: dict[tuple[str, int], int]  # ("query" or "gallery", row) -> tile of the sheet
    notes: tuple[str, ...]

    @property
    def asked(self) -> int:
        """Q', the queries that have a right answer."""
        return len(self.contenders[0].found)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """[Q'] the row of each of them among all queries; their place where the data are not at hand."""
        return np.arange(self.asked) if self.benchmark is None else np.flatnonzero(self.benchmark.positives > 0)

    @cached_property
    def pair(self) -> tuple[int, int]:
        """The two contenders that are shown first: one that writes identifiers, and the best one that does not."""
        order = np.argsort([-one.found.mean() for one in self.contenders], kind="stable").tolist()
        plain = [i for i in order if not self.contenders[i].group.setting] or order
        writers = [i for i in plain if self.contenders[i].group.results[0].identifier]
        others = [i for i in plain if i not in writers]
        first = (writers or others)[0]
        second = next((i for i in [*others, *order] if i != first), first)
        return first, second

    def document(self) -> dict[str, object]:
        """Return all that the page's script needs, as a JSON value."""
        return {
            "answers": ANSWERS,
            "asked": self.asked,
            "pair": list(self.pair),
            "sheet": None if self.sheet is None else {"side": self.sheet.side, "rows": self.sheet.rows},
            "queries": [self.query(place) for place in self.shown.tolist()],
            "methods": [self._method(one) for one in self.contenders],
        }

    def query(self, place: int) -> dict[str, object]:
        """Return what is known of a query: its number, and with the data its name, class and tile."""
        row = int(self.rows[place])
        known: dict[str, object] = {"place": place, "row": row}
        if self.benchmark is not None:
            queries = self.benchmark.queries
            id_ = (
                queries.ids[row].encode("utf-8", "backslashreplace").decode()
            )  # bytes that are no text stand as escapes
            known |= {"id": id_, "label": int(queries.labels[row]), "tile": self.tiles.get(("query", row))}
        return known

    def answers(self, one: Contender, place: int) -> list[dict[str, object]]:
        """Return a contender's answers to a query, best first."""
        right = one.judged.hits[place, :ANSWERS].tolist()
        if one.ranking is None or self.benchmark is None:
            return [{"right": bool(hit)} for hit in right]
        found = one.ranking.rows[self.rows[place], :ANSWERS].tolist()
        return [self._answer(one, row, hit) for row, hit in zip(found, right, strict=False)]

    def _answer(self, one: Contender, row: int, hit: bool) -> dict[str, object]:  # noqa: FBT001 -- a value, not a flag
        if row == MISSING or self.benchmark is None:
            return {"right": False, "missing": True}
        known: dict[str, object] = {"right": bool(hit), "row": row, "label": int(self.benchmark.gallery.labels[row])}
        if one.codes is not None:
            codes = one.codes[row].tolist()
            known["path"] = " ".join(map(str, codes[:_LONGEST])) + (" …" if len(codes) > _LONGEST else "")
        return known | {"tile": self.tiles.get(("gallery", row))}

    def _method(self, one: Contender) -> dict[str, object]:
        """Return a contender: how many of its answers are right for every query, and all of those to the shown ones."""
        return {
            "name": one.group.label,
            "color": one.group.look.color,
            "seed": one.seed,
            "found": "".join(_DIGITS[count] for count in one.found.tolist()),
            "lines": [self.answers(one, place) for place in self.shown.tolist()],
        }


def explore(panel: Panel, artefacts: Artefacts) -> Explorer | None:
    """Return the explorer of a panel's data; None where no result says which of its answers were right."""
    notes: list[str] = []
    contenders = _contenders(panel, artefacts, notes)
    if not contenders:
        return None
    answered = any(one.ranking is not None for one in contenders)
    benchmark = _benchmark(panel, artefacts, notes) if answered else None  # loading it would be for nothing
    shown = choose(np.array([one.found for one in contenders]), QUERIES)
    bare = Explorer(tuple(contenders), shown, benchmark, None, {}, tuple(dict.fromkeys(notes)))
    return bare if benchmark is None else _with_pictures(bare, benchmark)


def choose(found: NDArray[np.int32], most: int) -> NDArray[np.int64]:
    """Return the queries to show, by right answers [methods,Q']: those that divide the methods, and a spread of all.

    The first half are those over which methods disagree most, so that any two have queries that one of them wins; the
    other half stands evenly among all queries, so that what all find, or none, is seen too.
    """
    asked = found.shape[1]
    divided = np.argsort(-found.std(axis=0), kind="stable")[: most // 2]
    spread = np.arange(min(most, asked)) * asked // min(most, asked)
    return np.array(list(dict.fromkeys([*divided.tolist(), *spread.tolist()]))[:most], np.int64)


def _benchmark(panel: Panel, artefacts: Artefacts, notes: list[str]) -> Benchmark | None:
    try:
        return artefacts.benchmark(panel.groups[0].results[0])
    except IrbenchError as error:
        notes.append(f"no pictures: {error}")
        return None


def _contenders(panel: Panel, artefacts: Artefacts, notes: list[str]) -> list[Contender]:
    """Return the groups of which it is known which answers were right, with their answers where these are artefacts."""
    found, gone = [], {}
    for group in panel.groups:
        first = group.results[0]
        try:
            judged = artefacts.judged(first)[""]
        except IrbenchError as error:
            notes.append(f"{group.label} is left out: {error}")
            continue
        ranking = codes = None
        try:
            ranking, codes = artefacts.ranking(first).cut(ANSWERS), artefacts.codes(first)
        except IrbenchError as error:
            gone[group.label] = str(error)
        found.append(Contender(group, judged, ranking, codes))
    if gone:
        who = ", ".join(gone) if len(gone) < len(found) else "any method"
        notes.append(f"marks without pictures for {who}: {next(iter(gone.values()))}")
    return found


def _with_pictures(bare: Explorer, benchmark: Benchmark) -> Explorer:
    """Add the pictures of as many queries, the first ones, as there is room for."""
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
    """Give every picture that the first `count` queries need a place on the sheet."""
    rows = bare.rows[bare.shown[:count]]
    answers = [one.ranking.rows[rows].ravel() for one in bare.contenders if one.ranking is not None]
    gallery = np.unique(np.concatenate(answers))
    needed = [*(("query", row) for row in rows.tolist()), *(("gallery", row) for row in gallery.tolist() if row >= 0)]
    return {picture: tile for tile, picture in enumerate(needed)}


def _sheet(benchmark: Benchmark, tiles: dict[tuple[str, int], int]) -> Sheet:
    sources = {"query": Source(benchmark.queries), "gallery": Source(benchmark.gallery)}
    pictures = (sources[split].seen(row) for split, row in tiles)
    return make_sheet(pictures, side_for(sources["query"].seen(next(iter(tiles))[1])))
