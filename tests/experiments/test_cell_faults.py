"""What goes wrong around a cell: folders that disappear, clocks that jump, secrets, and files that lie beside."""

import ast
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from raising import raises

import irbench
from irbench.core.errors import StoreError
from irbench.experiments import latency
from irbench.experiments.attempts import attempt, run_apart
from irbench.experiments.experiment import Experiment
from irbench.experiments.plan import Request, experiments
from irbench.experiments.settings import Settings
from irbench.results import files
from irbench.results.regression.cost import cost_changes
from irbench.results.regression.limits import Limits
from irbench.results.regression.pairs import Pair
from irbench.results.schema import Result
from irbench.retrievers.searchers import _faiss, _library, scann
from irbench.runtime import conditions

METHOD = """
import os, shutil, sys
import numpy as np
from pathlib import Path


class Mine:
    def encode(self, images):
        {fault}
        return np.array(images.labels[:, None] == np.arange(10), np.float32)
"""


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock has tests of its own."""
    monkeypatch.setattr(latency, "SINGLES", 2)
    monkeypatch.setattr(latency, "BATCHED", 8)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, work=tmp_path / "work", results=tmp_path / "out" / "results", device="cpu")


@pytest.fixture
def cell(settings: Settings, tmp_path: Path) -> Callable[..., Experiment]:
    """A cell of few queries, of the recipe "pixels" or of a file with a fault."""

    def make(fault: str = "", *, seed: int = 0) -> Experiment:
        if fault:
            (tmp_path / "mine.py").write_text(METHOD.format(fault=fault))
        methods = (str(tmp_path / "mine.py") if fault else "pixels",)
        (one,) = experiments(Request(methods=methods, max_queries=9, seeds=(seed,)), settings)
        return one

    return make


def stored(experiment: Experiment) -> Result:
    (outcome,) = attempt([experiment])
    assert outcome.path is not None, outcome.reason
    return files.read(outcome.path)


def test_results_whose_folder_is_removed_meanwhile_are_stored(cell, settings: Settings) -> None:
    settings.results.mkdir(parents=True)
    experiment = cell(f"shutil.rmtree({str(settings.results.parent)!r}, ignore_errors=True)")
    (outcome,) = run_apart([experiment], 120)
    assert (outcome.status, outcome.exit_code) == ("ok", 0)
    assert [one.status for one in files.read_all(settings.results)[0]] == ["ok"]


def test_a_file_in_the_place_of_the_results_is_one_message(cell, settings: Settings, capfd) -> None:
    folder = str(settings.results.parent)
    experiment = cell(f"shutil.rmtree({folder!r}, ignore_errors=True); Path({folder!r}).write_text('a file')")
    with raises(StoreError, "not-writable", settings.results, "--results"):
        next(run_apart([experiment], 120))
    assert "Traceback" not in capfd.readouterr().err
    assert settings.results.parent.read_text() == "a file"


LIMITED = """
        from irbench.runtime.batches import in_batches

        def one(start, end):
            if end - start > {fits}:
                raise torch.OutOfMemoryError("CUDA out of memory.\\nTried to allocate 2 TiB")
            return end

        list(in_batches("encode", len(images), 64, one))
"""


@pytest.mark.parametrize("fits", [10, 0])
def test_a_batch_that_does_not_fit_is_halved_and_one_image_that_does_not_ends_the_cell(cell, fits: int) -> None:
    (outcome,) = attempt([cell(f"import torch{LIMITED.format(fits=fits)}")])
    if fits:
        assert outcome.path is not None
        assert files.read(outcome.path).environment["encode_batch"] == 8
    else:
        assert (outcome.status, outcome.exit_code) == ("out_of_memory", 1)
        assert outcome.reason == "CUDA out of memory."
        assert files.read(outcome.path).reason == "CUDA out of memory."
    assert "encode_batch" not in stored(cell()).environment


HUGE = """
        import psutil, resource
        vectors = np.ones((len(images), 20000), np.float32)
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (16 << 20), -1))
        return vectors
