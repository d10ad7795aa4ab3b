"""Figures of time: bars and points are what was measured, and who beats whom is what a plain loop says."""

import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from raising import raises

from irbench.core.errors import UsageError
from irbench.report.figures import FigureOptions, draw, svg
from irbench.report.figures.labels import place_labels
from irbench.report.figures.pareto import dominated
from irbench.report.figures.sheet import style
from irbench.report.figures.throughput import stages
from irbench.results import files
from irbench.results.schema import Cost, Estimate, QueryTimes, RecipeUsed, TimingSession

VALUES = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])  # few, so that ties are common


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12))
def test_a_point_is_beaten_where_a_plain_loop_finds_one_as_good_in_both_and_better_in_one(points):
    beaten = [
        any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)  # with both as good, another one is better
        for x, y in points
    ]
    assert dominated(np.array(points)).tolist() == beaten


def everything(figure):
    texts = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return " ".join([*texts, *figure.notes])


def marks(axes):
    """Label of each point: x, y, and how solid it is."""
    found = {}
    for container in axes.containers:
        mark = container.lines[0]
        found[container.get_label()] = (*mark.get_xdata(), *mark.get_ydata(), mark.get_alpha())
    return found


def in_session(result, session):
    """The cost of a result whose times were taken in a session."""
    known = TimingSession(
        id=session, reference_ms=1.0, reference_batched_ms=1.0, drift=(1.0, 1.0), single_ms=(1.0,), batched_ms=(1.0,)
    )
    return replace(result.cost, session=known)


def test_only_what_is_worse_beyond_its_bars_and_was_timed_together_is_faded(shelf):
    sure = {"precision@10": Estimate(mean=0.9, ci95=(0.88, 0.92))}
    shelf.put("best", times=1.0, metrics=sure)
    cases = {  # quality and its interval, time, session: faded?
        "worse": ((0.80, 0.78, 0.82), 2.0, "s", 0.3),
        "apart": ((0.80, 0.78, 0.82), 2.0, "t", 1),
        "unknown": ((0.80, 0.78, 0.82), 2.0, "", 1),
        "overlaps": ((0.86, 0.83, 0.89), 2.0, "s", 1),
        "faster": ((0.80, 0.78, 0.82), 0.5, "s", 1),
    }
    for result in shelf.all:
        files.write(replace(result, cost=in_session(result, "s")), shelf.artefacts.results)
    for name, ((mean, *bounds), times, session, _) in cases.items():
        made = shelf.put(name, times=times, metrics={"precision@10": Estimate(mean=mean, ci95=tuple(bounds))})
        cost = in_session(made, session) if session else made.cost
        files.write(replace(made, cost=cost), shelf.artefacts.results)
    figure = draw("pareto", shelf.all, shelf.artefacts)
    solid = {name: found[2] for name, found in marks(figure.axes[0]).items()}
    assert solid == {"best": 1} | {name: case[3] for name, case in cases.items()}
    named = {text.get_text() for text in figure.axes[0].texts}
    assert {"best", "faster"} <= named
    assert not named & {"worse", "apart", "unknown", "overlaps"}
    titles = re.findall(r"<title>([^<]*)</title>", svg(figure))
    assert {"worse: 80.0 %, 500 queries/s", "best: 90.0 %, 1,000 queries/s"} <= set(titles)


def test_sixty_points_have_names_on_the_front_only_and_four_lines_of_notes(shelf):
    for n in range(60):
        estimate = Estimate(mean=0.5 + 0.008 * ((37 * n) % 60), ci95=(0.4, 0.99))
        shelf.put("m", variant=f"beam_size-{n}", times=1.0 + (23 * n) % 60, metrics={"precision@10": estimate})
        shelf.put("gone", variant=f"k-{n}", status="failed", reason=f"reason {n} " + 20 * "word ")
    figure = draw("pareto", shelf.all, shelf.artefacts, FigureOptions(methods=("*",)))
    (axes,) = figure.axes
    points = np.array([found[:2] for found in marks(axes).values()])
    assert len(points) == 60
    assert (
        len([text for text in axes.texts if text.get_text().startswith("m, beam_size ")])
        == (~dominated(points)).sum()
        < 12
    )
    foot = max((text.get_text() for text in figure.findobj(Text)), key=lambda text: text.count("\n"))
    assert foot.count("\n") <= 3
    assert len(figure.notes) > 60


