"""What lies in a folder data set and is not read: each is counted, and said under the table, with a first example."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from irbench.core.text import as_text
from irbench.data.loaders.files import folders, image_files, is_file, is_named_as_image

_NAMED = 6  # of classes or suffixes; the others are counted


@dataclass(frozen=True, kw_only=True)
class _Folder:
    """The entries of one class folder that are not read."""

    path: str  # seen from the root
    images: int
    suffixes: list[str] = field(default_factory=list)  # of files that are no images
    odd: int = 0  # named like images, but no files
    below: list[str] = field(default_factory=list)  # images in its subfolders

    @classmethod
    def of(cls, root: Path, path: str) -> Self:
        with os.scandir(root / path) as entries:
            found = {entry.name: is_file(entry) for entry in entries if not entry.name.startswith(".")}
        images = set(image_files(root / path))
        files = {file for file, regular in found.items() if regular}
        others = found.keys() - files
        return cls(
            path=path,
            images=len(images),
            suffixes=[os.path.splitext(file)[1].lower() or file for file in files - images],  # noqa: PTH122
            odd=sum(map(is_named_as_image, others)),
            below=list(_below(root, [f"{path}/{name}" for name in folders(root / path)])) if others else [],
        )


def remarks(root: Path, parts: Sequence[str], *, reads_beside: bool = False) -> Iterator[str]:
    """Yield remarks on what is in `root` and is not read, the classes being the folders in `root/part` of each part.

    No parts but "" are the folders of classes in `root` itself; each other one ends with a slash. Where it
    `reads_beside`, images beside these folders are read too.
    """
    classes = [_Folder.of(root, f"{part}{name}") for part in parts for name in folders(root / part)]
    yield from _no_images(classes)
    yield from _not_read("images in subfolders of class folders", (id_ for one in classes for id_ in one.below))
    tops = dict.fromkeys(["", *parts])
    unread = [top for top in tops if not (reads_beside and top in parts)]
    beside = (f"{top}{file}" for top in unread for file in image_files(root / top))
    yield from _not_read("images that lie beside class folders", beside)
    places = [*tops, *(f"{one.path}/" for one in classes)]
    yield from _not_read("links that lead nowhere", (id_ for top in places for id_ in _broken_links(root, top)))
    hidden = (f"{top}{name}" for top in tops for name in _hidden_folders(root / top))
    yield from _not_read(
        "images in folders whose names begin with a dot",
        (f"{name}/{file}" for name in hidden for file in image_files(root / name)),
    )
    dotted = (f"{place}{name}" for place in places for name in _hidden_images(root / place))
    yield from _not_read("files named like images, but with a dot first", dotted)
    if "" not in parts:
        others = [name for name in folders(root) if f"{name}/" not in parts]
        yield from _not_read("images in folders other than train, gallery and query", _below(root, others))


def _no_images(classes: Sequence[_Folder]) -> Iterator[str]:
    suffixes = Counter(as_text(suffix) for one in classes for suffix in one.suffixes)
    if suffixes:
        counts = ", ".join(f"{suffix} {count}" for suffix, count in suffixes.most_common(_NAMED))
        yield f"files that were passed over, being of no known kind of image: {suffixes.total()} ({counts})"
    odd = sum(one.odd for one in classes)
    if odd:
        yield f"named like images, but no files (folders, pipes, sockets), and left out: {odd}"
    emptied = [as_text(one.path) for one in classes if not one.images]
    if emptied:
        some = ", ".join(emptied[:_NAMED]) + (" …" if len(emptied) > _NAMED else "")
        yield f"class folders without an image: {len(emptied)} ({some})"


def _broken_links(root: Path, top: str) -> Iterator[str]:
    with os.scandir(root / top) as entries:
        links = sorted(entry.name for entry in entries if entry.is_symlink() and not os.path.exists(entry))  # noqa: PTH110
    yield from (f"{top}{name}" for name in links)


def _hidden_folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.name.startswith(".") and e.is_dir(follow_symlinks=False))


def _hidden_images(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.name.startswith(".") and is_named_as_image(e.name) and is_file(e))


def _not_read(what: str, ids: Iterable[str]) -> Iterator[str]:
    found = list(ids)
    if found:
        yield f"{what}, which are not read: {len(found)}, first {as_text(found[0])}"


def _below(root: Path, tops: Iterable[str]) -> Iterator[str]:
    """Yield the images in these folders and their subfolders; links in them, which may be loops, are not followed."""
    for top in tops:
        for folder, inner, names in os.walk(root / top):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            shown = sorted(name for name in names if is_named_as_image(name) and not name.startswith("."))
            yield from (os.path.join(os.path.relpath(folder, root), name) for name in shown)  # noqa: PTH118
