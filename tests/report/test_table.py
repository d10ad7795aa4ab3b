"""Tables: what is shown, what is kept apart, and that no sign of a name is taken for markup."""

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from irbench.errors import UsageError
from irbench.protocols import Backbone
from irbench.report.render import FORMATS, render
from irbench.report.table import table
from irbench.results import Cost, Dataset, Estimate, QueryTimes, RecipeUsed, Result

CUB = Dataset(
    name="cub200", protocol="closed-set", crop="none", fingerprint="f" * 64, train=9, gallery=1000, queries=5, classes=3
)
NOTHING = Backbone(name="test_resnet", weights="trained from nothing", parameters=5)


def result(percent=50.0, **changes):
    metrics = {
        f"{metric}@{k}": Estimate(mean=percent / 100, ci95=(percent / 100 - 0.1, percent / 100 + 0.1))
        for metric in ("precision", "recall")
        for k in (1, 2)
    }
    facts = {
        "status": "ok",
        "dataset": CUB,
        "method": "ft-clip",
        "search": "scann",
        "scale": "tiny",
        "seed": 0,
        "inputs": "a1",
        "recipe": RecipeUsed(text="", hash="b2"),
        "backbone": NOTHING,
        "metrics": metrics,
        "created": "2025-01-01T00:00:00Z",
    }
    return Result(**(facts | changes))


def rows(shown, kind="measured"):
    return [row for panel in shown.panels for row in panel.rows if row.kind == kind]


def test_seeds_become_a_mean_and_a_deviation_and_one_seed_keeps_its_interval():
    several = rows(table([result(40), result(50, seed=1), result(60, seed=2)], "precision"))[0]
    assert several.seeds == 3
    assert several.cells[0].value == pytest.approx(50)
    assert several.cells[0].deviation == pytest.approx(10)
    assert several.cells[0].interval is None
    one = rows(table([result(40)], "precision"))[0].cells[0]
    assert one.interval == pytest.approx((30, 50))
    assert one.deviation is None


def test_a_network_from_nothing_is_told_beside_a_published_number():
    shown = table([result(method="clip", search="linear")], "precision")
    measured = next(row for row in rows(shown) if row.method == "clip+linear")
    published = next(row for row in rows(shown, "published") if row.method == "clip+linear")
    assert (measured.backbone, measured.weights) == ("test_resnet", "trained from nothing")
    assert published.weights == "Table 1"
    for form in FORMATS:
        assert "trained from nothing" in render(shown, form, width=130)
        assert "published" in render(shown, form, width=130)


def test_the_papers_rows_stand_below_the_measured_of_the_same_cell_and_can_be_left_out():
    shown = table([result()], "precision")
    order = [(row.method, row.kind) for row in shown.panels[0].rows]
    assert order.index(("ft-clip+scann", "published")) == order.index(("ft-clip+scann", "measured")) + 1
    assert len(rows(shown, "published")) == 15
    assert not rows(table([result()], "precision", paper=False), "published")


def test_other_protocols_crops_and_fingerprints_are_panels_of_their_own_without_the_papers_numbers():
    other = [replace(CUB, protocol="metric-learning"), replace(CUB, crop="bbox"), replace(CUB, fingerprint="0" * 64)]
    shown = table([result(), *(result(dataset=dataset) for dataset in other)], "precision")
    assert len(shown.panels) == 4
    with_paper = [panel for panel in shown.panels if any(row.kind == "published" for row in panel.rows)]
    assert {(panel.protocol, panel.crop) for panel in with_paper} == {("closed-set", "none")}
    assert len({panel.title for panel in shown.panels}) == 4


def test_networks_recipes_and_machines_are_never_averaged_together():
    hub = Backbone(name="vit", weights="hub: x sha256:" + "a" * 64, parameters=6)
    mixed = [result(), result(seed=1, backbone=hub), result(seed=2, recipe=RecipeUsed(text="#", hash="c3"))]
    shown = table(mixed, "precision")
    assert [row.seeds for row in rows(shown)] == [1, 1, 1]
    assert any("2 recipes" in note for note in shown.panels[0].notes)
    cpu, gpu = ({"cpu": "x", "threads": 2, "precision": "fp32", "gpu": gpu} for gpu in (None, "H"))
    machines = [result(environment=cpu), result(seed=1, environment=gpu)]
    assert [len(rows(table(machines, metric))) for metric in ("latency", "precision")] == [2, 1]


def test_a_failed_cell_is_a_gap_with_its_reason():
    failed = {"status": "skipped", "reason": "nothing to load at this scale", "metrics": {}, "backbone": None}
    shown = table([result(), result(seed=1, **failed), result(method="clip", **failed)], "precision")
    gap = next(row for row in rows(shown) if row.method == "clip+scann")
    assert [cell.value for cell in gap.cells] == [None] * 4
    assert gap.seeds == 0
    for form in ("text", "markdown", "latex", "json"):
        text = render(shown, form)
        assert text.count("nothing to load at this scale") == 2
        assert "seed 1: skipped" in text


def test_a_metric_without_a_value_says_why():
    too_shallow = {"r_precision": Estimate(mean=None, reason="only 5 answers were kept")}
    shown = table([result(metrics=too_shallow)], "r_precision")
    assert rows(shown)[0].cells[0].value is None
    assert "only 5 answers were kept" in shown.panels[0].notes[0]