def test_pareto_draws_what_was_measured(shelf):
    quick = shelf.put("a", search="linear")
    slow = [shelf.put("b", seed=seed, times=4.0 + seed, metrics=quick.metrics) for seed in (0, 1, 2)]
    shelf.put("c", status="failed", reason="no luck")
    figure = draw("pareto", shelf.all, shelf.artefacts)
    (axes,) = figure.axes
    assert axes.get_ylabel() == "precision@10"
    found = marks(axes)
    best = quick.metrics["precision@10"].mean
    assert found["a+linear"] == pytest.approx((1000, best, 1))
    assert found["b"] == pytest.approx((np.median([r.cost.queries_per_s for r in slow]), best, 1))
    assert "c (seed 0): failed: no luck" in everything(figure)
    by_time = marks(draw("pareto", shelf.all, shelf.artefacts, FigureOptions(by="latency", k=5)).axes[0])
    assert by_time["a+linear"] == pytest.approx((6.0, quick.metrics["precision@5"].mean, 1))
    with raises(UsageError, "nothing-to-draw", "precision@7"):
        draw("pareto", shelf.all, shelf.artefacts, FigureOptions(k=7))


def test_recall_stands_against_the_time_of_the_search_alone(shelf):
    def found(share):
        return {"neighbours": {"queries": 9, "recall": {"1": 1.0, "10": share}, "distances": None}}

    shelf.put("a", search="linear", retriever=found(1.0), times=4.0)
    for cells, share, times in (("nprobe=2", 0.5, 1.0), ("nprobe=16", 0.9, 3.0), ("nprobe=4", 0.7, 2.0)):
        shelf.put("a", search="f", variant=f"query-{cells}", retriever=found(share), times=times)
    shelf.put("w", times=1.0)  # generates
    (axes,) = draw("recall", shelf.all, shelf.artefacts, FigureOptions(by="latency")).axes
    assert axes.get_ylabel() == "recall@10 of the exact neighbours"
    points = marks(axes)
    assert points["a+linear"][:2] == pytest.approx((12.0, 1.0))  # ms of the search, not of the query
    assert points["a+f@query-nprobe=16"][:2] == pytest.approx((9.0, 0.9))
    curve = next(line for line in axes.lines if line.get_label() == "a+f")
    assert curve.get_ydata() == pytest.approx([0.5, 0.7, 0.9])  # in the order of their numbers
    assert "w" not in points
    with raises(UsageError, "nothing-to-draw", "recall@7"):
        draw("recall", shelf.all, shelf.artefacts, FigureOptions(by="latency", k=7))
    for result in shelf.all:
        batched = QueryTimes(batch=64, total_p50=1.0, search_p50=0.25)
        files.write(replace(result, cost=replace(result.cost, batched_ms=batched)), shelf.artefacts.results)
    in_batches = draw("recall", shelf.all, shelf.artefacts).axes[0]
    assert {x for x, *_ in marks(in_batches).values()} == {4000.0}


def test_settings_are_points_of_one_curve_in_their_order_and_others_stay_out_unless_asked(shelf):
    shelf.put("w", retriever={"beam_size": 30}, times=1.0)
    for beams, times in ((1, 3.0), (10, 5.0), (2, 4.0)):  # as if time told nothing
        shelf.put("w", variant=f"beam_size-{beams}", times=times)
    for variant in ("hkm", "num_codebooks-2"):
        shelf.put("w", variant=variant)
    shelf.put("f", search="ivfpq", variant="nprobe-4", retriever={"nprobe": 4})
    (axes,) = draw("pareto", shelf.all, shelf.artefacts).axes
    curve = next(line for line in axes.lines if line.get_label() == "w")
    assert curve.get_xdata() == pytest.approx([1000 / times for times in (3, 4, 5, 1)])
    assert set(marks(axes)) == {"w", "w@beam_size-1", "w@beam_size-2", "w@beam_size-10", "f+ivfpq@nprobe-4"}
    asked = draw("pareto", shelf.all, shelf.artefacts, FigureOptions(methods=("w@hkm", "f")))
    assert set(marks(asked.axes[0])) == {"w@hkm", "f+ivfpq@nprobe-4"}
    bars = draw("throughput", shelf.all, shelf.artefacts).axes[0]
    assert [label.get_text() for label in bars.get_yticklabels()] == [f"w, beam_size {n}" for n in (1, 2, 10, 30)]


