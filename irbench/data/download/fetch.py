"""`irbench data fetch`: downloads, checks and unpacks the published files of a data set into its folder.

There is no record of progress: a file is done when the path that its recipe `gives` exists, which is moved into place
last. So a fetch that was interrupted at any time can be continued by starting it again.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from irbench.core.errors import DataError, StoreError, UsageError, writing
from irbench.data.datasets import Dataset
from irbench.data.download.published import RemoteFile, check
from irbench.data.download.transfer import download
from irbench.data.download.unpack import unpack
from irbench.runtime.locks import locked

_DOWNLOADS = "downloads"  # folder of the archives, in the data set's own


@dataclass(frozen=True)
class Plan:
    """The files that are still missing of a data set."""

    dataset: Dataset
    home: Path  # the data set's own folder
    due: tuple[RemoteFile, ...]

    @property
    def downloads(self) -> Path:
        """The folder of archives, also of those that the user has to get by hand."""
        return self.home / _DOWNLOADS

    @property
    def by_hand(self) -> list[RemoteFile]:
        """Missing files that the user has to get by hand."""
        return [file for file in self.due if not file.url and not (self.downloads / file.name).exists()]


def plan(dataset: Dataset, data: Path) -> Plan:
    """Return the files that are missing below `data`; `UsageError` for a data set without a recipe."""
    if dataset.own is not None:
        raise UsageError(
            f"{dataset.own} is a folder or list of your own; only data sets with a recipe are fetched",
            code="not-fetchable",
        )
    home = data / Path(dataset.head.folders[0]).parts[0] if dataset.head.folders else data
    elsewhere = dataset.is_here(data) and not dataset.locate(data).is_relative_to(home)
    due = () if elsewhere else tuple(file for file in dataset.head.files if not (home / file.gives).exists())
    return Plan(dataset, home, due)


def fetch(plan: Plan, *, license_accepted: bool, tell: Callable[[str], None]) -> Path:
    """Carry out a plan and return the data set's root; `tell` is called with a line before each long step.

    Raises `DataError` for files that the user has to get by hand, `UsageError` while the licence is not accepted.
    """
    if plan.due:
        if plan.by_hand:
            raise DataError(_instructions(plan), code="fetch-by-hand")
        if not license_accepted:
            raise UsageError(_terms_first(plan), code="license")
        tell(f"Terms, which you accept: {plan.dataset.head.license}")
        with _alone(plan):
            _check_room(plan)
            for number, file in enumerate(plan.due, 1):
                tell(f"[{number}/{len(plan.due)}] {file}")
                _provide(file, plan)
    return plan.dataset.locate(plan.home.parent)


def _provide(file: RemoteFile, plan: Plan) -> None:
    place = plan.home / file.gives
    if place.exists():  # fetched by another process
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
            shutil.copyfile(archive, made / file.gives)  # the user's own copy stays
        _settle(made, plan.home, file)


def _archive(file: RemoteFile, plan: Plan) -> Path:
    """Return the complete published file, downloaded or as the user has provided it."""
    if not file.url:
        check(file, plan.downloads / file.name)
        return plan.downloads / file.name
    try:
        return download(file, plan.downloads)
    except DataError as error:
        raise DataError(f"{error}. Its page: {plan.dataset.head.page}", code=error.code) from None


@contextmanager
def _made(home: Path) -> Iterator[Path]:
    """Yield a temporary folder on the same file system as `home`; it is removed afterwards."""
    folder = home / ".unpacking"
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed fetch: we have the lock
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _settle(made: Path, home: Path, file: RemoteFile) -> None:
    """Move all files into place, the one that the file `gives` last; existing files of equal names are replaced."""
    if not (made / file.gives).exists():
        raise DataError(
            f"{file.name} contains no {file.gives}: is it another archive of that name?", code="wrong-archive"
        )
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
    """Lock the data set against a second fetch; `StoreError` if the folder cannot be written."""
    with writing(plan.home, "--data"):
        plan.downloads.mkdir(parents=True, exist_ok=True)
        with locked(plan.downloads / ".lock"):
            yield


def _check_room(plan: Plan) -> None:
    """Raise `StoreError` if the disk lacks space for the archives, and as much again for their content."""
    wanted = sum(file.bytes * (1 + bool(file.url and file.unpack)) - _fetched(plan, file) for file in plan.due)
    free = shutil.disk_usage(plan.downloads).free
    if wanted > free:
        name, home = plan.dataset.name, plan.home
        raise StoreError(
            f"{name} needs {wanted:,} bytes more below {home}, where {free:,} are free; see --data", code="disk-full"
        )


def _fetched(plan: Plan, file: RemoteFile) -> int:
    """Return the bytes that have been downloaded already."""
    paths = (plan.downloads / name for name in (file.name, f"{file.name}.part"))
    return sum(path.stat().st_size for path in paths if file.url and path.exists())


def _terms_first(plan: Plan) -> str:
    head = plan.dataset.head
    return (
        f"{plan.dataset.name} comes with terms: {head.license} See {head.page}\n"
        f"If you accept them, give --accept-license; which downloads to {plan.home}:\n{_listed(plan.due)}"
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
