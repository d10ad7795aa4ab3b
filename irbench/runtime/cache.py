"""Content-addressed cache of everything that is costly to make: decoded images, trained models, embeddings.

An entry is a folder `<root>/<kind>/<digest>/` named by a hash of everything that its content depends on. It is
written beside its place, flushed, listed with the hash of each file in `entry.json`, and renamed: an entry is there
whole, or not at all. On opening, the list and the files are checked against their hashes; what does not match is set
aside and made again, never used.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

from irbench.core.errors import DISK_FULL, StoreError, writing
from irbench.runtime.conditions import ConcurrentLoad, Work, decoded_again, note_decoded_again, processor_and_steering
from irbench.runtime.locks import Held, locked
from irbench.runtime.progress import say
from irbench.runtime.timer import charge, off_the_clock, remembered, waited
from irbench.runtime.unfinished import leftovers, unfinished

_LISTING = "entry.json"
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST})
_HASHED_UP_TO = 1 << 30  # bytes; of a larger file only the size is checked, so that opening it stays quick


@dataclass(frozen=True)
class Key:
    """What an entry depends on. `parts` are JSON values; their order does not matter."""

    kind: str  # "pixels", "model", "embeddings" …: the folder
    parts: Mapping[str, object]

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal digits: the entry's folder name."""
        return _digest({"kind": self.kind, "parts": self.parts})[:32]


@dataclass(frozen=True)
class Entry:
    """A finished entry: its folder, the work of which it is the result, and the hash of each file."""

    path: Path
    works: tuple[Work, ...]
    hashes: Mapping[str, str]

    @property
    def seconds(self) -> float:
        """What making it cost, work that others had done before included."""
        return sum(work.seconds for work in self.works)

    @property
    def content(self) -> str:
        """SHA-256 over the hashes of its files: equal for equal content, whatever it was made from."""
        return _digest(self.hashes)


class Busy(Exception):  # noqa: N818 -- no error: the entry will be there
    """Another process makes an entry that is needed."""


