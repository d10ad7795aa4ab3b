"""What is drawn is what was measured: read from the figure, and compared with plain loops over the hits."""

from dataclasses import replace

import numpy as np
import pytest
from raising import raises

from irbench.core.errors import UsageError
from irbench.metrics.retrieval import per_query
from irbench.metrics.uncertainty import interval
from irbench.report.figures import FigureOptions, draw
from irbench.results import files, hits
from irbench.results.schema import Estimate


def line(axes, label):
    return next(one for one in axes.lines if one.get_label() == label)


def everything(figure):
    """All text of a figure, in the order in which it is found."""
    texts = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return " ".join([*texts, *figure.notes])


def precision(judged, k):
    return np.mean([sum(row[:k]) / k for row in judged.hits.tolist()])


def recall(judged, k):
    return np.mean([sum(row[:k]) / n for row, n in zip(judged.hits.tolist(), judged.positives, strict=True)])


def mrr(judged, k):
    return np.mean([next((1 / rank for rank, hit in enumerate(row[:k], 1) if hit), 0) for row in judged.hits.tolist()])


def test_precision_and_recall_are_those_of_a_plain_loop_over_the_answers(shelf):
    shelf.put("a")
    for seed in (0, 1):
        shelf.put("b", search="linear", seed=seed)
    (axes,) = draw("pr", shelf.all, shelf.artefacts).axes
    for label, seeds in (("a", (0,)), ("b+linear", (0, 1))):
        drawn = line(axes, label)
        judged = [shelf.judged[label, seed] for seed in seeds]
        assert drawn.get_xdata() == pytest.approx([np.mean([recall(j, k) for j in judged]) for k in range(1, 21)])
        assert drawn.get_ydata() == pytest.approx([np.mean([precision(j, k) for j in judged]) for k in range(1, 21)])


def test_precision_stands_at_every_k_with_the_stored_interval_and_below_what_the_gallery_allows(shelf):
    result = shelf.put("a")
    (axes,) = draw("precision", shelf.all, shelf.artefacts).axes
    drawn = line(axes, "a")
    assert list(drawn.get_xdata()) == list(range(1, 11))  # 10 is the largest K that a result states
    ceiling = line(axes, "upper bound")
    assert list(ceiling.get_ydata()) == [1.0] * 10
    corners = axes.collections[0].get_paths()[0].vertices
    for k in (1, 5, 10):
        stored = result.metrics[f"precision@{k}"]
        assert drawn.get_ydata()[k - 1] == pytest.approx(stored.mean)
        heights = corners[corners[:, 0] == k][:, 1]
        assert (heights.min(), heights.max()) == pytest.approx(stored.ci95)
    deeper = draw("precision", shelf.all, shelf.artefacts, FigureOptions(k=50)).axes[0]
    allowed = np.mean([min(n, 20) / 20 for n in shelf.judged["a", 0].positives])
    assert line(deeper, "upper bound").get_ydata()[-1] == pytest.approx(allowed)


def test_published_precision_stands_beside_the_same_method_at_the_papers_scale_and_protocol_only(shelf):
    facts = replace(shelf.put("m").dataset, name="cub200")

    def published(*, paper=True, **changes):
        shelf.put("irgen", **({"dataset": facts, "scale": "paper"} | changes))
        figure = draw("precision", shelf.all, shelf.artefacts, FigureOptions(datasets=["cub200"], paper=paper))
        found = [one for axes in figure.axes for one in axes.lines if one.get_label() == "irgen, published"]
        assert bool(found) == ("hollow: published" in everything(figure))
        return found

    assert not published(scale="tiny")
    assert not published(dataset=replace(facts, crop="bbox"))
    (drawn,) = published()
    assert list(drawn.get_xdata()) == [1, 2, 4, 8]
    assert list(drawn.get_ydata()) == pytest.approx([0.827, 0.827, 0.830, 0.828])
    assert not published(paper=False)


def test_mrr_and_its_interval_over_seeds(shelf):
    for seed in (0, 1, 2):
        shelf.put("a", seed=seed)
    (axes,) = draw("mrr", shelf.all, shelf.artefacts).axes
    values = np.array([[mrr(shelf.judged["a", seed], k) for k in (1, 2, 4, 8)] for seed in (0, 1, 2)])
    assert axes.containers[0].lines[0].get_ydata() == pytest.approx(values.mean(axis=0))
    bars = axes.containers[0].lines[2][0].get_segments()
    scores = [[per_query({"": shelf.judged["a", seed]}, f"mrr@{k}") for seed in (0, 1, 2)] for k in (1, 2, 4, 8)]
    expected = [interval(np.array(one)) for one in scores]
    assert [(bar[0, 1], bar[1, 1]) for bar in bars] == [pytest.approx(bounds) for bounds in expected]


def test_a_method_that_stops_answering_has_a_curve_that_stops(shelf):
    shelf.put("a")
    judged = shelf.judged["a", 0]
    judged.hits[:, 12:] = False
    from irbench.report.figures.curves import Scored
    from irbench.report.figures.selection import select

    group = select(shelf.all).panels[0].groups[0]
    assert Scored(group, (judged,)).reach == 12


def test_a_curve_that_hides_behind_another_one_is_named(shelf):
    seen = shelf.put("a", seed=0)
    shelf.put("b")
    same = replace(seen, method="c")
    kept = hits.save({"": shelf.judged["a", 0]}, same.path(shelf.artefacts.results).parent, seed=0)
    files.write(replace(same, hits=kept), shelf.artefacts.results)
    for kind in ("pr", "precision"):
        words = everything(draw(kind, shelf.all, shelf.artefacts)).replace("\n", " ")
        assert "toy: hits at the same ranks, one curve: a, c" in words
    assert "one curve" not in everything(draw("mrr", shelf.all, shelf.artefacts))  # there they stand side by side


def test_what_is_missing_is_named_and_nothing_to_draw_is_an_error(shelf):
    shelf.put("lost", answers=False)
    with raises(UsageError, "nothing-to-draw", "toy", "seed 0", "lost"):
        draw("pr", shelf.all, shelf.artefacts)
    shelf.put("a")
    shelf.put("b", status="skipped", reason="no weights")
    told = everything(draw("pr", shelf.all, shelf.artefacts))
    assert "stored neither beside the result nor in --work: lost" in told
    assert "b (seed 0): skipped: no weights" in told
    assert "trained from scratch" in told
    with raises(UsageError, "nothing-to-draw"):
        draw("pr", [], shelf.artefacts)
    with raises(UsageError, "nothing-to-draw", "K = 1"):
        draw("precision", shelf.all, shelf.artefacts, FigureOptions(k=1))


def test_precision_at_one_alone_is_no_curve_but_the_stored_hits_draw_one_where_asked(shelf):
    shelf.put("a", metrics={"precision@1": Estimate(mean=0.5, ci95=(0.4, 0.6))})
    with raises(UsageError, "nothing-to-draw", "K = 1", "up to 20"):
        draw("precision", shelf.all, shelf.artefacts)
    (axes,) = draw("precision", shelf.all, shelf.artefacts, FigureOptions(k=5)).axes
    assert line(axes, "a").get_xdata().tolist() == [1, 2, 3, 4, 5]
