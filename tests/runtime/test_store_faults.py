"""What is stored survives a loss of power, a failing disk, a dead holder of a lock, and links that others planted."""

import errno
import fcntl
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from losing_power import Disk
from raising import raises

from irbench.core.errors import StoreError
from irbench.core.ranking import Ranking
from irbench.results import rankings
from irbench.results.regression import baseline
from irbench.runtime import locks
from irbench.runtime.cache import Key, Store, write_atomically
from irbench.runtime.unfinished import leftovers, unfinished
from irbench.training.checkpoint import Checkpoint, Progress, write_tensors

KEY = Key("pixels", {"data": "abc"})
VECTORS = np.arange(4000, dtype=np.float32).reshape(1000, 4)


def make(folder: Path) -> None:
    np.save(folder / "vectors.npy", VECTORS)
    (folder / "facts.json").write_text("{}")


def files_below(root: Path) -> list[str]:
    """The names that a later run could trip over: locks stay."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")


def saved(root: Path, step: int) -> None:
    """Store step 1, 2 … of each kind of thing that is replaced."""
    write_atomically(root / "a.json", f"{step}" * 50)
    Checkpoint(root / "training.safetensors").save({"module": {"w": torch.full((9,), step)}}, Progress(step=step))
    make_entry = lambda folder: (folder / "step").write_text(f"{step}") and None  # noqa: E731
    Store(root / "work" / "deep").ensure(Key("model", {"step": step}), make_entry, span="train")


def found(root: Path, step: int) -> list[int]:
    """What is found of a step: the text, the checkpoint, the entry."""
    text = (root / "a.json").read_text() if (root / "a.json").exists() else ""
    assert len(set(text)) <= 1
    assert len(text) in {0, 50}
    state = Checkpoint(root / "training.safetensors").load()
    assert (root / "training.safetensors").exists() == (state is not None)  # never one that is torn
    if state is not None:
        assert set(state[0]["module"]["w"].tolist()) == {float(state[1].step)}
    entry = Store(root / "work" / "deep").find(Key("model", {"step": step}))
    assert not list(root.rglob("*.damaged-*"))
    return [text[:1] == f"{step}", state is not None and state[1].step == step, entry is not None]


def laid_out(files: dict[str, bytes], root: Path) -> Path:
    root.mkdir()
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_a_loss_of_power_leaves_the_old_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with monkeypatch.context() as patched:
        disk = Disk(root, patched)
        saved(root, 1)
        first = len(disk.states)
        saved(root, 2)
    different = {tuple(sorted(state.items())): number for number, state in enumerate(disk.states)}
    assert len(different) > 15
    for number in different.values():
        there = laid_out(disk.states[number], tmp_path / f"state{number}")
        before, after = found(there, 1), found(there, 2)
        if number >= first:
            assert before[2]  # entries stay
            assert all(map(any, zip(before[:2], after[:2], strict=True)))
    end = laid_out(disk.lost()[0], tmp_path / "end")
    disk.close()
    assert found(end, 2)[0]
    assert found(end, 2)[2]  # even where only what was flushed is kept


class Failing:
    """A file that raises at one of its operations."""

    def __init__(self, file: object, operation: str) -> None:
        self._file, self._operation = file, operation

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> "Failing":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._operation == "close":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def write(self, content: bytes) -> int:
        if self._operation == "write":
            self._file.write(content[: len(content) // 2])
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._file.write(content)


@contextmanager
def failing(operation: str, at: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Let the so-many-th file that is opened for writing, or the so-many-th flush, fail; yields how many there were."""
    seen, opened, flushed = [0], Path.open, os.fsync

    def fails() -> bool:
        seen[0] += 1
        return seen[0] == at + 1

    def open_(path: Path, mode: str = "r", *arguments: object, **named: object) -> object:
        file = opened(path, mode, *arguments, **named)
        return Failing(file, operation) if set(mode) & set("wxa") and fails() else file

    def fsync(descriptor: int) -> None:
        if fails():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        flushed(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(*(os, "fsync", fsync) if operation == "fsync" else (Path, "open", open_))
        yield seen


@pytest.mark.parametrize("operation", ["write", "fsync", "close"])
def test_an_error_of_the_disk_is_told_and_nothing_counts_as_stored(tmp_path: Path, monkeypatch, operation) -> None:
    ranking = Ranking.from_topk([[4, 2]], [[0.5, 0.25]])
    for at in range(20):
        folder = tmp_path / f"{at}"
        with failing(operation, at, monkeypatch) as seen:
            try:
                Store(folder).ensure(KEY, make, span="encode")
                rankings.save_ranking(ranking, folder / "rankings")
            except (StoreError, OSError) as error:
                assert "Input/output error" in str(error)  # noqa: PT017
        left = [name for name in files_below(folder) if "/" in name]
        whole = Store(folder).find(KEY) is not None
        assert all(name.startswith(f"pixels/{KEY.digest}/") == whole for name in left if name.startswith("pixels"))
        assert not [name for name in left if "/." in name]
        Store(folder).ensure(KEY, make, span="encode")
        assert rankings.load_ranking(rankings.save_ranking(ranking, folder / "rankings"), folder / "rankings")
        if seen[0] <= at:
            break
    assert at > 1


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Cut every file off at `size` bytes: what is more is written in part, and then is an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda folder: (folder / "long.txt").write_text("x" * 40_000),
    "array": lambda folder: np.save(folder / "a.npy", VECTORS),
    "array in pieces": lambda folder: np.save(folder / "a.npy", VECTORS.T[:, ::2]),
    "tensors": lambda folder: write_tensors({"w": torch.zeros(9999)}, folder / "model.safetensors"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_write_in_part_is_the_users_error_and_leaves_no_entry(tmp_path: Path, writer: str) -> None:
    def fill(folder: Path) -> None:
        WRITERS[writer](folder)

    with largest_file(2000), raises(StoreError, "disk-full", tmp_path, "--work"):
        Store(tmp_path).ensure(KEY, fill, span="encode")
    assert files_below(tmp_path) == []
    assert Store(tmp_path).ensure(KEY, fill, span="encode").path.is_dir()


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "training.safetensors")
    checkpoint.save({"module": {"w": torch.ones(10)}}, Progress(step=1))
    with largest_file(2000), pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        checkpoint.save({"module": {"w": torch.ones(9999)}}, Progress(step=2))
    parts, progress = checkpoint.load()
    assert (len(parts["module"]["w"]), progress.step) == (10, 1)


def test_a_checkpoint_that_is_cut_is_none(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "training.safetensors")
    checkpoint.save({"module": {"w": torch.ones(10)}}, Progress(step=1))
    whole = checkpoint.path.read_bytes()
    for length in (0, 7, 8, 40, len(whole) - 1):
        checkpoint.path.write_bytes(whole[:length])
        assert checkpoint.load() is None, length


@pytest.mark.parametrize("mishap", ["short", "error"])
def test_what_the_disk_reads_wrongly_is_not_used(tmp_path: Path, monkeypatch, mishap: str) -> None:
    entry = Store(tmp_path).ensure(KEY, make, span="encode")
    stored = rankings.save_ranking(Ranking.from_topk([[4, 2]], [[0.5, 0.25]]), tmp_path)
    whole = Path.read_bytes

    def read(path: Path) -> bytes:
        if mishap == "error":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return whole(path)[:-1]

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", read)
        patched.setattr(Path, "read_text", lambda path: read(path).decode())
        with pytest.raises(StoreError) as raised:
            rankings.load_ranking(stored, tmp_path)
        assert raised.value.code == {"short": "wrong-hash", "error": "unreadable-file"}[mishap]
        assert Store(tmp_path).find(KEY) is None
    assert Store(tmp_path).ensure(KEY, make, span="encode").hashes == entry.hashes


def hold(root: Path, fails_with: int | None) -> None:
    """Begin to make an entry, and never end."""
    if fails_with is not None:
        without_flock(pytest.MonkeyPatch(), fails_with)

    def begin(folder: Path) -> None:
        make(folder)
        (root / "begun").touch()
        time.sleep(300)

    Store(root).ensure(KEY, begin, span="encode")


def without_flock(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.filterwarnings("ignore:.* has no file locks")
@pytest.mark.parametrize("number", [None, errno.ENOLCK])
def test_the_lock_of_a_process_that_was_killed_keeps_nobody_waiting(tmp_path: Path, monkeypatch, number) -> None:
    holder = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path, number))
    holder.start()
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    if number is not None:
        without_flock(monkeypatch, number)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    start = time.monotonic()
    Store(tmp_path).ensure(KEY, make, span="encode")
    assert time.monotonic() - start < 10
    assert not [name for name in files_below(tmp_path) if "/." in name or name.endswith(".held")]


