"""What README and docs promise: commands are marked for CI, and the method that they add in two files runs."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from irbench.testing import check_searcher

ROOT = Path(__file__).parents[1]


def block(language: str) -> str:
    """Return the first block of a language in docs/add-a-method.md that is about the projection searcher."""
    text = (ROOT / "docs" / "add-a-method.md").read_text()
    return next(one for one in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if "projection" in one)


@pytest.fixture
def searcher(tmp_path: Path) -> None:
    """The two files that the page shows, taken literally, in the current folder of a command."""
    folder = tmp_path / "methods" / "search"
    folder.mkdir(parents=True)
    (folder / "projection.py").write_text(block("python"))
    (folder / "projection.toml").write_text(block("toml"))


def test_ci_finds_both_commands() -> None:
    commands = re.findall(r"<!-- ci: (\w+) -->\n```\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert [name for name, _ in commands] == ["run", "test"]
    assert "irbench run" in commands[0][1]
    assert "pytest" in commands[1][1]


@pytest.mark.usefixtures("searcher")
def test_the_searcher_of_the_docs_keeps_every_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_searcher("projection")


@pytest.mark.usefixtures("searcher")
def test_the_searcher_of_the_docs_runs(irbench: Callable) -> None:
    done = irbench("run", "--method", "pixels+projection", "--max-queries", "20")
    assert done.returncode == 0, done.stderr
    assert "pixels+projection" in done.stdout
