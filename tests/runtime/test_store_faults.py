"""What a disk, a file system, a clock or another process can do to what is stored: it is whole, or it is not there."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from raising import raises

from irbench.core.errors import StoreError
from irbench.runtime import cache
from irbench.runtime.cache import Key, Store, write_atomically
from irbench.runtime.environment import environment
from irbench.runtime.machine import Runtime
from irbench.runtime.timer import Timer, span

KEY = Key("model", {"data": "abc"})
OLD, NEW = b"the old text", b"what is new, and longer"


def make(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(b"twelve bytes")


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Disk:
    """A file system that keeps what was synced only, as after a loss of power at any moment.

    Of a file its last synced content survives; of a folder the names that it had when it was synced last.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.content = {path.stat().st_ino: path.read_bytes() for path in folder.iterdir()}
        self.names = self._names()
        self.states = [self._after()]  # what each moment would leave
        sync, replace = os.fsync, Path.replace

        def fsync(descriptor: int) -> None:
            sync(descriptor)
            facts = os.fstat(descriptor)
            if facts.st_ino == folder.stat().st_ino:
                self.names = self._names()
            else:
                self.content[facts.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()
            self.states.append(self._after())

        def renamed(path: Path, target: Path) -> Path:
            made = replace(path, target)
            early = {**self.names, **self._names()}  # the kernel may write names before it is told to
            self.states.append(self._after(early))
            return made

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", renamed)

    def _names(self) -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in self.folder.iterdir()}

    def _after(self, names: dict[str, int] | None = None) -> dict[str, bytes]:
        return {name: self.content.get(inode, b"") for name, inode in (names or self.names).items()}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")
def test_a_loss_of_power_leaves_the_old_file_or_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "seed0.json"
    path.write_bytes(OLD)
    disk = Disk(tmp_path, monkeypatch)
    write_atomically(path, NEW)
    found = [state[path.name] for state in disk.states]
    assert set(found) == {OLD, NEW}
    assert found == sorted(found, key=[OLD, NEW].index)  # never back
    assert found[-1] == NEW