def count_up(root: Path, number: int) -> None:
    without_flock(pytest.MonkeyPatch(), number)
    for _ in range(5):
        with locks.locked(root / "x.lock"):
            count = int((root / "count").read_text())
            time.sleep(0.001)
            (root / "count").write_text(f"{count + 1}")


@pytest.mark.filterwarnings("ignore:.* has no file locks")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_the_kernel_has_no_locks_files_stand_for_them(tmp_path: Path, number: int) -> None:
    (tmp_path / "count").write_text("0")
    counters = [multiprocessing.get_context("fork").Process(target=count_up, args=(tmp_path, number)) for _ in "abc"]
    for one in counters:
        one.start()
    for one in counters:
        one.join(60)
    assert (tmp_path / "count").read_text() == "15"


def test_the_lack_of_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_flock(monkeypatch, errno.ENOLCK)
    with pytest.warns(RuntimeWarning, match=r"x\.lock\.held"), locks.locked(tmp_path / "x.lock"):
        assert (tmp_path / "x.lock.held").exists()
    assert not (tmp_path / "x.lock.held").exists()


def test_another_error_of_a_lock_is_no_lack_of_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_flock(monkeypatch, errno.EIO)
    with raises(StoreError, "not-writable", tmp_path, "--work"):
        Store(tmp_path).ensure(KEY, make, span="encode")