"""


def test_an_index_that_does_not_fit_into_memory_is_one_message(cell, settings: Settings, capfd) -> None:
    (outcome,) = run_apart([cell(f"pass{HUGE}")], 200)
    assert (outcome.status, outcome.exit_code) == ("out_of_memory", 1)
    assert len(outcome.reason.splitlines()) <= 1
    ((result,), _) = files.read_all(settings.results)
    assert result.status == "out_of_memory"
    assert "Traceback" not in capfd.readouterr().err + outcome.reason


@pytest.mark.parametrize("library", [_faiss.library, scann.library])
def test_a_library_for_which_memory_does_not_suffice_is_not_missing(monkeypatch, library: Callable) -> None:
    def fail(name: str) -> None:
        raise ImportError(f"{name}: failed to map segment from shared object")

    monkeypatch.setattr(_library, "import_module", fail)
    with pytest.raises(MemoryError):
        library()


def test_many_cells_leave_no_descriptor_and_no_thread(cell) -> None:
    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208

    for fault in ("", "raise ValueError"):  # what is imported stays
        next(attempt([cell(fault)]))
    before = held()
    for seed in range(1, 6):
        assert stored(cell(seed=seed)).status == "ok"
        assert next(attempt([cell("raise ValueError", seed=seed)])).status == "failed"
    assert held() == before


def numbers(value: object) -> list[float]:
    """All numbers within a value."""
    if isinstance(value, dict | list | tuple):
        inner = value.values() if isinstance(value, dict) else value
        return [number for one in inner for number in numbers(one)]
    return [value] if isinstance(value, int | float) else []


def test_a_clock_that_jumps_back_changes_no_duration(cell, settings: Settings, monkeypatch) -> None:
    expected = stored(cell())
    path = expected.path(settings.results)
    path.unlink()
    now = [time.time()]

    def jumps() -> float:
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", jumps)
    monkeypatch.setattr(time, "time_ns", lambda: int(jumps() * 1e9))
    found = stored(cell())
    assert found.metrics == expected.metrics
    assert min(numbers(asdict(found.cost))) >= 0
    assert found.cost.query_ms.total_p50 < 10_000
    assert cell().stored() == found


@pytest.mark.parametrize(("factor", "marked"), [(1.0, False), (2.0, True)])
def test_times_on_more_cores_than_threads_are_marked(cell, monkeypatch, factor: float, marked: bool) -> None:
    now = [0.0]

    def ticks() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(conditions, "perf_counter", ticks)
    monkeypatch.setattr(conditions, "process_time", lambda: factor * now[0])
    result = stored(cell())
    assert result.environment["threads"] == 1
    assert result.environment["timing_cores"] == factor
    assert result.on_more_cores == marked
    pair = Pair(dataset="digits", cell=result.cell, before={0: result}, after={0: result})
    notes = cost_changes(pair, Limits())[1]
    busy = result.under_concurrent_load
    assert any("more cores" in note for note in notes) == (marked and not busy)


@pytest.mark.parametrize("ahead", [-86400, 86400])
def test_hits_that_were_stored_just_now_are_kept_whatever_the_clock_says(cell, settings, monkeypatch, ahead) -> None:
    result = stored(cell())
    path = result.path(settings.results)
    theirs = path.with_name(f"seed0-{'0' * 16}.safetensors")  # of another process, whose result comes next
    theirs.write_bytes(b"hits")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + ahead)
    files.write(result, settings.results)
    assert theirs.exists()
    os.utime(theirs, (1e9, 1e9))  # left by a process that was killed long ago
    files.write(result, settings.results)
    assert not theirs.exists()


def test_a_file_that_keeps_its_time_is_read_again(tmp_path: Path, settings: Settings) -> None:
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(b"one")

    def inputs() -> str:
        return Experiment(experiments(Request(methods=("pixels",)), settings)[0].cell, with_weights).inputs

    with_weights = Settings(data=tmp_path, work=tmp_path, results=tmp_path, device="cpu", weights=(weights,))
    before, times = inputs(), (weights.stat().st_atime_ns, weights.stat().st_mtime_ns)
    weights.write_bytes(b"two")
    os.utime(weights, ns=times)
    assert inputs() != before
    (tmp_path / "mine.py").write_text(METHOD.format(fault="one = 1"))
    os.utime(tmp_path / "mine.py", ns=times)
    method = lambda: experiments(Request(methods=(str(tmp_path / "mine.py"),)), settings)[0].inputs  # noqa: E731
    before = method()
    (tmp_path / "mine.py").write_text(METHOD.format(fault="one = 2"))
    os.utime(tmp_path / "mine.py", ns=times)
    assert method() != before


@pytest.mark.parametrize("fault", ["pass", "raise ValueError(os.environ['HUB_TOKEN'] + __file__)"])
def test_results_hold_no_secret_and_no_home_folder(cell, settings: Settings, tmp_path, monkeypatch, fault) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HUB_TOKEN", "hf_verysecret")
    monkeypatch.setenv("SECRET_TOKEN", "hf_verysecret_and_longer")
    (outcome,) = attempt([cell(fault)])
    assert outcome.status == ("ok" if fault == "pass" else "failed")
    if fault != "pass":
        assert "~/mine.py" in outcome.reason
    everything = [path for path in settings.results.rglob("*") if path.is_file()]
    assert len(everything) == (2 if fault == "pass" else 1)
    for path in everything:
        content = path.read_bytes()
        for secret in ("verysecret", str(tmp_path), os.uname().nodename):
            assert secret.encode() not in content, secret


def test_planted_pickles_and_indexes_are_not_opened(cell, settings: Settings) -> None:
    """Files that other programs would unpickle, beside everything that a cell reads and writes."""
    first = stored(cell())
    names = ("index_rq.pkl", "index.faiss", "embeddings.pkl", "model.pt", "seed0.pkl", "rq.joblib")
    folders = [path for path in settings.work.rglob("*") if path.is_dir()] + [first.path(settings.results).parent]
    planted = {folder / name for folder in (*folders, settings.work) for name in names}
    for path in planted:
        path.write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    opened = watched_opens()
    files.read_all(settings.results)
    again = stored(cell())
    assert [path for path in opened if path.suffix == ".npy"]  # it does see what is opened
    assert not set(opened) & planted
    assert again.metrics == first.metrics
    assert not list(settings.work.rglob("*.damaged-*"))


def watched_opens() -> list[Path]:
    """A list that grows with the files that this process opens."""
    opened: list[Path] = []

    def watch(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[0], str | Path):
            opened.append(Path(arguments[0]))

    sys.addaudithook(watch)
    return opened


def calls(path: Path) -> list[tuple[str, dict[str, object]]]:
    """The functions that a file calls by name, with the named arguments that are constants."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [
        (ast.unparse(one.func), {a.arg: a.value.value for a in one.keywords if isinstance(a.value, ast.Constant)})
        for one in found
    ]


def test_no_code_of_irbench_unpickles_or_reads_an_index() -> None:
    root = Path(irbench.__file__).parent
    found = [(path, *call) for path in sorted(root.rglob("*.py")) for call in calls(path)]
    assert len(found) > 5000
    for path, name, named in found:
        last = name.rpartition(".")[2]
        assert last not in {"read_index", "load_index", "deserialize_index", "read_pickle", "Unpickler"}, path
        assert name.partition(".")[0] not in {"pickle", "joblib", "dill", "cloudpickle"}, path
        assert not named.get("allow_pickle"), path
        if name == "torch.load":
            assert named["weights_only"] is True, path
