"""What README and docs promise: commands are marked for CI, and the method that they add in two files runs."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from irbench import TorchEncoder
from irbench.testing import check_encoder, check_identifier, check_retriever, check_searcher

ROOT = Path(__file__).parents[1]


ADDED = {"search/projection": check_searcher, "thumbnail": check_encoder, "identifier/colour": check_identifier,
         "chance": check_retriever}  # fmt: skip


def block(language: str, name: str) -> str:
    """Return the block of docs/add-a-method.md that is the file `name` of a language."""
    text = (ROOT / "docs" / "add-a-method.md").read_text()
    ending = {"python": "py", "toml": "py"}[language]  # a recipe's first line names its class's file
    return next(one for one in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if f"{name}.{ending}" in one)


def write(folder: Path, name: str) -> None:
    """Write the two files that the page shows, taken literally."""
    path = folder / "methods" / name
    path.parent.mkdir(parents=True)
    path.with_suffix(".py").write_text(block("python", name))
    path.with_suffix(".toml").write_text(block("toml", name))


def test_ci_finds_both_commands() -> None:
    commands = re.findall(r"<!-- ci: (\w+) -->\n```\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert [name for name, _ in commands] == ["run", "test"]
    assert "irbench run" in commands[0][1]
    assert "pytest" in commands[1][1]


def test_the_workflow_for_github_checks_what_it_ran(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "measuring.md").read_text(), re.DOTALL)
    steps = [step["run"] for step in yaml.safe_load(text)["jobs"]["check"]["steps"] if "run" in step]
    assert [step.split()[0] for step in steps] == ["pip", "irbench", "irbench"]
    page = tmp_path / "summary.md"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for number, step in enumerate(steps[1:]):
        if number == 1:
            shutil.copytree(tmp_path / "runs" / "results", tmp_path / "results")  # the baseline of an unchanged cell
        done = subprocess.run(
            ["bash", "-e", "-c", step],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "GITHUB_STEP_SUMMARY": str(page)},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert "irbench check: passed" in page.read_text()
    assert "| pixels+linear | 0 |" in page.read_text()


@pytest.mark.parametrize("name", ADDED)
def test_the_classes_of_the_docs_keep_every_contract(name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, name)
    monkeypatch.chdir(tmp_path)
    ADDED[name](Path(name).name)


def test_the_searcher_of_the_docs_runs(irbench: Callable, tmp_path: Path) -> None:
    write(tmp_path, "search/projection")
    done = irbench("run", "--method", "pixels+projection", "--max-queries", "20")
    assert done.returncode == 0, done.stderr
    assert "pixels+projection" in done.stdout


def test_an_encoder_of_the_python_api_keeps_every_contract() -> None:
    import torch
    from torchvision import transforms

    to_tensor = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 64))
    check_encoder(TorchEncoder(network, to_tensor))