def test_what_is_renamed_lies_beside_its_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each folder were a file system of its own, but for the folder that becomes an entry."""
    moves = []

    def within(function: Callable) -> Callable:
        def move(source: object, target: object) -> None:
            moves.append((source, target))
            if Path(source).resolve().parent != Path(target).resolve().parent:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            function(source, target)

        return move

    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "work").symlink_to("elsewhere")
    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, within(getattr(os, name)))
    saved(tmp_path / "work", 1)
    rankings.save_ranking(Ranking.from_topk([[4, 2]], [[0.5, 0.25]]), tmp_path / "work")
    damaged = Store(tmp_path / "work").ensure(KEY, make, span="encode")
    (damaged.path / "facts.json").write_text("[]")
    assert Store(tmp_path / "work").find(KEY) is None
    assert len(moves) >= 7


def keep_making(root: Path, until: float) -> None:
    while time.monotonic() < until:
        write_atomically(root / "x.json", "x" * 100)
        Store(root).ensure(Key("pixels", {"time": time.monotonic()}), make, span="encode")


def test_what_clears_up_takes_nothing_that_is_in_use(tmp_path: Path) -> None:
    """Several that write one file and make entries: each clears away what the dead have left."""
    context, until = multiprocessing.get_context("fork"), time.monotonic() + 1.5
    makers = [context.Process(target=keep_making, args=(tmp_path, until)) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(60)
    assert [maker.exitcode for maker in makers] == [0, 0, 0]
    assert not [name for name in files_below(tmp_path) if "/." in name or name.startswith(".")]


def test_a_file_that_another_machine_writes_is_left_alone(tmp_path: Path) -> None:
    theirs = unfinished(tmp_path / "x.json").name.split(".")
    theirs[-1] = f"{'0' * 6}{theirs[-1][6:]}".replace(f"-{os.getpid()}-", "-4194303-")
    (tmp_path / ".".join(theirs)).touch()
    assert list(leftovers(tmp_path / "x.json")) == []


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Path, Path]:
    """A folder that anybody may write to, and a file of the victim's."""
    victim, shared = tmp_path / "victim", tmp_path / "shared"
    victim.write_text("mine")
    shared.mkdir(mode=0o777)
    (shared / "pixels").mkdir()
    return victim, shared


def test_a_planted_link_is_never_written_through(planted: tuple[Path, Path], tmp_path: Path) -> None:
    victim, shared = planted
    for name in ("x.json", "training.safetensors", "training.new"):
        (shared / name).symlink_to(victim)
    write_atomically(shared / "x.json", "new")
    Checkpoint(shared / "training.safetensors").save({"module": {"w": torch.ones(3)}}, Progress())
    assert victim.read_text() == "mine"
    assert (shared / "x.json").read_text() == "new"
    (tmp_path / "theirs").mkdir()
    (shared / "pixels" / f"{KEY.digest}.partial").symlink_to(tmp_path / "theirs")
    (Store(shared).scratch(KEY) / "checkpoint").write_text("mine")
    assert not list((tmp_path / "theirs").iterdir())
    assert Store(shared).scratch(KEY).stat().st_mode & 0o777 == 0o700
    entry = Store(shared).ensure(KEY, make, span="encode")
    assert entry.path.stat().st_mode & 0o777 == 0o700


def test_a_planted_lock_is_refused(planted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    victim, shared = planted
    (shared / "pixels" / f"{KEY.digest}.lock").symlink_to(victim)
    with raises(StoreError, "not-writable", shared, "--work"):
        Store(shared).ensure(KEY, make, span="encode")
    monkeypatch.setattr(baseline.tempfile, "gettempdir", lambda: str(shared))
    with baseline.locked(tmp_path / "stored"):
        (lock,) = shared.glob("irbench-*.lock")
    lock.unlink()
    lock.symlink_to(victim)
    with raises(StoreError, "not-writable", shared, "TMPDIR"), baseline.locked(tmp_path / "stored"):
        pass
    assert victim.read_text() == "mine"