def test_bars_and_points_of_two_recipes_are_told_apart_also_beside_settings(shelf):
    for seed, recipe in enumerate(("older", "newer")):
        shelf.put(
            "w",
            seed=seed,
            recipe=RecipeUsed(text=f"version = '{recipe}'", hash=recipe),
            retriever={"beam_size": 30},
            times=2.0,
        )
    shelf.put("w", variant="beam_size-1")
    bars = draw("throughput", shelf.all, shelf.artefacts).axes[0]
    wanted = ["w, beam_size 1", "w, beam_size 30 (seed 0)", "w, beam_size 30 (seed 1)"]
    assert sorted(label.get_text() for label in bars.get_yticklabels()) == wanted
    alike = {"precision@10": Estimate(mean=0.9, ci95=(0.8, 1.0))}
    for seed, recipe in enumerate(("older", "newer")):  # as good and as fast: both are on the front
        made = RecipeUsed(text=f"version = '{recipe}'", hash=recipe)
        shelf.put("w", seed=seed, recipe=made, retriever={"beam_size": 30}, times=2.0, metrics=alike)
    named = [text.get_text() for text in draw("pareto", shelf.all, shelf.artefacts).axes[0].texts]
    assert {*wanted[1:]} <= {*named}


def test_a_curve_joins_points_that_differ_in_one_number_and_no_others(shelf):
    shelf.put("w", retriever={"beam_size": 30, "num_codebooks": 4}, times=1.0)
    settings = {
        "beam_size-1": 2.0,
        "num_codebooks-8": 3.0,
        "beam_size-1,num_codebooks-8": 4.0,
        "decode-exact": 5.0,
        "hkm": 6.0,
        "rqvae": 7.0,
    }
    for variant, times in settings.items():
        shelf.put("w", variant=variant, times=times)
    (axes,) = draw("pareto", shelf.all, shelf.artefacts, FigureOptions(methods=("w", "w@*"))).axes
    assert len(marks(axes)) == 1 + len(settings)
    joined = [[round(1000 / rate, 6) for rate in line.get_xdata()] for line in axes.lines if line.get_label() == "w"]
    assert sorted(joined) == [[1, 3], [2, 1]]
    for leaves, times in (("0.1", 2.5), ("0.5", 1.5), ("0.02", 3.5)):  # beside a second setting, the same for all
        shelf.put("f", search="scann", variant=f"tree_from-0,leaves_searched-{leaves}", times=times)
    (axes,) = draw("pareto", shelf.all, shelf.artefacts, FigureOptions(methods=("f",))).axes
    (curve,) = [line for line in axes.lines if line.get_label() == "f+scann"]
    assert [round(1000 / rate, 6) for rate in curve.get_xdata()] == [3.5, 2.5, 1.5]


def test_labels_stay_inside_and_leave_room_between_them():
    with style():
        figure = Figure(figsize=(4, 3), dpi=100)
        axes = figure.add_subplot()
        axes.set(xlim=(0, 100), ylim=(0, 100))
        bars = [((4.0, y), (60.0, y)) for y in range(25, 75)]
        place_labels(axes, [(4, 50, "decode exact"), (50, 80, "beams 30"), (65.5, 80, "beams 20")], bars)
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in axes.texts]
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)
    assert not any(one.padded(2).overlaps(other) for one, other in combinations(boxes, 2))


TIMES = QueryTimes(batch=1, encode_p50=4.0, search_p50=10.0, decoder_p50=7.0, trie_p50=2.0, total_p50=15.0)


