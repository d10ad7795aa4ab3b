"""What a change of the code makes due: the artefacts that this code makes, and no others."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from irbench.data.decode import fit
from irbench.data.sources import Source
from irbench.metrics import retrieval
from irbench.results import scoring
from irbench.results.files import read_all
from irbench.results.schema import Result
from irbench.retrievers.cached_encoder import CachedEncoder
from irbench.retrievers.dense import DenseRetriever
from irbench.retrievers.encoders.ft_clip import FtClipEncoder
from irbench.retrievers.encoders.pixels import PixelEncoder
from irbench.retrievers.irgen import features
from irbench.retrievers.irgen.autoregression import Autoregression
from irbench.retrievers.irgen.identifiers.hkm import HierarchicalIdentifier
from irbench.retrievers.irgen.identifiers.semantic import Tokenization
from irbench.retrievers.irgen.retriever import IrgenRetriever
from irbench.retrievers.searchers.linear import LinearSearcher
from irbench.runtime.code import NEUTRAL, Packages, code_digest
from irbench.training.loop import Task

PACKAGE = Path(retrieval.__file__).parents[1]
MAKERS = {
    "pixels": (Source, fit),
    "vectors": (FtClipEncoder, CachedEncoder),
    "features": (features.features,),
    "tree": (HierarchicalIdentifier,),
    "tokenizer": (Tokenization, Task),
    "decoder": (Autoregression, Task),
    "ranking of pixels": (DenseRetriever, PixelEncoder, LinearSearcher),
    "ranking of irgen": (IrgenRetriever,),
    "scores": (scoring.estimates,),
}
LEARNS = {"vectors", "tokenizer", "decoder", "ranking of irgen"}
SEES = {*LEARNS, "pixels", "features", "ranking of pixels"}
DUE = {
    "data/decode.py": SEES,
    "data/sources.py": SEES,
    "networks/backbones.py": {*LEARNS, "features"},
    "training/optim.py": LEARNS,
    "retrievers/encoders/ft_clip.py": {"vectors"},
    "retrievers/encoders/pixels.py": {"ranking of pixels"},
    "retrievers/searchers/linear.py": {"ranking of pixels"},
    "retrievers/searchers/scann.py": set(),
    "retrievers/irgen/features.py": {"features", "tokenizer", "ranking of irgen"},
    "retrievers/irgen/quantizer.py": {"tokenizer"},
    "retrievers/irgen/decoder.py": {"decoder", "ranking of irgen"},
    "retrievers/irgen/beam.py": {"ranking of irgen"},
    "retrievers/irgen/identifiers/hkm.py": {"tree"},
    "metrics/retrieval.py": {"scores"},
    "metrics/uncertainty.py": {"scores"},
    "metrics/significance.py": set(),
    "results/scoring.py": {"scores"},
    "metrics/diagnostics.py": set(),
    "core/errors.py": set(),
    "runtime/progress.py": set(),
    "experiments/plan.py": set(),
    "report/table.py": set(),
    "cli/main.py": set(),
}  # fmt: skip


def digests(package: Path) -> dict[str, list[str]]:
    """Digest what makes each kind of artefact, as it reads in one copy of irbench."""
    packages = Packages({"irbench": [package]}, NEUTRAL)
    return {kind: [packages.digest(maker.__module__) for maker in makers] for kind, makers in MAKERS.items()}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of irbench and its recipes, to be changed."""
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("irbench", "methods", "datasets"):
        shutil.copytree(PACKAGE.parent / folder, tmp_path / "copy" / folder, ignore=ignored)
    return tmp_path / "copy"


@pytest.mark.parametrize("file", DUE)
def test_a_change_makes_due_what_the_file_makes(file: str, copy: Path) -> None:
    with (copy / "irbench" / file).open("a") as source:
        source.write("\n\nCHANGED = 1\n")
    before, after = digests(PACKAGE), digests(copy / "irbench")
    assert {kind for kind in MAKERS if before[kind] != after[kind]} == DUE[file]


def test_comments_everywhere_and_a_new_searcher_make_nothing_due(copy: Path) -> None:
    for path in copy.rglob("*.py"):
        path.write_text('"""Another docstring."""\n# and a comment\n\n' + path.read_text())
    (copy / "irbench/retrievers/searchers/projection.py").write_text("import numpy\n\n\nclass Searcher:\n    pass\n")
    assert digests(copy / "irbench") == digests(PACKAGE)


def test_no_maker_finds_its_code_by_a_name_in_a_string() -> None:
    """What is imported so would not count."""
    packages = Packages({"irbench": [PACKAGE]}, NEUTRAL)
    for maker in (maker for makers in MAKERS.values() for maker in makers):
        for name, source in packages.closure(maker.__module__).items():
            assert "'irbench." not in source.text, name


@pytest.mark.slow
def test_stored_artefacts_are_keyed_by_their_makers(irbench: Callable, tmp_path: Path) -> None:
    done = irbench("run", "-m", "irgen", "-m", "ft-clip", "--epochs", "1", "--max-queries", "5")
    assert done.returncode == 0, done.stderr
    found = {(kind, task or "", code) for kind, task, code in _keys(tmp_path / "runs/work")}
    expected = {
        ("pixels", "", "pixels"),
        ("embeddings", "", "vectors"),
        ("features", "", "features"),
        ("model", "tokenizer", "tokenizer"),
        ("model", "irgen", "decoder"),
    }
    trained = {one for one in found if one[1] not in ("", "tokenizer", "irgen")}  # the encoder that others start from
    assert found - trained == {(kind, task, code_digest(*MAKERS[made])) for kind, task, made in expected}
    assert len(trained) == 1


