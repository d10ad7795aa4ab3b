"""Where Parquet files of images are, in a folder or on the Hugging Face hub: a small file in the work folder says it.

One path then stands for the data set, and its images are unpacked beside that file (`irbench.data.loaders.hub`). A data
set of the hub is pinned: the file has the commit that a branch or tag was when it was named.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from irbench.core.errors import DataError, UsageError, writing
from irbench.core.filestate import state_of
from irbench.core.names import legal_name
from irbench.data.download.snapshot import cached, is_commit, snapshot
from irbench.data.loaders.files import is_named_as_image
from irbench.data.parquet import SUFFIX as PARQUET
from irbench.runtime.cache import write_atomically

SUFFIX = ".hub"  # of the small file
PREFIX = "hf:"  # of a data set on the hub
FORM = f"{PREFIX}OWNER/NAME[/SUBSET]@REVISION"
_FORMAT = 1  # of what is unpacked; another number, and it is unpacked anew


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the Parquet files are: in a folder, or on the hub."""

    folder: Path | None = None
    states: Mapping[str, str] | None = None  # of the files in the folder: what changes when they do
    repository: str = ""
    commit: str = ""
    subset: str = ""

    @property
    def title(self) -> str:
        """What the data set is called."""
        if self.folder is not None:
            return legal_name(self.folder.name, "images")
        return legal_name("-".join(filter(None, (self.repository.rpartition("/")[2], self.subset))), "images")

    @property
    def named(self) -> str:
        """The origin as messages name it."""
        if self.folder is not None:
            return str(self.folder)
        return f"{PREFIX}{'/'.join(filter(None, (self.repository, self.subset)))}@{self.commit}"

    def place(self) -> Path:
        """Return the folder of the files; of the hub's from its cache, or fetched again."""
        if self.folder is None:
            facts = (self.repository, self.commit, self.subset)
            return cached(*facts) or snapshot(*facts)
        if not self.folder.is_dir():
            raise DataError(f"{self.folder}: no such folder of Parquet files", code="not-found")
        if self.states != _states(self.folder):
            raise DataError(
                f"{self.folder}: its Parquet files have changed since their images were unpacked; name the data set by "
                f"that path, and they are unpacked again",
                code="other-data",
            )
        return self.folder


def holds_parquet(folder: Path) -> bool:
    """Are there Parquet files in or below a folder, and no images before them?"""
    for _, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if any(map(is_named_as_image, names)):
            return False
        if any(name.endswith(PARQUET) for name in names):
            return True
    return False


def origin_of(name: str) -> Origin:
    """Return where a data set is: of the hub, after it was fetched, at the commit that its revision is now."""
    if not name.startswith(PREFIX):
        folder = Path(name).expanduser().resolve()
        return Origin(folder=folder, states=_states(folder))
    path, _, revision = name.removeprefix(PREFIX).partition("@")
    owner, _, rest = path.partition("/")
    title, _, subset = rest.partition("/")
    if not (owner and title) or not re.fullmatch(r"[\w./-]+", path) or ".." in path.split("/"):
        raise UsageError(f"{name}: not the name of a data set on the hub; write {FORM}", code="unknown-name")
    repository = f"{owner}/{title}"
    if not revision:
        raise UsageError(
            f"{name}: without a revision it would be other data tomorrow; write {name}@COMMIT, the hash of a commit of "
            f"https://huggingface.co/datasets/{repository}/commits/main, or {name}@main for the newest one",
            code="no-revision",
        )
    commit = revision if is_commit(revision) else snapshot(repository, revision, subset).name
    return Origin(repository=repository, commit=commit, subset=subset)


def write_list(origin: Origin, work: Path) -> Path:
    """Write where a data set is, below the work folder, and return where: the path of the data set.

    The same files have the same place.
    """
    facts = asdict(origin) | {"format": _FORMAT, "folder": origin.folder and str(origin.folder)}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    folder = work.expanduser() / "hub" / digest
    place = folder / f"{origin.title}{SUFFIX}"
    if place.is_file():
        return place
    if origin.folder is None:
        snapshot(origin.repository, origin.commit, origin.subset)
    else:
        facts["folder"] = os.path.relpath(origin.folder, folder.resolve())
    with writing(f"to the work folder {work}", "--work"):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(place, json.dumps(facts))
    return place


def read_list(path: Path) -> Origin:
    """Return where the data set of a list is, seen from the list's folder."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        facts.pop("format")
        if facts["folder"] is not None:
            facts["folder"] = Path(os.path.normpath(path.resolve().parent / facts["folder"]))
        return Origin(**facts)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path}: not a file as irbench writes it for Parquet files ({error})", code="damaged-file"
        ) from None


def stands_for(path: Path, name: str) -> bool:
    """Is the file at `path` a list of the data set that has this name on the command line?"""
    if path.suffix != SUFFIX or not path.is_file():
        return False
    origin = read_list(path)
    if not name.startswith(PREFIX):
        return origin.folder == Path(name).expanduser().resolve()
    known, _, revision = name.removeprefix(PREFIX).partition("@")
    same = known == "/".join(filter(None, (origin.repository, origin.subset)))
    return same and (not is_commit(revision) or revision == origin.commit)


def listed(folder: Path) -> list[str]:
    """Return the Parquet and TSV files below a folder, sorted; none in folders whose names begin with a dot."""
    found = []
    for at, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        below = os.path.relpath(at, folder)
        found += [os.path.normpath(f"{below}/{name}") for name in names if name.endswith((PARQUET, ".tsv"))]
    return sorted(found)


def _states(folder: Path) -> dict[str, str]:
    return {path: state_of(folder / path) for path in listed(folder)}