def test_every_stage_of_a_query_is_counted_once():
    parts = stages(TIMES)
    assert {stage: ms for stage, ms in parts.items() if ms} == {
        "encode": 4.0, "decoder": 7.0, "trie": 2.0, "search": 1.0, "other": 1.0,
    }  # fmt: skip
    assert sum(parts.values()) == TIMES.total_p50
    all_parts = stages(replace(TIMES, read_p50=1.0, decoder_p50=5.0, lookup_p50=1.5))
    assert all_parts == {
        "read": 1.0, "encode": 3.0, "decoder": 5.0, "trie": 2.0, "lookup": 1.5, "search": 1.5, "other": 1.0,
    }  # fmt: skip


def test_bars_are_as_long_as_the_times_also_one_far_beyond_the_others(shelf):
    shelf.put("a", cost=Cost(query_ms=TIMES))
    shelf.put("b", cost=Cost(query_ms=QueryTimes(batch=1, encode_p50=900.0, search_p50=90.0, total_p50=1000.0)))
    shelf.put("c", cost=Cost())
    figure = draw("throughput", shelf.all, shelf.artefacts)
    (axes,) = figure.axes
    assert axes.get_xlim()[1] < 100
    lengths = {(bars.get_label(), row): bar.get_width() for row in (0, 1) for bars in axes.containers
               for bar in bars if round(bar.get_y() + bar.get_height() / 2) == row}  # fmt: skip
    assert lengths["decoder", 0] == 7
    assert sum(length for (_, row), length in lengths.items() if row == 0) == pytest.approx(15)
    cut = {stage: length for (stage, row), length in lengths.items() if row == 1 and length}
    assert sum(cut.values()) < axes.get_xlim()[1]
    assert cut["encode"] / cut["search"] == pytest.approx(10)  # all its components are seen
    assert [text.get_text() for text in axes.texts[1:]] == ["15 ms", "// 1,000 ms"]
    assert "//" in everything(figure)
    assert "no such timings: c" in everything(figure)


def test_a_seed_that_was_timed_in_less_detail_does_not_thin_the_parts(shelf):
    shelf.put("a", cost=Cost(query_ms=TIMES))
    for seed in (1, 2):
        shelf.put("a", seed=seed, cost=Cost(query_ms=QueryTimes(batch=1, search_p50=10.0, total_p50=15.0)))
    figure = draw("throughput", shelf.all, shelf.artefacts)
    assert max(bar.get_width() for bar in figure.axes[0].patches) == 7.0
    assert "a: 2 seeds that were timed in less detail" in everything(figure)


def test_machines_are_never_on_one_axis(shelf):
    shelf.put("a")
    shelf.put("a", seed=1, environment={"gpu": "H", "cores": 16})
    shelf.put("b", environment={"gpu": "H", "cores": 16, "concurrent_load": 9.0})
    for kind in ("throughput", "pareto"):
        figure = draw(kind, shelf.all, shelf.artefacts)
        assert len(figure.axes) == 2
        assert "timings of b (seed 0) unreliable" in everything(figure).replace("\n", " ")
    figure = draw("mrr", shelf.all, shelf.artefacts)
    assert len(figure.axes) == 1
    assert "unreliable" not in everything(figure)


def test_the_papers_times_stand_beside_its_own_size_only(shelf):
    shelf.put("irgen", retriever={"beam_size": 30}, cost=Cost(query_ms=TIMES))
    small = draw("throughput", shelf.all, shelf.artefacts)
    assert "The paper states 70 ms with 10 beams, 190 ms with 30 beams" in everything(small)
    assert not small.axes[0].lines
    shelf.put("irgen", scale="paper", retriever={"beam_size": 30}, cost=Cost(query_ms=TIMES))
    (published,) = draw("throughput", shelf.all, shelf.artefacts).axes[0].lines
    assert published.get_xdata() == pytest.approx([190])
    assert not draw("throughput", shelf.all, shelf.artefacts, FigureOptions(paper=False)).axes[0].lines