def test_shortened_results_enter_only_when_asked_and_then_say_so():
    results = [result(), result(method="irgen", search=None, shortened={"epochs": 3})]
    shown = table(results, "precision")
    assert [row.method for row in rows(shown)] == ["ft-clip+scann"]
    assert "1 shortened" in shown.notes[0]
    asked = table(results, "precision", include_shortened=True)
    assert "irgen (shortened: epochs=3)" in [row.method for row in rows(asked)]


def test_the_best_measured_value_is_marked_in_the_right_direction():
    def times(p50, rate):
        return Cost(query_ms=QueryTimes(batch=1, total_p50=p50), queries_per_s=rate)

    fast = result(60, method="irgen", search=None, cost=times(1.0, 900.0))
    shown = table([result(50, cost=times(2.0, 100.0)), fast], "latency")
    best = {row.method: [cell.best for cell in row.cells] for row in rows(shown)}
    assert best == {"irgen": [True, False, False, True, False, False], "ft-clip+scann": [False] * 6}
    quality = table([result(50), fast], "precision")
    assert {row.method for row in quality.panels[0].rows if row.cells[0].best} == {"irgen"}
    assert "**60.0**" in render(quality, "markdown")
    assert r"\textbf{60.0}" in render(quality, "latex")
    assert "*60.0" in render(quality, "text")
    assert re.search(r"\x1b\[1m *60\.0\x1b", render(quality, "text", color=True))


def test_bytes_for_each_image():
    cost = Cost(index_bytes=64_000, model_bytes=2_000_000)
    cells = rows(table([result(cost=cost)], "footprint"))[0].cells
    assert [cell.value for cell in cells] == pytest.approx([2.0, 0.064, 64, 2064, None, None])


def test_a_data_set_that_was_never_run_still_shows_the_papers_rows():
    shown = table([], "recall", datasets=["cars196", "digits"])
    assert [panel.dataset for panel in shown.panels] == ["cars196"]
    assert "irbench run --dataset cars196" in shown.panels[0].notes[0]
    assert shown.notes == ("digits: nothing measured yet",)


AWKWARD = Backbone(name=r"a|b_c & <i>50%</i> {x} #1 $2 ~^ `d` \n [red]e[/]", weights="w_*_|é", parameters=1)


def test_no_sign_is_taken_for_markup():
    shown = table([result(backbone=AWKWARD)], "precision", paper=False)
    line = next(line for line in render(shown, "markdown").splitlines() if "50%" in line)
    unescaped = line.replace(r"\\", "").replace(r"\|", "")
    assert unescaped.count("|") == 1 + 7
    assert "<i>" not in line
    assert r"b\_c &amp; &lt;i&gt;" in line
    latex = next(line for line in render(shown, "latex").splitlines() if "50" in line and "&" in line)
    assert r"b\_c \& \textless{}i\textgreater{}50\%\textless{}/i\textgreater{} \{x\} \#1 \$2" in latex
    assert r"\textasciitilde{}\textasciicircum{}" in latex
    assert latex.replace(r"\&", "").count("&") == 6
    text = render(shown, "text", width=200)
    assert AWKWARD.name in text
    parsed = list(csv.DictReader(io.StringIO(render(shown, "csv"))))
    assert parsed[0]["backbone"] == AWKWARD.name
    assert json.loads(render(shown, "json"))["panels"][0]["rows"][0]["backbone"] == AWKWARD.name


def test_csv_and_json_hold_the_same_unrounded_numbers():
    shown = table([result(100 / 3)], "precision", paper=False)
    line = next(csv.DictReader(io.StringIO(render(shown, "csv"))))
    cell = json.loads(render(shown, "json"))["panels"][0]["rows"][0]["cells"]["precision@1"]
    assert float(line["value"]) == cell["value"] == pytest.approx(100 / 3, abs=1e-12)
    assert [float(line["low"]), float(line["high"])] == cell["interval"]


@pytest.mark.parametrize("width", [100, 120])
def test_text_stays_within_the_terminal(width):
    hub = Backbone(name="vit_base_patch16_clip_224.openai", weights="hub: timm/x sha256:" + "a" * 64, parameters=6)
    for metric in ("precision", "recall", "latency", "footprint"):
        text = render(table([result(backbone=hub)], metric), "text", width=width)
        assert max(map(len, text.splitlines())) <= width
        assert "aaaaaaaa…" in text.replace("\n", "").replace(" ", "")


def test_wrong_names_are_the_users_error():
    with pytest.raises(UsageError, match="did you mean 'precision'"):
        table([], "precison")
    with pytest.raises(UsageError, match="did you mean 'markdown'"):
        render(table([], "precision"), "markdwon")


def test_tables_need_no_torch():
    code = "import sys, irbench.report.table, irbench.report.render; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_beams_miss_is_told_beside_exact_answers():
    exact = result(
        method="irgen",
        search=None,
        variant="decode-exact",
        retriever={"beam_misses": {"queries": 0.25, "leaves": 0.0123}},
    )
    (panel,) = table([exact, result()], "precision").panels
    (note,) = [note for note in panel.notes if "beam search" in note]
    assert "irgen@decode-exact, seed 0" in note
    assert "missed 1.23 %" in note
    assert "25.0 % of the queries" in note
