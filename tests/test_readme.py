"""What the README promises: its commands are marked for CI, and the method that it adds in one file runs."""

import re
from collections.abc import Callable
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def block(language: str, containing: str) -> str:
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in text]
    assert len(found) == 1
    return found[0]


def test_ci_finds_both_commands() -> None:
    commands = re.findall(r"<!-- ci: (\w+) -->\n```\n(.*?)\n```", README, re.DOTALL)
    assert [name for name, _ in commands] == ["run", "test"]
    assert "irbench run" in commands[0][1]
    assert commands[1][1].endswith("pytest")


def test_the_searcher_that_it_shows_runs_as_shown(irbench: Callable, plug_in: Callable, tmp_path: Path) -> None:
    plug_in(block("python", "ProjectionSearcher"), {"searcher:projection": "ProjectionSearcher"})
    (tmp_path / "methods" / "projection.toml").unlink()
    (tmp_path / "methods" / "search").mkdir()
    (tmp_path / "methods" / "search" / "projection.toml").write_text(block("toml", "projection"))
    done = irbench("run", "--method", "pixels+projection")
    assert done.returncode == 0, done.stderr
    assert "pixels+projection" in done.stdout