@dataclass(frozen=True)
class Store:
    """The cache below one work folder, safe for several processes at once, on several machines too."""

    root: Path
    waits: bool = True  # for an entry that another process makes; else `ensure` raises `Busy`

    def ensure(self, key: Key, make: Callable[[Path], float | None], *, span: str, hashed: bool = True) -> Entry:
        """Return the entry of `key`; `make(folder)` fills it if it is not there. A hit is charged to timer span `span`.

        `make` may return the seconds that attempts which were stopped had spent before.
        A second process that wants the same entry waits for the first; the time of waiting counts in no span.
        See `find` for `hashed`.
        """
        place = self._place(key)
        with self._locked(place):
            entry = self.find(key, hashed=hashed)
            found = entry is not None
            if entry is None:
                entry = self._make(key, place, make, span=span)
        charge(span, entry.works if found else (), key.digest)
        note_decoded_again(*(name for work in entry.works for name in work.decoded_again))
        return entry

    def holds(self, key: Key) -> bool:
        """Tell whether there is an entry of `key`, which may be damaged."""
        return (self._place(key) / _LISTING).is_file()

    def find(self, key: Key, *, hashed: bool = True) -> Entry | None:
        """Return the entry of `key`, or None where it is missing or damaged (damaged ones are set aside).

        Where its files are not to be hashed, their sizes are compared with those that were written.
        """
        place = self._place(key)
        if not place.is_dir():
            return None
        try:
            listing = json.loads((place / _LISTING).read_text())
            intact = listing.pop("sha256") == _digest(listing)
            files = listing["files"].items()
            intact = intact and all(_matches(place / name, facts, hashed=hashed) for name, facts in files)
            works = tuple(_work(**work) for work in listing["works"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            intact = False
        if intact:
            return Entry(place, works, {name: f["sha256"] for name, f in listing["files"].items()})
        with self._writing():
            aside = tempfile.mkdtemp(prefix=f"{place.name}.damaged-", dir=place.parent)
            place.replace(aside)
        say(f"{place}: damaged, and made again; what was there is in {Path(aside).name}, and may be deleted")
        return None

    def scratch(self, key: Key) -> Path:
        """Return a folder that outlives a killed process: the place for checkpoints of `key` until it is finished."""
        path = self._place(key).with_suffix(".partial")
        with self._writing():
            if path.is_symlink():  # not ours: what is written there would go elsewhere
                path.unlink()
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def _place(self, key: Key) -> Path:
        return self.root / key.kind / key.digest

    def _make(self, key: Key, place: Path, make: Callable[[Path], float | None], *, span: str) -> Entry:
        with self._writing():
            for left in leftovers(place):  # even where locks fail, nothing that another machine writes is removed
                shutil.rmtree(left, ignore_errors=True)
            folder = unfinished(place)
            folder.mkdir(mode=0o700)
        try:
            start, load, before, idle_before = perf_counter(), ConcurrentLoad(), len(remembered()), waited()
            with self._writing(only=DISK_FULL):
                earlier = make(folder) or 0.0
            seconds = perf_counter() - start - (waited() - idle_before)  # others are paid for what they make
            own = Work(seconds, processor_and_steering(), load.cores(), decoded_again())
            stopped = (Work(earlier),) if earlier else ()
            works = (own, *stopped, *remembered()[before:])
            charge(span, stopped, key.digest)  # what this process has not spent itself
            with self._writing():
                files = {path.name: _facts(path) for path in sorted(folder.iterdir())}
                listing = {"key": dict(key.parts), "works": [asdict(work) for work in works], "files": files}
                write_atomically(folder / _LISTING, json.dumps(listing | {"sha256": _digest(listing)}))
                first = None if _put(folder, place) else self.find(key)  # where locks failed, the first one stays
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(place.with_suffix(".partial"), ignore_errors=True)
        return first or Entry(place, works, {name: str(facts["sha256"]) for name, facts in files.items()})

    @contextmanager
    def _locked(self, place: Path) -> Iterator[None]:
        with ExitStack() as stack:
            with self._writing(), off_the_clock():
                make_folder(place.parent)
                try:
                    stack.enter_context(locked(place.with_suffix(".lock"), wait=self.waits))
                except Held as error:
                    raise Busy(str(place)) from error
            yield

    def _writing(self, *, only: Collection[int] = ()) -> AbstractContextManager[None]:
        return writing(f"to the work folder {self.root}", "--work", only=only)


class TrainedStore(Store):
    """The same cache for commands that train nothing: a model that is not there is an error."""

    def ensure(self, key: Key, make: Callable[[Path], float | None], *, span: str, hashed: bool = True) -> Entry:
        """Return the entry of `key`, as `Store.ensure` does; `StoreError` for a model that would have to be trained."""
        if key.kind == "model" and self.find(key) is None:
            raise StoreError(
                f"{self.root} holds no trained network of this cell: name the folder that has it (--work), or "
                "run the cell again (--force)",
                code="not-trained",
            )
        return super().ensure(key, make, span=span, hashed=hashed)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` so that a reader, or a crash at any moment, sees the old file or the new one, whole.

    Others may read it as any file of this user: `tempfile` would make one for the user alone.
    """
    for left in leftovers(path):
        left.unlink(missing_ok=True)
    temporary = unfinished(path)
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        flush(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_writable(folder: Path, option: str) -> None:
    """Find out, before anything is computed, whether `folder`, given by `option`, can be written."""
    with writing(f"to {folder}", option):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, so that they outlive a loss of power with what is flushed in them."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        flush(path.parent)


def flush(path: Path) -> None:
    """Force a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _put(folder: Path, place: Path) -> bool:
    """Move what was made to its place; return whether that was free."""
    try:
        folder.replace(place)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    flush(place.parent)
    return True


def _digest(value: object) -> str:
    """SHA-256 of a JSON value; the order of its keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _work(decoded_again: Sequence[str] = (), **facts: Any) -> Work:
    """Return a piece of work as JSON has it: tuples are lists there."""
    return Work(**facts, decoded_again=tuple(decoded_again))


def _facts(path: Path) -> dict[str, object]:
    flush(path)
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def _matches(path: Path, facts: Mapping[str, object], *, hashed: bool) -> bool:
    size = path.stat().st_size
    return size == facts["bytes"] and (size > _HASHED_UP_TO or not hashed or sha256(path) == facts["sha256"])
