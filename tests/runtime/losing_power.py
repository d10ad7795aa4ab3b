"""A disk that loses power: what a crash may leave of files that were written."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


class Disk:
    """A disk that may lose power at any operation: what was not flushed is then lost, or is there without content.

    `states` has the files of each loss of power; the last one comes after everything.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.states = root, list[dict[str, bytes]]()
        self._contents, self._names = dict[int, bytes](), dict[int, dict[str, int]]()
        self._held: list[int] = []  # an inode that is open is not given to another file
        for path in [root, *root.rglob("*")]:
            self._flushed(path)
        monkeypatch.setattr(os, "fsync", self._recorded(os.fsync, self._fsync))
        for name in ("replace", "rename", "mkdir", "unlink", "rmdir"):
            monkeypatch.setattr(os, name, self._recorded(getattr(os, name)))

    def _recorded(self, function: Callable, after: Callable = lambda *_: None) -> Callable:
        def call(*arguments, **named):
            self.states += self.lost()
            done = function(*arguments, **named)
            after(*arguments)
            self.states += self.lost()
            return done

        return call

    def _fsync(self, descriptor: int) -> None:
        self._flushed(Path("/proc/self/fd", str(descriptor)).readlink())

    def _flushed(self, path: Path) -> None:
        self._held.append(os.open(path, os.O_RDONLY))
        if path.is_dir():
            self._names[path.stat().st_ino] = {one.name: one.stat().st_ino for one in path.iterdir()}
        else:
            self._contents[path.stat().st_ino] = path.read_bytes()

    def close(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)

    def lost(self) -> list[dict[str, bytes]]:
        """The files after a loss of power now: with the names that were flushed, and with those of today."""
        places = {path.stat().st_ino: path.is_dir() for path in self.root.rglob("*")} | dict.fromkeys(self._names, True)
        return [dict(self._tree(self.root.stat().st_ino, names, places)) for names in (self._names, self._today())]

    def _today(self) -> dict[int, dict[str, int]]:
        folders = [self.root, *(path for path in self.root.rglob("*") if path.is_dir())]
        return {one.stat().st_ino: {inner.name: inner.stat().st_ino for inner in one.iterdir()} for one in folders}

    def _tree(self, folder: int, names: dict, places: dict, at: str = "") -> Iterator[tuple[str, bytes]]:
        for name, inode in names.get(folder, {}).items():
            if places.get(inode, False):
                yield from self._tree(inode, names, places, f"{at}{name}/")
            else:
                yield f"{at}{name}", self._contents.get(inode, b"")
