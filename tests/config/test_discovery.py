"""Discovery: what registers a class, what does not, and which mistakes are reported how."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from raising import raises

from irbench.config import discovery
from irbench.config.registry import ENCODERS, IDENTIFIERS, LOADERS, RETRIEVERS, SEARCHERS
from irbench.core import pyfile
from irbench.core.errors import RecipeError, UsageError

PLAIN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Config:
    dims: int = 3

class OwnSearcher:
    pass
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a file of searchers into a folder of one's own."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "methods" / "search"
    folder.mkdir(parents=True)

    def written(name: str, code: str) -> Path:
        (folder / name).write_text(code)
        return folder / name

    return written


def test_everything_that_ships_is_found_by_its_place() -> None:
    assert list(SEARCHERS) == ["binary", "cagra", "faiss", "ivfpq", "linear", "scann", "spann", "svs", "usearch"]
    assert list(ENCODERS) == ["cgd", "ft-clip", "irt-r", "off-the-shelf", "pixels", "vectors"]
    assert list(IDENTIFIERS) == ["hkm", "random", "rqvae", "semantic"]
    assert list(RETRIEVERS) == ["classify", "dense", "irgen"]
    assert list(LOADERS) == [
        "cars196", "csv", "cub200", "digits", "folders", "gldv2", "hub", "imagenet", "inat2018", "inshop", "instre",
        "judged", "omniglot", "places365", "revisitop", "sop", "vectors", "warped",
    ]  # fmt: skip
    for registry in (SEARCHERS, ENCODERS, IDENTIFIERS, RETRIEVERS, LOADERS):
        for name in registry:
            assert registry.load(name).__module__ == registry.schema(name).__module__ == registry[name].module


def test_listing_imports_nothing(write) -> None:
    write("loud.py", "raise SystemExit('imported')\n" + PLAIN)
    code = """
import sys
from irbench.config.registry import *
print([*SEARCHERS, *ENCODERS, *IDENTIFIERS, *RETRIEVERS, *LOADERS].count("loud"))
print([name for name in sys.modules if name in ("torch", "faiss") or name.startswith(("irbench.retr", "irbench.data"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["1", "[]"]


def test_an_own_file_has_a_module_of_its_own_that_is_read_again_when_edited(write) -> None:
    path = write("two_words.py", PLAIN)
    first = SEARCHERS.load("two-words")
    assert SEARCHERS.load("two-words") is first
    assert sys.modules[first.__module__].__file__ == str(path)
    assert SEARCHERS.schema("two-words")().dims == 3
    write("two_words.py", PLAIN.replace("3", "4"))
    assert SEARCHERS.schema("two-words")().dims == 4
    assert SEARCHERS.load("two-words") is not first


def test_an_own_file_that_cannot_be_imported_is_named(write) -> None:
    path = write("broken.py", PLAIN + "\n\nraise RuntimeError('boom')\n")
    line = path.read_text().splitlines().index("raise RuntimeError('boom')") + 1
    with raises(RecipeError, "bad-python-file", f"{path}, line {line}", "boom"):
        SEARCHERS.load("broken")
    write("broken.py", "raise SystemExit(0)\n" + PLAIN)
    with raises(RecipeError, "bad-python-file", str(path), "SystemExit"):
        SEARCHERS.load("broken")


def test_each_file_imports_its_own_neighbours(tmp_path: Path) -> None:
    found = []
    for folder in ("a", "b", "a"):
        path = tmp_path / folder / f"of_{len(found)}.py"
        path.parent.mkdir(exist_ok=True)
        (path.parent / "neighbour.py").write_text(f"here = {folder!r}\n")
        (path.parent / "json.py").write_text("here = 'not the library'\n")
        path.write_text("import json, neighbour\nfound = neighbour.here, hasattr(json, 'dumps')\n")
        found.append(pyfile.load(path).found)
    assert found == [("a", True), ("b", True), ("a", True)]


def test_an_own_file_is_found_in_the_folder_that_the_environment_names(write, monkeypatch, tmp_path) -> None:
    write("mine.py", PLAIN)
    monkeypatch.chdir("/")
    assert "mine" not in SEARCHERS
    monkeypatch.setenv("IRBENCH_RECIPES", str(tmp_path))
    assert SEARCHERS.load("mine").__name__ == "OwnSearcher"
    monkeypatch.chdir(tmp_path)  # one folder by two ways is no second registration
    assert SEARCHERS.load("mine").__name__ == "OwnSearcher"


def test_helpers_are_no_entries(write) -> None:
    write("_mine.py", PLAIN)
    write("tools.py", PLAIN.replace("OwnSearcher", "_OwnSearcher"))
    write("others.py", PLAIN.replace("OwnSearcher", "OwnEncoder"))
    write("imports.py", "from irbench.retrievers.searchers.linear import LinearSearcher")
    write("broken.py", "def :")
    assert list(SEARCHERS) == ["binary", "cagra", "faiss", "ivfpq", "linear", "scann", "spann", "svs", "usearch"]


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        (PLAIN + "\nclass OtherSearcher:\n    pass\n", "bad-python-file", "OwnSearcher, OtherSearcher"),
        ("class Config:\n    pass\n", "bad-python-file", "Searcher"),
        ("def :\n", "bad-python-file", "line 1"),
        ("class OwnSearcher:\n    pass\ndel OwnSearcher\n", "bad-python-file", "OwnSearcher"),
    ],
)
def test_a_file_without_exactly_one_class_is_reported(write, text, code, named) -> None:
    write("mine.py", text)
    with raises(RecipeError, code, "mine", named):
        SEARCHERS.load("mine")


@pytest.mark.parametrize("config", ["", "Config = 3", "class Config:\n    pass"])
def test_a_module_without_a_schema_is_reported(write, config) -> None:
    write("mine.py", f"class OwnSearcher:\n    pass\n{config}\n")
    with raises(RecipeError, "no-config", "mine.py"):
        SEARCHERS.schema("mine")


def test_an_unknown_name_is_reported_with_the_nearest() -> None:
    with raises(UsageError, "unknown-name", "'linaer'", "'linear'"):
        SEARCHERS.load("linaer")


def test_a_name_registered_twice_is_reported_with_both_places(write, monkeypatch) -> None:
    own = write("scann.py", PLAIN)
    with raises(UsageError, "name-taken", "'scann'", own, "irbench/retrievers/searchers/scann.py"):
        SEARCHERS.load("scann")
    thief = EntryPoint("linear", "thief:Searcher", "irbench.searchers")
    monkeypatch.setattr(discovery, "entry_points", lambda group: [thief])
    discovery._entry_points.cache_clear()
    with raises(UsageError, "name-taken", "'linear'", "linear.py", "thief:Searcher"):
        SEARCHERS.load("linear")
    discovery._entry_points.cache_clear()
