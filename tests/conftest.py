"""Fixtures that several test files share."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from serving import Site

from irbench.cli.main import main
from irbench.config import discovery
from irbench.core.benchmark import ImageSet
from irbench.runtime.cache import Store
from irbench.runtime.machine import Runtime

# Before torch is imported here and in the server of the cells' processes.
os.environ["HF_HUB_OFFLINE"] = "1"  # no test waits for a network
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a pool of threads beside another worker costs more than it gives


_LONG = {
    "test_pipeline.py", "test_repeat.py", "test_photographs.py", "test_attempts.py", "test_plug_ins.py",
    "test_artefacts.py",
}  # fmt: skip  # a minute or more each


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker waits for another one at the end."""
    items.sort(key=lambda item: item.path.name not in _LONG)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs and annotation files; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("IRBENCH_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; set IRBENCH_TEST_DATA")
    return folder


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """A CPU and an empty work folder."""
    return Runtime(store=Store(tmp_path / "work"))


@pytest.fixture
def images() -> ImageSet:
    """40 pictures of 40 x 40 pixels, of 4 classes with gaps in their numbers: noise over a colour of the class."""
    rng = np.random.default_rng(0)
    labels = np.repeat([2, 3, 5, 7], 10)
    colours = rng.integers(40, 216, (8, 3))[labels][:, None, None]
    noise = rng.integers(-40, 40, (40, 40, 40, 3))
    return ImageSet(
        name="train",
        ids=tuple(f"{row}.png" for row in range(40)),
        labels=labels,
        arrays=(colours + noise).clip(0, 255).astype(np.uint8),
    )


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def process(tmp_path: Path) -> Command:
    """Run the command line in a process of its own, in an empty folder: seconds, so only where it must be one."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "irbench", *arguments]
        env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "IRBENCH_QUIET": "1", **environment}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240, check=False)

    return run


@pytest.fixture
def irbench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Run the command line in an empty folder, where a test may have left recipes and a `site` of plug-ins.

    It runs in this process. Its cells have processes of their own, as always, but the server from which they are
    forked stays from test to test, so that torch is imported twice and not twice in each test.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "site")
    for name in [name for name in os.environ if name.startswith("IRBENCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    discovery._entry_points.cache_clear()

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["irbench", *arguments]
        with monkeypatch.context() as here:
            here.setattr(sys, "argv", command)
            for name, value in {"IRBENCH_QUIET": "1", **environment}.items():
                here.setenv(name, value)
            with pytest.raises(SystemExit) as left:
                main()
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(command, int(left.value.code or 0), out, err)

    yield run
    sys.modules.pop("irbench_plugin", None)
    discovery._entry_points.cache_clear()


@pytest.fixture
def plug_in(tmp_path: Path) -> Callable[[str, dict[str, str]], None]:
    """Install a module as a package with entry points, as an installer would have left it, with a recipe for each.

    `classes` maps "encoder:name" to the class of that name; the module is called irbench_plugin.
    """

    def install(code: str, classes: dict[str, str]) -> None:
        info = tmp_path / "site" / "irbench_plugin-1.0.dist-info"
        info.mkdir(parents=True)
        (tmp_path / "methods").mkdir()
        (info.parent / "irbench_plugin.py").write_text(code)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: irbench-plugin\nVersion: 1.0\n")
        points = ""
        for entry, cls in classes.items():
            kind, name = entry.split(":")
            points += f"[irbench.{kind}s]\n{name} = irbench_plugin:{cls}\n"
            recipe = f'# class: irbench_plugin.py\n# {cls}, of a plug-in\n{kind} = "{name}"\n'
            (tmp_path / "methods" / f"{name}.toml").write_text(recipe)
        (info / "entry_points.txt").write_text(points)

    return install


@pytest.fixture
def call(irbench: Command) -> Callable[..., tuple[int, str, str]]:
    """Run a command like `irbench`; returns status, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        done = irbench(*arguments)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Site()
    yield made
    made.close()