@pytest.mark.parametrize("call", ["fsync", "close", "open"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_failing_disk_is_an_error_and_nothing_is_half_written(tmp_path, monkeypatch, call, nth):
    path = tmp_path / "seed0.json"
    path.write_bytes(OLD)
    original, calls = getattr(os, call), []

    def fail(*arguments, **options):
        calls.append(call)
        if len(calls) == nth:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(*arguments, **options)

    monkeypatch.setattr(os, call, fail)
    failed = None
    try:
        write_atomically(path, NEW)
    except OSError as error:
        failed = error.errno
    monkeypatch.undo()
    assert failed == (errno.EIO if len(calls) >= nth else None)
    assert held(tmp_path) in ({path.name: OLD}, {path.name: NEW})


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_failing_disk_leaves_no_entry(tmp_path, monkeypatch, nth):
    sync, calls = os.fsync, []

    def fail(descriptor):
        calls.append(descriptor)
        if len(calls) == nth:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    failed = None
    try:
        Store(tmp_path).ensure(KEY, make, span="train")
    except StoreError as error:
        failed = error.code
    monkeypatch.undo()
    assert failed == "not-writable"
    entry = Store(tmp_path).find(KEY)
    assert entry is None or held(entry.path)["weights.bin"] == b"twelve bytes"
    assert not list(tmp_path.rglob("*.making-*"))


def test_an_entry_is_made_beside_its_place(tmp_path, monkeypatch):
    """A rename from one file system to another is not atomic, and fails."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    moved, replace = [], Path.replace

    def record(path: Path, target: Path) -> Path:
        moved.append((Path(path).parent, Path(target).parent))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", record)
    Store(tmp_path / "work").ensure(KEY, make, span="train")
    write_atomically(tmp_path / "seed0.json", NEW)
    assert moved
    assert all(left == right for left, right in moved if right.name != "elsewhere")
    assert not list((tmp_path / "elsewhere").iterdir())


HOLDER = """
import sys, time
from pathlib import Path
from irbench.runtime.cache import Key, Store
def make(folder):
    (folder / "weights.bin").write_bytes(b"half")
    print("holds", flush=True)
    time.sleep(60)
Store(Path(sys.argv[1])).ensure(Key("model", {"data": "abc"}), make, span="train")
"""


def test_the_lock_of_a_dead_process_holds_nobody_up(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "holds\n"
        holder.kill()
    start = time.monotonic()
    entry = Store(tmp_path).ensure(KEY, make, span="train")
    assert time.monotonic() - start < 5
    assert held(entry.path)["weights.bin"] == b"twelve bytes"
    assert not list(tmp_path.rglob("*.making-*"))


@pytest.mark.skipif(sys.platform != "linux", reason="flock of Linux")
def test_a_file_system_without_locks_is_the_users_error(tmp_path, monkeypatch):
    """A folder that cannot be locked would let two trainings write one checkpoint."""
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with raises(StoreError, "not-writable", tmp_path, "--work"):
        Store(tmp_path).ensure(KEY, make, span="train")


def test_no_descriptor_or_thread_is_left_behind(tmp_path):
    this = psutil.Process()
    Store(tmp_path).ensure(KEY, make, span="train")
    before = (this.num_fds(), this.num_threads())
    for number in range(100):
        Store(tmp_path).ensure(Key("model", {"data": number}), make, span="train")
        write_atomically(tmp_path / f"seed{number}.json", NEW)
    assert (this.num_fds(), this.num_threads()) == before


def test_a_clock_that_jumps_back_changes_no_duration(monkeypatch):
    clock = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    with Timer(bypass_cache=True).run() as timer, span("encode"):
        time.sleep(0.01)
    assert 0.01 <= timer.seconds["encode"] <= timer.seconds["total"] < 5


def test_what_is_in_use_is_not_swept_away(tmp_path):
    """Whoever makes an entry, or writes a file, removes what the dead have left, and nothing of the living."""
    mine = cache.unfinished(tmp_path / "seed0.json")
    mine.write_bytes(b"under way")
    place = Store(tmp_path).ensure(KEY, make, span="train").path
    other = place.with_name("0" * 32 + ".making-abc")
    other.mkdir()
    scratch = Store(tmp_path).scratch(Key("model", {"data": "other"}))
    (scratch / "checkpoint").write_bytes(b"ten epochs")
    write_atomically(tmp_path / "seed0.json", NEW)
    Store(tmp_path).ensure(Key("model", {"data": "third"}), make, span="train")
    assert mine.read_bytes() == b"under way"
    assert other.is_dir()
    assert (scratch / "checkpoint").read_bytes() == b"ten epochs"
    assert held(place)["weights.bin"] == b"twelve bytes"


def test_a_planted_link_is_not_written_through(tmp_path):
    victim = tmp_path / "thesis.tex"
    victim.write_bytes(b"years of work")
    path = tmp_path / "results" / "seed0.json"
    path.parent.mkdir()
    path.symlink_to(victim)
    write_atomically(path, NEW)
    assert victim.read_bytes() == b"years of work"
    assert (path.is_symlink(), path.read_bytes()) == (False, NEW)
    entry = Store(tmp_path).ensure(KEY, make, span="train").path
    assert entry.stat().st_mode & 0o077 == 0  # nobody else may put anything in


class Canary:
    """Unpickling it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_file_that_was_put_among_the_stored_ones_is_never_opened(tmp_path):
    import pickle

    entry = Store(tmp_path / "work").ensure(KEY, make, span="train")
    for name in ("cars_rq.pkl", "index.faiss", "weights.bin.pkl"):
        (entry.path / name).write_bytes(pickle.dumps(Canary(tmp_path / "ran")))
    found = Store(tmp_path / "work").find(KEY)
    assert found is not None
    assert set(found.hashes) == {"weights.bin"}
    (entry.path / "weights.bin").write_bytes(b"eleven byte")
    assert Store(tmp_path / "work").find(KEY) is None
    assert not (tmp_path / "ran").exists()


def test_a_results_environment_holds_no_secret_of_the_user(monkeypatch, runtime: Runtime):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2-hunter2")
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    told = str(environment(runtime))
    for secret in ("hunter2", "hf_abcdefgh", str(Path.home()), os.environ.get("USER") or "no-user", str(Path.cwd())):
        assert secret not in told
