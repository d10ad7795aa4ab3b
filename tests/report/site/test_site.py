"""The report as files: whole, linked, escaped, the same every time, and never in the place of something else."""

import os
import re
import signal
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from raising import raises

from irbench.core.errors import StoreError, UsageError
from irbench.core.identifiers import Identifiers
from irbench.metrics import diagnostics
from irbench.report.site import tasks, write
from irbench.results import hits
from irbench.results.schema import Cost, RecipeUsed

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """A page's links, ids and text; every element that is opened is closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open, self.links, self.ids, self.text = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == [], f"{path}: not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.links += [known[name] for name in ("href", "src", "xlink:href") if known.get(name)]
        self.ids += [known["id"]] if "id" in known else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def pages(site: Path) -> dict[str, Page]:
    return {str(path.relative_to(site)): Page(path) for path in sorted(site.rglob("*.html"))}


def test_every_link_leads_somewhere_and_nothing_is_fetched_from_elsewhere(made):
    site = made.root / "site"
    found = pages(site)
    assert {"index.html", "made.html", "paper.html", made.page("data"), made.page("explore")} <= found.keys()
    assert {"methods/exact.html", "methods/writer.html", "methods/broken.html"} <= found.keys()
    for name, page in found.items():
        assert len(page.ids) == len(set(page.ids)), f"{name}: an id stands twice"
        for link in page.links:
            if link == "data:,":
                continue
            path, _, anchor = link.partition("#")
            assert ":" not in path, f"{name}: {link}"
            target = (site / name).parent / unquote(path) if path else site / name
            assert target.is_file(), f"{name}: {link}"
            if anchor:
                assert anchor in found[str(target.resolve().relative_to(site.resolve()))].ids, f"{name}: {link}"
    for path in site.rglob("*.css"):
        assert "http" not in path.read_text()


def test_what_comes_from_results_and_file_names_is_escaped(made):
    site = made.root / "site"
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
    told = "".join(pages(site)["made.html"].text)
    assert "<script>alert('&\"')</script>" in told  # as text it is all there
    script = (site / "explore" / f"{made.benchmark.name}.js").read_text(encoding="utf-8")
    assert "<img src=x onerror=alert(" in script  # a name, which the page's script writes as text
    assert script.isascii()


def test_numbers_gaps_recipes_and_commands_are_told(made):
    found = pages(made.root / "site")
    text = {name: " ".join("".join(page.text).split()) for name, page in found.items()}
    best = max(made.all, key=lambda result: result.metrics["precision@2"].mean if result.metrics else 0)
    assert f"{100 * best.metrics['precision@2'].mean:.1f}" in text[made.page("data")]
    assert "failed: no wheel for" in text["made.html"]
    assert "irbench run --method writer --dataset PATH --seed 1" in text["made.html"]
    assert "irbench run --method writer --set beam_size=1" in text["made.html"]
    assert "2 seeds" in text["index.html"]
    assert "# <script>" in text["methods/writer.html"]  # the recipe


def test_the_same_results_make_the_same_pages(made, tmp_path):
    again = made.report(tmp_path / "again")
    for path in (made.root / "site").rglob("*"):
        if path.is_file():
            assert (again / path.relative_to(made.root / "site")).read_bytes() == path.read_bytes(), path


def test_without_the_work_folder_the_marks_remain_and_the_reason_is_told(world, tmp_path):
    site = world.report(artefacts=replace(world.artefacts, work=tmp_path / "none"))
    assert not list(site.rglob("*.webp"))
    text = " ".join(pages(site)[world.page("explore")].text)
    assert "rankings/" not in text  # no path of a file that is missing
    assert "irbench report --work" in text
    assert text.count("✓") > 8


def test_without_the_data_there_are_no_pictures_but_a_reason(world, tmp_path):
    site = world.report(artefacts=replace(world.artefacts, own=(), data=tmp_path / "none"))
    assert not list(site.rglob("*.webp"))
    assert "images are not at hand" in " ".join(pages(site)[world.page("explore")].text)


def test_a_data_set_on_which_nothing_ended_well_has_its_page_and_reasons(empty_world):
    world = empty_world
    world.put("broken", search="linear", status="skipped", reason="nothing to load")
    found = pages(world.report())
    assert "No run of an unmodified recipe succeeded here" in " ".join(found["index.html"].text)
    assert "nothing to load" in " ".join(found["made.html"].text)
    assert world.page("data") in found
    assert world.page("explore") not in found


def test_an_earlier_report_is_replaced_whole(world):
    site = world.report()
    (site / "methods" / "gone.html").write_text("of an earlier report")
    world.report()
    assert not (site / "methods" / "gone.html").exists()
    assert [path.name for path in world.root.iterdir() if path.name.startswith(".")] == []


def test_nothing_else_is_replaced(world):
    site = world.root / "site"
    site.mkdir()
    (site / "thesis.tex").write_text("years of work")
    with raises(UsageError, "not-empty", site):
        world.report()
    assert (site / "thesis.tex").read_text() == "years of work"
    with raises(UsageError, "not-writable", site / "thesis.tex"):
        world.report(site / "thesis.tex")
    with raises(UsageError, "no-results"):
        write([], world.artefacts, hits.Reader(world.artefacts.results), world.root / "other")


def test_a_report_that_cannot_be_made_leaves_the_earlier_one(world, monkeypatch):
    site = world.report()
    before = (site / "index.html").read_bytes()
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with raises(StoreError, "disk-full", site, "--out"):
        world.report()
    assert (site / "index.html").read_bytes() == before
    assert [path.name for path in world.root.iterdir() if path.name.startswith(".")] == []


def test_an_earlier_report_is_put_back_where_the_new_one_cannot_take_its_place(world, monkeypatch):
    site, rename = world.report(), Path.rename
    before = (site / "index.html").read_bytes()

    def fail_for_the_new_one(path, target):
        if path.name == "new":
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with raises(StoreError, "not-writable", site, "--out"):
        world.report()
    assert (site / "index.html").read_bytes() == before


def test_the_command_writes_it_and_names_what_cannot_be_read(world, call):
    bad = world.artefacts.results / world.benchmark.name / "writer" / "seed9.json"
    bad.write_text("{")
    folders = (
        "--results",
        str(world.artefacts.results),
        "--work",
        str(world.artefacts.work),
        "--dataset",
        str(world.root / "photos"),
    )
    status, out, err = call("report", "--out", "pages", *folders)
    assert status == 1
    assert "pages/index.html" in out
    assert str(bad) in err
    assert "not a result" in " ".join(Page(Path("pages/index.html")).text)
    assert list(Path("pages").rglob("*.webp"))  # the data set of one's own was found by its path


def test_rows_of_two_recipes_have_each_its_own_cost_and_equal_ranks_are_ties(empty_world):
    for seed, recipe in enumerate(("older", "newer", "newer")):
        cost = Cost(queries_per_s=100.0 * (1 + seed), index_bytes=0)
        empty_world.put(
            "writer", seed=seed, noise=0.02, recipe=RecipeUsed(text=f"version = '{recipe}'", hash=recipe), cost=cost
        )
    for name in ("one", "two"):
        empty_world.put(name, seed=0, noise=0.02)
    index = (empty_world.report() / "index.html").read_text(encoding="utf-8")
    rows = re.findall(r"<tr>.*?</tr>", index[index.index('class="board"') : index.index("Runs")], re.DOTALL)
    cells = [re.findall(r'<td class="n">(?:<span[^>]*>)?([^<]*)', row) for row in rows if "methods/" in row]
    shown = {(re.search(r"methods/(\w+)", row)[1], *found[:2]) for row, found in zip(rows[1:], cells, strict=True)}
    assert shown == {("writer", "tie", "100"), ("writer", "—", "250"), ("one", "1-3", "300"), ("two", "tie", "300")}


def test_the_diagnostics_of_identifiers_are_on_the_page_of_their_method(empty_world):
    gallery = empty_world.benchmark.gallery
    numbers = Identifiers(np.arange(len(gallery))[:, None], len(gallery))  # each image its own: nothing is shared
    asked = replace(empty_world.benchmark, train=gallery)
    report = diagnostics.report(numbers, asked)
    retriever = {"identifiers": report, "training": {"irgen": {"loss": [3.0, 2.875]}}}
    empty_world.put("writer", codes=True, retriever=retriever)
    empty_world.put("imported", codes=True, retriever={"identifiers": report | {"valid_identifier_rate": 0.25}})
    rows = {name: pages(empty_world.report())[f"methods/{name}.html"].text for name in ("writer", "imported")}
    least = f"{report['entropy_lower_bound']:.3f}"
    assert least == f"{np.log(8):.3f}"  # of eight images of a class any may be meant
    after = {name: row[row.index("Diagnostics of the identifiers") :] for name, row in rows.items()}
    cells = {name: row[row.index(least) :] for name, row in after.items()}
    assert cells["writer"][:3] == [least, "2.875", f"{2.875 - report['entropy_lower_bound']:.3f}"]
    assert cells["imported"][:3] == [least, "—", "—"]
    assert "0.25" in cells["imported"]


def _killed(*_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_parts_made_by_other_processes_are_the_same_and_one_that_is_killed_ends_in_a_message(made, monkeypatch):
    def written(site: Path) -> dict[Path, bytes]:
        return {path.relative_to(site): path.read_bytes() for path in site.rglob("*") if path.is_file()}

    alone = written(made.report(made.root / "alone"))
    monkeypatch.setattr(tasks, "_MANY", 0)
    monkeypatch.setattr(tasks, "available_cores", lambda: 2)
    assert written(made.report(made.root / "beside")) == alone

    monkeypatch.setattr(tasks, "_done", _killed)
    with raises(StoreError, "process-killed"):
        made.report(made.root / "killed")
    assert not (made.root / "killed").exists()