def _keys(work: Path) -> Iterator[tuple[str, str | None, str]]:
    """Yield the kind of each stored artefact, its task and the digest of its code."""
    for path in work.glob("*/*/entry.json"):
        parts = json.loads(path.read_text())["key"]
        yield path.parent.parent.name, parts.get("task"), parts["code"]


CELL = ("-m", "pixels+linear")


class Bench:
    """The command line of a copy of irbench, and what it left behind."""

    def __init__(self, process: Callable, copy: Path, folder: Path) -> None:
        self.process, self.copy, self.folder = process, copy, folder

    def __call__(self, *arguments: str) -> tuple[str, str]:
        done = self.process(*arguments, PYTHONPATH=str(self.copy))
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    def change(self, file: str, old: str, new: str) -> None:
        path = self.copy / "irbench" / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    @property
    def result(self) -> Result:
        (found,), problems = read_all(self.folder / "runs/results")
        assert not problems
        return found

    @property
    def work(self) -> dict[str, int]:
        """Every file of the work folder, and when it was written."""
        files = (path for path in (self.folder / "runs/work").rglob("*") if path.is_file() and path.suffix != ".lock")
        return {str(path.relative_to(self.folder / "runs/work")): path.stat().st_mtime_ns for path in files}


@pytest.fixture
def bench(irbench: Callable, process: Callable, copy: Path, tmp_path: Path) -> Bench:
    """A copy of irbench over what irbench itself has left when it ran the cell."""
    assert irbench("run", *CELL).returncode == 0
    return Bench(process, copy, tmp_path)


def values(table: str) -> dict[str, list[float]]:
    """Read the rows of a table that was printed as JSON."""
    (panel,) = json.loads(table)["panels"]
    return {row["method"]: [cell["value"] for cell in row["cells"].values()] for row in panel["rows"]}


def test_another_precision_is_printed_without_a_search(bench: Bench) -> None:
    before, work = bench.result, bench.work
    bench.change("metrics/retrieval.py", "return judged.hits_in(k) / k", "return judged.hits_in(k) / k / 2")
    out, err = bench("table", "--format", "json")
    shown = values(out)
    assert shown["upper bound"][0] == pytest.approx(50)
    assert shown["pixels+linear"][0] == pytest.approx(50 * before.metrics["precision@1"].mean, abs=0.01)
    assert "recomputed" in err
    assert bench.result == before  # a table writes nothing

    bench("run", *CELL)
    after = bench.result
    assert after.metrics["precision@1"].mean == pytest.approx(before.metrics["precision@1"].mean / 2)
    assert after.metrics["recall@10"] == before.metrics["recall@10"]
    assert (after.inputs, after.ranking, after.created) == (before.inputs, before.ranking, before.created)
    assert after.scoring != before.scoring
    assert bench.work == work
    assert "recomputed" not in bench("table")[1]


def test_a_new_metric_reaches_old_results(bench: Bench) -> None:
    before, work = bench.result, bench.work
    (bench.folder / "metrics").mkdir()
    (bench.folder / "metrics/top.py").write_text(
        "from irbench.metrics.retrieval import Metric\n\n"
        'METRIC = Metric("half", "Half", "half of Σh/K", lambda judged, k: judged.hits_in(k) / k / 2)\n'
    )
    (bench.folder / "metrics/others.py").write_text("raise SystemExit('no metric, and not imported')\n")
    assert "half@K" in bench("list", "metrics")[0]
    shown = values(bench("table", "--metric", "half", "--format", "json")[0])
    assert shown["pixels+linear"] == pytest.approx(
        [50 * before.metrics[f"precision@{k}"].mean for k in (1, 10, 20, 30)], abs=0.01
    )
    assert bench.result == before
    (bench.folder / "runs/results/digits/pixels+linear" / before.hits.file).unlink()
    bench("rescore")  # from the ranking, then
    assert bench.result.metrics["half@10"].mean == pytest.approx(before.metrics["precision@10"].mean / 2)
    assert bench.result.metrics["precision@10"] == before.metrics["precision@10"]
    assert bench.work == work


def test_a_cell_is_due_when_its_searcher_changes_and_not_when_another_does(bench: Bench) -> None:
    before, work = bench.result, bench.work
    bench.change("retrievers/searchers/scann.py", "\nimport", "\nCHANGED = 1\nimport")
    bench.change("retrievers/searchers/linear.py", "\n@dataclass", "\n# a comment\n@dataclass")
    (bench.copy / "irbench/retrievers/searchers/projection.py").write_text("class ProjectionSearcher:\n    pass\n")
    assert "1 cell stored already" in bench("run", *CELL)[1]
    assert (bench.result, bench.work) == (before, work)
    bench.change("retrievers/searchers/linear.py", "\n@dataclass", "\nCHANGED = 1\n\n\n@dataclass")
    assert "1 cell to run" in bench("run", *CELL, "--dry-run")[1]
