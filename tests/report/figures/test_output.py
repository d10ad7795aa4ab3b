"""Figures as files and in pages: well-formed, on their own, the same twice, beside each other."""

import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest
from raising import raises
from typer.testing import CliRunner

from irbench.cli.main import app
from irbench.core.errors import UsageError
from irbench.report.figures import draw, save, svg

KINDS = ("pr", "mrr", "precision", "throughput", "pareto")


@pytest.mark.parametrize("kind", KINDS)
def test_an_svg_is_whole_and_needs_nothing_from_elsewhere(shelf, kind):
    shelf.put("a")
    shelf.put("b", status="skipped", reason='<script>alert("$x$")</script> & id="stolen"')
    text = svg(draw(kind, shelf.all, shelf.artefacts))
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root[0].text == root.find("{http://www.w3.org/2000/svg}title").text != ""
    words = " ".join("".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text"))
    assert '<script>alert("$x$")</script> & id="stolen"' in words
    references = re.findall(r'href="([^"]*)"|url\(([^)]*)\)|src="([^"]*)"', text)
    assert all("".join(found).startswith(("#", "data:image/png")) for found in references)
    ids = re.findall(r'<[^>]*\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    used = {"".join(found)[1:] for found in references if "".join(found).startswith("#")}
    assert used <= set(ids)


def test_two_figures_share_no_id_in_a_page(shelf):
    shelf.put("a")
    pages = [svg(draw(kind, shelf.all, shelf.artefacts)) for kind in KINDS]
    ids = [set(re.findall(r'\bid="([^"]*)"', page)) for page in pages]
    assert ids[0].isdisjoint(ids[1])
    assert ids[1].isdisjoint(ids[2])


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_a_file_is_the_same_in_every_run(shelf, tmp_path, form):
    shelf.put("a")
    save(draw("mrr", shelf.all, shelf.artefacts), tmp_path / f"here.{form}")
    code = (
        "import sys; from pathlib import Path; from irbench.results.artefacts import Artefacts;"
        "from irbench.results.files import read_all;"
        "from irbench.report.figures import draw, save; root = Path(sys.argv[1]);"
        "kept = Artefacts(root / 'results', root / 'work', root / 'data');"
        "save(draw('mrr', read_all(kept.results)[0], kept), Path(sys.argv[2]))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(tmp_path / f"there.{form}")], check=True)
    assert (tmp_path / f"here.{form}").read_bytes() == (tmp_path / f"there.{form}").read_bytes()


@pytest.mark.parametrize(("form", "begins"), [("svg", b"<svg"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_command_draws_what_it_is_asked_for(shelf, tmp_path, form, begins):
    shelf.put("a")
    shelf.put("b", search="linear")
    for kind in KINDS if form == "svg" else KINDS[:1]:
        out = tmp_path / "new" / f"{kind}.{form}"
        asked = CliRunner().invoke(
            app, ["plot", kind, "-m", "a", "--results", str(shelf.artefacts.results), "--out", str(out)]
        )
        assert (asked.exit_code, asked.stdout.strip()) == (0, str(out))
        assert out.read_bytes().startswith(begins)
        assert form != "svg" or "b+linear" not in out.read_text()
    broken = shelf.artefacts.results / "toy" / "c" / "seed0.json"
    broken.parent.mkdir()
    broken.write_text("{")
    again = CliRunner().invoke(app, ["plot", "pr", "--results", str(shelf.artefacts.results), "--out", str(out)])
    assert again.exit_code == 1  # drawn, without the damaged one, which is named
    assert str(broken) in again.stderr


def test_another_ending_is_refused(shelf, tmp_path):
    shelf.put("a")
    with raises(UsageError, "bad-format", ".svg", ".png", ".pdf"):
        save(draw("mrr", shelf.all, shelf.artefacts), tmp_path / "x.jpg")
    assert not (tmp_path / "x.jpg").exists()


def test_a_folder_in_the_place_of_the_file_is_told_at_once(shelf, tmp_path):
    shelf.put("a")
    (tmp_path / "figure.svg").mkdir()
    call = ["plot", "mrr", "--results", str(shelf.artefacts.results), "--out", str(tmp_path / "figure.svg")]
    failed = CliRunner().invoke(app, call)
    assert (failed.exit_code, failed.exception.code) == (1, "not-writable")
