"""`irbench data fetch`: the published files of a data set, downloaded, checked and unpacked in its folder.

Nothing is noted anywhere: a file is done when what its recipe says that it `gives` is there, which is put in its place
last of all. So a fetch that was interrupted at any moment goes on when it is started again.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from irbench.core.errors import DataError, StoreError, UsageError
from irbench.data.datasets import Dataset
from irbench.data.download.published import RemoteFile, check
from irbench.data.download.transfer import download
from irbench.data.download.unpack import unpack

_DOWNLOADS = "downloads"  # folder of the archives, in the data set's own


@dataclass(frozen=True)
class Plan:
    """What is still to be done for a data set below `data`."""

    dataset: Dataset
    home: Path  # the data set's own folder
    due: tuple[RemoteFile, ...]

    @property
    def downloads(self) -> Path:
        """Where archives are kept, and where people put those that only they can get."""
        return self.home / _DOWNLOADS

    @property
    def by_hand(self) -> list[RemoteFile]:
        """Files that only people can get, and that are not there yet."""
        return [file for file in self.due if not file.url and not (self.downloads / file.name).exists()]


def plan(dataset: Dataset, data: Path) -> Plan:
    """Find out what is missing."""
    if dataset.own is not None:
        raise UsageError(f"{dataset.own} is a folder or list of your own; only data sets with a recipe are fetched")
    home = data / Path(dataset.head.folders[0]).parts[0] if dataset.head.folders else data
    elsewhere = dataset.is_here(data) and not dataset.locate(data).is_relative_to(home)
    due = () if elsewhere else tuple(file for file in dataset.head.files if not (home / file.gives).exists())
    return Plan(dataset, home, due)


def fetch(plan: Plan, *, license_accepted: bool, tell: Callable[[str], None]) -> Path:
    """Carry out a plan and return the data set's root; `tell` is called with a line before each step that takes long.

    Raises `DataError` for what only people can get, `UsageError` while the licence is not accepted.
    """
    if plan.due:
        if plan.by_hand:
            raise DataError(_instructions(plan))
        if not license_accepted:
            raise UsageError(_terms_first(plan))
        tell(f"Terms, which you accept: {plan.dataset.head.license}")
        with _alone(plan):
            _check_room(plan)
            for number, file in enumerate(plan.due, 1):
                tell(f"[{number}/{len(plan.due)}] {file}")
                _provide(file, plan)
    return plan.dataset.locate(plan.home.parent)


def _provide(file: RemoteFile, plan: Plan) -> None:
    place = plan.home / file.gives
    if place.exists():  # another process was quicker
        return
    archive = _archive(file, plan)
    if file.url and not file.unpack:
        place.parent.mkdir(parents=True, exist_ok=True)
        archive.replace(place)
        return
    with _made(plan.home) as made:
        for folder in (made / file.into, (made / file.gives).parent):
            folder.mkdir(parents=True, exist_ok=True)
        if file.unpack:
            unpack(archive, made / file.into, file.unpack)
        else:
            shutil.copyfile(archive, made / file.gives)  # what people brought stays with them
        _settle(made, plan.home, file)


def _archive(file: RemoteFile, plan: Plan) -> Path:
    """Return the published file, whole: from its address, or from where people have put it."""
    if not file.url:
        check(file, plan.downloads / file.name)
        return plan.downloads / file.name
    try:
        return download(file, plan.downloads)
    except DataError as error:
        raise DataError(f"{error}. Its page: {plan.dataset.head.page}") from None


@contextmanager
def _made(home: Path) -> Iterator[Path]:
    """Give a folder beside the place where its content will go; it is removed whatever happens."""
    folder = home / ".unpacking"
    shutil.rmtree(folder, ignore_errors=True)  # of a fetch that was killed: the lock is ours
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _settle(made: Path, home: Path, file: RemoteFile) -> None:
    """Move everything into its place, what the file `gives` last; of what is there only the same names are replaced."""
    if not (made / file.gives).exists():
        raise DataError(f"{file.name} holds no {file.gives}: is it another archive of that name?")
    last = home / ".unpacking-last"
    shutil.rmtree(last, ignore_errors=True)
    last.mkdir()
    try:
        given = (made / file.gives).rename(last / "given")
        for path in sorted(made.iterdir()):
            _move(path, home / path.name)
        (home / file.gives).parent.mkdir(parents=True, exist_ok=True)
        given.rename(home / file.gives)
    finally:
        shutil.rmtree(last, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    if source.is_dir() and target.is_dir():
        for path in sorted(source.iterdir()):
            _move(path, target / path.name)
    else:
        source.replace(target)


@contextmanager
def _alone(plan: Plan) -> Iterator[None]:
    """Keep a second fetch of the same data set waiting; tell where the folder cannot be written."""
    try:
        plan.downloads.mkdir(parents=True, exist_ok=True)
        with FileLock(plan.downloads / ".lock"):
            yield
    except OSError as error:
        raise StoreError(f"cannot write {error.filename or plan.home}: {error.strerror}; see --data") from error


def _check_room(plan: Plan) -> None:
    """Refuse before hours of transfer what the disk cannot hold: the archives, and as much again for their content."""
    wanted = sum(file.bytes * (1 + bool(file.url and file.unpack)) - _fetched(plan, file) for file in plan.due)
    free = shutil.disk_usage(plan.downloads).free
    if wanted > free:
        name, home = plan.dataset.name, plan.home
        raise StoreError(f"{name} needs {wanted:,} bytes more below {home}, where {free:,} are free; see --data")


def _fetched(plan: Plan, file: RemoteFile) -> int:
    """Bytes of it that are there already."""
    paths = (plan.downloads / name for name in (file.name, f"{file.name}.part"))
    return sum(path.stat().st_size for path in paths if file.url and path.exists())


def _terms_first(plan: Plan) -> str:
    head = plan.dataset.head
    return (
        f"{plan.dataset.name} comes with terms: {head.license} See {head.page}\n"
        f"If you accept them, give --accept-license; this is what then comes to {plan.home}:\n{_listed(plan.due)}"
    )


def _instructions(plan: Plan) -> str:
    head, folder = plan.dataset.head, plan.downloads
    return (
        f"{plan.dataset.name} cannot be fetched from here: {head.by_hand} See {head.page}\n"
        f"Terms: {head.license}\n"
        f"Put these files into {folder} and give this command again, which checks and unpacks them:\n"
        f"{_listed(plan.by_hand)}\n"
        f"Or make the folder yourself: {plan.dataset.loader.shape}, below {plan.home}."
    )


def _listed(files: Sequence[RemoteFile]) -> str:
    return "\n".join(f"  {file}" for file in files)
