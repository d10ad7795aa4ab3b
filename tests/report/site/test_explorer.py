"""The explorer shows what ranking and benchmark say; which queries it shows."""

import io
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from irbench.core.ranking import MISSING
from irbench.data.decode import View, fit
from irbench.data.sources import Source
from irbench.report.figures.selection import select
from irbench.report.site.explorer import SHOWN, choose, explore
from irbench.report.site.sheet import COLUMNS, make_sheet


@pytest.fixture
def explorer(world):
    (panel,) = select(world.all, methods=("*",)).panels
    return explore(panel, world.artefacts)


def test_every_result_is_what_the_ranking_says(world, explorer):
    document, benchmark = explorer.document(), world.benchmark
    for method, one in zip(document["methods"], explorer.contenders, strict=True):
        result = one.group.results[0]
        ranking, codes = world.artefacts.ranking(result), world.artefacts.codes(result)
        for query, line in zip(document["queries"], method["lines"], strict=True):
            assert query["id"] == benchmark.queries.ids[query["row"]].replace("\udcff", r"\udcff")
            rows = [row for row in ranking.rows[query["row"], :SHOWN].tolist() if row != MISSING]
            assert [shown["row"] for shown in line] == rows
            for shown in line:
                assert shown["relevant"] == (benchmark.gallery.labels[shown["row"]] == query["label"])
                assert shown.get("path") == (None if codes is None else " ".join(map(str, codes[shown["row"]])))
            assert int(method["hits"][query["place"]], 36) == sum(shown["relevant"] for shown in line)


def test_every_tile_shows_its_picture(world, explorer):
    side = explorer.sheet.side
    image = np.asarray(Image.open(io.BytesIO(explorer.sheet.content)))
    assert side == 16  # of pictures of 20 x 16: not blown up, and without loss
    sources = {"query": Source(world.benchmark.queries), "gallery": Source(world.benchmark.gallery)}
    for (split, row), tile in explorer.tiles.items():
        y, x = divmod(tile, COLUMNS)
        shown = image[y * side : (y + 1) * side, x * side : (x + 1) * side]
        np.testing.assert_array_equal(shown, fit(sources[split].seen(row), View(side)))


def test_a_writer_and_the_best_of_the_others_come_first(explorer):
    first, second = (explorer.contenders[at].group.label for at in explorer.pair)
    assert (first, second) == ("writer", "exact+linear")


def test_a_sheet_that_is_too_large_is_a_bug():
    with pytest.raises(ValueError, match="fit"):
        make_sheet([])


@given(st.integers(1, 6), st.integers(1, 300), st.integers(2, 40), st.randoms(use_true_random=False))
def test_queries_are_shown_once_and_those_that_any_method_wins_among_them(methods, asked, most, random):
    found = np.array([[random.randrange(9) for _ in range(asked)] for _ in range(methods)])
    shown = choose(found, most).tolist()
    assert len(shown) == len(set(shown)) <= most
    assert set(shown) <= set(range(asked))
    if asked <= most // 2:
        assert set(shown) == set(range(asked))
    if methods * (methods - 1) <= most // 2:
        for one, other in permutations(found, 2):
            lead = one - other
            assert max(lead[shown]) == max(lead) or max(lead) <= 0
    few = shown[: len(shown) // 2]  # as where there is no room for all images
    step = asked / max(1, len(few))
    assert max(np.diff(sorted({0, *few, asked - 1})), default=0) <= 6 * step + 1  # still spread over all queries
