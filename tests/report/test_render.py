"""Tables as text, Markdown, LaTeX, CSV and JSON: the same numbers, and no sign of a name is taken for markup."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest
from chosen import NOTHING, Artefacts, drawn, result

from irbench.core.description import Backbone
from irbench.report.render import render
from irbench.report.table import table

AWKWARD = Backbone(name=r"a|b_c & <i>50%</i> {x} #1 $2 ~^ `d` \n [red]e[/]", weights="w_*_|é", parameters=1)


def test_no_sign_is_taken_for_markup():
    shown = table([result(backbone=AWKWARD)], "precision", paper=False)
    line = next(line for line in render(shown, "markdown").splitlines() if "50%" in line)
    unescaped = line.replace(r"\\", "").replace(r"\|", "")
    assert unescaped.count("|") == 1 + 6
    assert "<i>" not in line
    assert r"b\_c &amp; &lt;i&gt;" in line
    latex = next(line for line in render(shown, "latex").splitlines() if "50" in line and "&" in line)
    assert r"b\_c \& \textless{}i\textgreater{}50\%\textless{}/i\textgreater{} \{x\} \#1 \$2" in latex
    assert r"\textasciitilde{}\textasciicircum{}" in latex
    assert latex.replace(r"\&", "").count("&") == 5
    text = render(shown, "text", width=200)
    assert AWKWARD.name in text
    parsed = list(csv.DictReader(io.StringIO(render(shown, "csv"))))
    assert parsed[0]["backbone"] == AWKWARD.name
    assert json.loads(render(shown, "json"))["panels"][0]["rows"][0]["backbone"] == AWKWARD.name


@pytest.mark.parametrize("name", ["=1+1", "@SUM(1)", "+1", "-1", "\t=1"])
def test_no_text_of_csv_is_a_formula(name):
    shown = table([result(0.0, backbone=replace(NOTHING, name=name))], "precision", paper=False)
    line = next(csv.DictReader(io.StringIO(render(shown, "csv"))))
    assert line["backbone"] == f"'{name}"
    assert float(line["value"]) == 0  # a number is no text


def test_csv_and_json_hold_the_same_unrounded_numbers():
    shown = table([result(100 / 3)], "precision", paper=False)
    line = next(csv.DictReader(io.StringIO(render(shown, "csv"))))
    cell = json.loads(render(shown, "json"))["panels"][0]["rows"][0]["cells"]["precision@1"]
    assert float(line["value"]) == cell["value"] == pytest.approx(100 / 3, abs=1e-12)
    assert [float(line["low"]), float(line["high"])] == cell["interval"]


@pytest.mark.parametrize("width", [100, 120])
def test_text_stays_within_the_terminal(width):
    hub = Backbone(name="vit_base_patch16_clip_224.openai", weights="hub: timm/x sha256:" + "a" * 64, parameters=6)
    for metric in ("precision", "hit_rate", "latency", "footprint"):
        text = render(table([result(backbone=hub)], metric), "text", width=width)
        assert max(map(len, text.splitlines())) <= width
        assert "aaaaaaaa…" in text.replace("\n", "").replace(" ", "")


def test_every_format_tells_ranks_and_p():
    kept = Artefacts(good=[drawn(0.9, 0)], even=[drawn(0.88, 1)], poor=[drawn(0.5, 2)])
    shown = table(kept.results(), "precision", paper=False, judge=kept)
    lines = list(csv.DictReader(io.StringIO(render(shown, "csv"))))
    (poor,) = [line for line in lines if (line["method"], line["quantity"]) == ("poor", "precision@2")]
    assert (poor["rank_from"], poor["rank_to"]) == ("3", "3")
    assert float(poor["p"]) < 0.05
    cell = json.loads(render(shown, "json"))["panels"][0]["rows"][0]["cells"]["precision@2"]
    assert cell["rank"] == [1, 2]
    for form in ("text", "markdown"):
        assert re.search(r"≈8\d\.\d", render(shown, form))
        assert "1-2" in render(shown, form)
    assert re.search(r"\$\\approx\$8\d\.\d", render(shown, "latex"))


def test_latex_is_balanced_and_its_rows_have_their_columns():
    kept = Artefacts(a_b=[drawn(0.9, 0)], c=[drawn(0.5, 1)])
    failed = result(method="x{y", status="failed", reason="50 % of $x_1\n{broken", metrics={}, backbone=None)
    text = render(table([*kept.results(), failed], "precision", judge=kept), "latex")
    backbone = re.sub(r"\\[\\{}&%$#_]", "", "\n".join(line for line in text.splitlines() if not line.startswith("%")))
    assert backbone.count("{") == backbone.count("}")
    assert backbone.count("$") % 2 == 0
    for name in ("table", "tabular"):
        assert backbone.count(rf"\begin{{{name}}}") == backbone.count(rf"\end{{{name}}}") == 1
    columns = len(re.sub(r"p\{[^}]*\}", "p", re.search(r"begin\{tabular\}\{(.*)\}", text)[1]))
    assert {line.count("&") for line in backbone.splitlines() if "&" in line} == {columns - 1}
