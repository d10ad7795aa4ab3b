"""Retrieved images: each is the gallery's, and its border says what a comparison of labels says."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib.colors import to_hex
from raising import raises

from irbench.core.errors import StoreError, UsageError
from irbench.core.ranking import MISSING, Ranking
from irbench.data import datasets
from irbench.data.sources import Source
from irbench.report.figures import FigureOptions, draw, svg
from irbench.report.figures.retrieved import disagreed
from irbench.report.palette import RIGHT, RIGHT_SIGN, WRONG, WRONG_SIGN
from irbench.results import files, rankings
from irbench.results.schema import Dataset

STEP, SIDE, LEFT, TOP, LINE = 168, 144, 168 + 72, 48, 96  # pixels, see `_Canvas`


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture
def answered(shelf, digits):
    """Put results of methods "a" and "b" on the shelf, whose answers are drawn from everything; return their rows."""
    rng = np.random.default_rng(0)
    rows = {}
    for method in ("a", "b"):
        rows[method] = np.array([rng.permutation(len(digits.gallery))[:12] for _ in range(len(digits.queries))])
        rows[method][5, 3:] = MISSING
        scores = np.where(rows[method] == MISSING, -np.inf, -np.arange(12.0)).astype(np.float32)
        kept = rankings.save_ranking(Ranking(rows[method], scores), shelf.artefacts.work / "rankings")
        made = shelf.put(method, dataset=Dataset.of(digits))
        files.write(replace(made, ranking=kept), shelf.artefacts.results)
    return rows


def squares(axes):
    """Borders of answers by the place of their upper left corner."""
    return {(round(patch.get_x()), round(patch.get_y())): patch for patch in axes.patches}


def test_each_result_is_the_gallerys_picture_with_the_border_of_its_label(shelf, digits, answered):
    (axes,) = draw("retrieved", shelf.all, shelf.artefacts, FigureOptions(queries=(5, 700), k=6)).axes
    (image,) = axes.images
    ground, borders = np.asarray(image.get_array()), squares(axes)
    gallery, queries = Source(digits.gallery), Source(digits.queries)
    signs = {tuple(map(round, text.get_position())): text.get_text() for text in axes.texts}
    assert len(borders) == 2 * 2 * 6
    for block, query in enumerate((5, 700)):
        y = TOP + block * (2 * STEP + LINE)
        assert np.array_equal(ground[y + 9 : y + SIDE : 18, 9:SIDE:18], np.asarray(queries.seen(query)))
        for line, method in enumerate(("a", "b")):
            for rank in range(6):
                row = answered[method][query, rank]
                x, top = LEFT + rank * STEP, y + line * STEP
                border = borders[x, top]
                if row == MISSING:
                    assert border.get_label() == "missing"
                    continue
                right = digits.gallery.labels[row] == digits.queries.labels[query]
                seen = ground[top + 9 : top + SIDE : 18, x + 9 : x + SIDE : 18]
                assert np.array_equal(seen, np.asarray(gallery.seen(int(row))))
                assert to_hex(border.get_edgecolor()).upper() == (RIGHT if right else WRONG)
                assert signs[x + SIDE - 4, top + SIDE - 6] == (RIGHT_SIGN if right else WRONG_SIGN)
    titles = {("a",): "with the fewest relevant ones", ("a", "b"): "where methods disagree"}
    for methods, title in titles.items():
        assert draw("retrieved", shelf.all, shelf.artefacts, FigureOptions(methods=methods)).get_label().endswith(title)
    words = svg(draw("retrieved", shelf.all, shelf.artefacts, FigureOptions(queries=(5,))))
    assert f"query 5: {digits.queries.ids[5]}" in words


@given(arrays.arrays(bool, (3, 6, 4)), st.lists(st.integers(0, 2), min_size=6, max_size=6), st.integers(1, 3))
def test_the_queries_shown_are_those_of_different_classes_on_which_methods_differ_most(right, labels, count):
    chosen = disagreed(list(right), np.array(labels), count)
    found = right.sum(axis=2)
    order = sorted(range(6), key=lambda query: (-np.std(found[:, query]), found[:, query].sum(), query))
    expected = []
    for query in order:
        if labels[query] not in [labels[other] for other in expected]:
            expected.append(query)
    assert chosen == expected[:count]


def test_what_cannot_be_shown_is_told(shelf, digits, answered):
    with raises(UsageError, "bad-value", 897):
        draw("retrieved", shelf.all, shelf.artefacts, FigureOptions(queries=(898,)))
    with raises(UsageError, "bad-value", 40):
        draw("retrieved", shelf.all, shelf.artefacts, FigureOptions(queries=tuple(range(41))))
    elsewhere = replace(shelf.artefacts, work=shelf.artefacts.work / "nothing")
    with raises(StoreError, "no-ranking", elsewhere.work):
        draw("retrieved", shelf.all, elsewhere)
    shelf.put("c", dataset=Dataset.of(digits))
    (gone,) = [note for note in draw("retrieved", shelf.all, shelf.artefacts).notes if note.startswith("not shown")]
    assert gone.endswith(": c")
    shelf.put("a")
    with raises(UsageError, "several-datasets", "--dataset", "digits", "toy"):
        draw("retrieved", shelf.all, shelf.artefacts)
