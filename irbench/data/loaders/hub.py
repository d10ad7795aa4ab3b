"""Images in Parquet files, of a folder or of the Hugging Face hub; `irbench.data.origins` writes where they are.

Two layouts are read. Of images with labels the files are named after their split, `data/train-00000-of-00002.parquet`,
as `datasets` pushes and looks for them (huggingface/datasets:src/datasets/data_files.py). Tasks of retrieval have a
corpus, queries and qrels: folders or prefixes of names, with columns id,image and query-id,corpus-id,score, as MTEB's
image-to-image tasks (isaacchung/cub200_retrieval and JamieSJS/r-oxford-easy-multi on the hub;
embeddings-benchmark/mteb:mteb/abstasks/retrieval_dataset_loaders.py).

Images are unpacked once, beside the small file, one file each: from then on they are files like any others, whatever
reads them. It takes as much room as the Parquet files, which hold images as they are.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError, nearest
from irbench.core.judgements import HIGHEST, JUNK, Pairs, Rows
from irbench.core.text import as_text
from irbench.data import qrels
from irbench.data.loaders import Collection, Split
from irbench.data.loaders.files import numbered
from irbench.data.loaders.folders import held_out
from irbench.data.origins import FORM, Origin, listed, read_list
from irbench.data.parquet import SUFFIX as PARQUET
from irbench.data.parquet import Table

_KEYWORDS = {  # of the names of files and folders; those of splits are of `datasets`
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "dev": "validation", "val": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
    "gallery": "gallery", "query": "query", "queries": "query", "corpus": "corpus", "qrels": "qrels",
}  # fmt: skip
_SPLITS = ("test", "validation", "train")  # of a task; the first that is there is evaluated
_PARTS = ("train", "gallery", "query", "test", "validation")  # of images with labels
_TASK = ("corpus", "query", "qrels")
_PLAIN = {"", "data", "default", "partial"}  # folders that name no subset
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.parquet")
_SEPARATORS = re.compile(r"[-._ 0-9]+")
_UNSAFE = re.compile(r"[/%\\:\x00-\x1f\x7f]|^\.")  # in the name of a file; percent-encoded
_LONGEST = 150  # bytes of a file's name
_CANDIDATES = 20_000  # names among which a similar one is looked for


@dataclass(frozen=True)
class Config:
    """For images without a split of queries."""

    holdout: int = 3  # n: of each class, every n-th image is a query


class HubLoader:
    """Images with labels: those of split test (else validation) are queries, train is trained on and the gallery.

    Where there is one split only, every third image of a class is a query. Of a task of retrieval the corpus is the
    gallery, relevant is what the qrels name, and queries that they do not name are left out. An id is that of the data
    set below `corpus/` or `query/`, else the row below the name of the split.
    """

    marker: ClassVar[str] = ""
    shape: ClassVar[str] = (
        "Parquet files with columns image,label named after their split, or those of a corpus, queries and qrels; a "
        "row whose image is null has no file"
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def read(self, root: Path) -> Collection:
        """Read the Parquet files that the file `root` names, and unpack their images beside it."""
        origin = read_list(root)
        files = _Files.of(origin)
        is_task = any(files.of_table(name) for name in ("corpus", "qrels"))
        said = () if origin.folder else (f"from the Hugging Face hub: {origin.named}",)
        reader = (
            _Task(files, root.parent, said) if is_task else _Labelled(files, root.parent, said, self.config.holdout)
        )
        return reader.collection()


@dataclass(frozen=True)
class _File:
    """A file of the data set, and what its path says."""

    path: str  # below the folder
    words: tuple[str, ...]  # of `_KEYWORDS`, folders first
    subset: str

    @classmethod
    def of(cls, path: str) -> "_File":
        *folders, name = path.split("/")
        found = [word for part in (*folders, name) for word in _SEPARATORS.split(part.lower()) if word in _KEYWORDS]
        rest = ["-".join(word for word in part.split("-") if word.lower() not in _KEYWORDS) for part in folders]
        return cls(path, tuple(_KEYWORDS[word] for word in found), "/".join(one for one in rest if one not in _PLAIN))

    def first(self, known: Sequence[str]) -> str:
        """Return the first of its words that is one of these, else an empty string."""
        return next((word for word in self.words if word in known), "")


@dataclass(frozen=True)
class _Files:
    """The files of one subset."""

    folder: Path
    named: str
    files: tuple[_File, ...]

    @classmethod
    def of(cls, origin: Origin) -> "_Files":
        folder = origin.place()
        found = [_File.of(path) for path in listed(folder)]
        subsets = sorted({one.subset for one in found})
        if origin.subset:
            found = [one for one in found if one.subset == origin.subset]
        elif len(subsets) > 1:
            others = ", ".join(as_text(one) or "(none)" for one in subsets)
            raise DataError(
                f"{origin.named}: several subsets, {others}; name one, by its folder or as {FORM}",
                code="several-datasets",
            )
        if not any(one.path.endswith(PARQUET) for one in found):
            among = f" of subset {origin.subset}; there are {', '.join(map(as_text, subsets))}" if origin.subset else ""
            raise DataError(
                f"{origin.named}: no Parquet files{among}. What is needed: {HubLoader.shape}", code="no-images"
            )
        _check_shards(folder, [one.path for one in found])
        return cls(folder, origin.named, tuple(_with_table(folder, one) for one in found))

    def of_table(self, table: str) -> list[_File]:
        """Return the files of the corpus, of the queries or of the qrels."""
        return [one for one in self.files if one.first(_TASK) == table]

    def table(self, name: str, files: Sequence[_File]) -> Table:
        """Return Parquet files as one table."""
        return Table(name, tuple(self.folder / one.path for one in files))


def _with_table(folder: Path, file: _File) -> _File:
    """Return the file as one of qrels where its columns are those of qrels: MTEB's are also called `default`."""
    if file.first(_TASK) or not file.path.endswith(PARQUET):
        return file
    is_qrels = {"query-id", "corpus-id"} <= Table("", (folder / file.path,)).columns.keys()
    return _File(file.path, ("qrels", *file.words), file.subset) if is_qrels else file


def _check_shards(folder: Path, paths: Sequence[str]) -> None:
    """Raise `DataError` for a file that the names of others say there is: `train-00001-of-00002.parquet`."""
    known = set(paths)
    for path in paths:
        if found := _SHARD.fullmatch(path):
            stem, _, count = found.groups()
            every = [f"{stem}-{number:05}-of-{count}{PARQUET}" for number in range(int(count))]
            if missing := [one for one in every if one not in known]:
                raise DataError(
                    f"{folder / missing[0]} is missing, as are {len(missing) - 1} more of the {int(count)} files of "
                    f"{as_text(stem)}; get the data set again",
                    code="missing-file",
                )


@dataclass(frozen=True)
class _Labelled:
    """Images with labels, in splits or in one."""

    files: _Files
    place: Path  # below which images are unpacked
    said: tuple[str, ...]
    holdout: int

    def collection(self) -> Collection:
        parts = self._parts()
        queries = next((part for part in ("query", "test", "validation") if part in parts), "")
        others = [part for part in ("gallery", "train", "validation", "test") if part in parts and part != queries]
        if len(parts) == 1:
            used = list(parts)
        elif not queries:
            raise DataError(
                f"{self.files.named}: splits {', '.join(parts)}, and none of queries (query, test or validation)",
                code="bad-split",
            )
        else:
            train = "train" if "train" in others else others[0]
            used = list(dict.fromkeys((train, others[0], queries)))
        tables = {part: parts[part] for part in used}
        ids = {part: [f"{part}/{row:06}" for row in range(sum(table.sizes))] for part, table in tables.items()}
        labels, names, remarks = _labels(self.files.named, list(tables.values()))
        ends = np.cumsum([0, *map(len, ids.values())])
        rows = {part: np.arange(*ends[place : place + 2]) for place, part in enumerate(used)}
        if len(used) == 1:
            classes = [names[label] for label in labels.tolist()]
            split, unasked = held_out(
                labels, classes, self.holdout, where=self.files.named, otherwise="files of splits train and test"
            )
        else:
            split, unasked = Split(train=rows[train], gallery=rows[others[0]], queries=rows[queries]), ()
        absent = _unpack([(table, ids[part]) for part, table in tables.items()], self.place)
        left_out = [f"split that is not used: {part}" for part in parts if part not in used]
        return Collection(
            ids=tuple(id_ for part in used for id_ in ids[part]),
            labels=labels,
            classes=names,
            split=split,
            remarks=(*self.said, *remarks, *left_out, *unasked, *absent),
        )

    def _parts(self) -> dict[str, Table]:
        """Return the table of each split; files whose names say none are one, where they are all that there is."""
        found: dict[str, list[_File]] = {}
        for file in self.files.files:
            if file.path.endswith(PARQUET):
                found.setdefault(file.first(_PARTS), []).append(file)
        if "" in found and len(found) > 1:
            raise DataError(
                f"{self.files.folder / found[''][0].path}: its name says no split, and those of others do; name it "
                f"after one of {', '.join(_PARTS)}, or move it away",
                code="bad-split",
            )
        return {part or "train": self.files.table(part or "train", files) for part, files in found.items()}


@dataclass(frozen=True)
class _Task:
    """A corpus, queries and judgements."""

    files: _Files
    place: Path
    said: tuple[str, ...]

    def collection(self) -> Collection:
        chosen = {table: self._files_of(table) for table in _TASK}
        corpus, query = (self.files.table(table, chosen[table]) for table in ("corpus", "query"))
        named = {table.name: _ids(table) for table in (corpus, query)}
        pairs, asked = self._pairs(chosen["qrels"], *named.values())
        ids = {table: [f"{table}/{name}" for name in _file_names(names)] for table, names in named.items()}
        count = len(named["corpus"])
        judged = Pairs(
            (count + len(named["query"]),) * 2, pairs.query + count, pairs.row, pairs.grade
        )  # between all images, which are those of the corpus and then those of the queries
        absent = _unpack([(table, ids[table.name]) for table in (corpus, query)], self.place)
        gallery, every = np.arange(count), (*ids["corpus"], *ids["query"])
        relevant = int((pairs.grade > 0).sum())
        remarks = [f"relevant is what the qrels name: {relevant:,} pairs of a query and an image of the corpus"]
        if unasked := len(named["query"]) - len(asked):
            remarks.append(f"queries that the qrels do not name, which are left out: {unasked:,}")
        return Collection(
            ids=every,
            labels=np.zeros(len(every), np.int64),
            split=Split(train=gallery, gallery=gallery, queries=asked + count),
            labelled=False,
            judgements=judged,
            unused=tuple(np.delete(np.array(ids["query"], object), asked)),
            remarks=(*self.said, *remarks, *absent),
        )

    def _files_of(self, table: str) -> list[_File]:
        """Return the files of a table; where it has several splits those of test, else of validation."""
        found = self.files.of_table(table)
        if not found:
            raise DataError(
                f"{self.files.named}: no files of the {table}; a corpus, queries and qrels are needed, in folders of "
                "these names or in files whose names begin with them",
                code="missing-file",
            )
        splits = {one.first(_SPLITS) for one in found}
        wanted = next((split for split in _SPLITS if split in splits), "")
        of_split = [one for one in found if one.first(_SPLITS) in {wanted, ""}]
        if table != "qrels":
            return [one for one in of_split if one.path.endswith(PARQUET)]
        texts = [one for one in of_split if not one.path.endswith(PARQUET)]
        return texts or of_split

    def _pairs(self, files: Sequence[_File], corpus: Sequence[str], queries: Sequence[str]) -> tuple[Pairs, Rows]:
        """Return what is judged between queries and corpus, those of grade 0 left out, and the queries of all."""
        found = [_Judged.read(self.files.folder / one.path) for one in files]
        known = [{name: row for row, name in enumerate(names)} for names in (queries, corpus)]
        query, image, grades = (
            np.concatenate(columns) for columns in zip(*(one.rows(*known) for one in found), strict=True)
        )
        if not len(query):
            raise DataError(f"{found[0].path}: no judgements; needed is query-id,corpus-id,score", code="bad-qrels")
        order = np.lexsort((image, query))
        repeated = np.flatnonzero((np.diff(query[order]) == 0) & (np.diff(image[order]) == 0))
        if len(repeated):
            row, file = int(order[repeated[0] + 1]), 0
            while row >= len(found[file].grades):
                row, file = row - len(found[file].grades), file + 1
            raise DataError(
                f"{found[file].where(row)}: {as_text(found[file].images[row])} is judged for "
                f"{as_text(found[file].queries[row])} a second time",
                code="duplicate-image",
            )
        counted = grades != 0
        pairs = Pairs.of((len(queries), len(corpus)), query[counted], image[counted], grades[counted])
        return pairs, np.unique(query)


@dataclass(frozen=True)
class _Judged:
    """A file of qrels."""

    path: Path
    queries: Sequence[str]
    images: Sequence[str]
    grades: Sequence[Any]
    lines: Sequence[int]

    @classmethod
    def read(cls, path: Path) -> "_Judged":
        """Read Parquet with columns query-id,corpus-id,score, or a text as of `irbench run --qrels`."""
        if not path.name.endswith(PARQUET):
            found = qrels.read(path)
            columns = ([getattr(one, what) for one in found] for what in ("query", "image", "grade", "line"))
            return cls(path, *columns)
        table = Table("qrels", (path,))
        needed = ("query-id", "corpus-id", "score")
        if missing := [name for name in needed if name not in table.columns]:
            raise DataError(
                f"{path}: no column {', '.join(missing)}; its columns are {table.listed}", code="missing-column"
            )
        query, image, grades = map(table.values, needed)
        return cls(path, list(map(str, query)), list(map(str, image)), grades, range(len(grades)))

    def where(self, row: int) -> str:
        """Return the place of a judgement; lines of a text are counted from 1, rows of Parquet from 0."""
        return f"{self.path}, {'row' if self.path.name.endswith(PARQUET) else 'line'} {self.lines[row]}"

    def rows(self, queries: Mapping[str, int], images: Mapping[str, int]) -> tuple[Rows, Rows, NDArray[np.int8]]:
        """Return the rows of queries and images, and grades; `DataError` for names that there are not."""
        query = [self._row(queries, name, row, "query") for row, name in enumerate(self.queries)]
        image = [self._row(images, name, row, "image of the corpus") for row, name in enumerate(self.images)]
        grades = [self._grade(value, row) for row, value in enumerate(self.grades)]
        return np.array(query, np.int64), np.array(image, np.int64), np.array(grades, np.int8)

    def _row(self, known: Mapping[str, int], name: str, row: int, what: str) -> int:
        if name in known:
            return known[name]
        like = nearest(name, islice(known, _CANDIDATES)) or f"; they have names like '{as_text(next(iter(known)))}'"
        raise DataError(f"{self.where(row)}: there is no {what} '{as_text(name)}'{like}", code="unknown-id")

    def _grade(self, value: Any, row: int) -> int:
        grade = np.nan
        with suppress(TypeError, ValueError):  # null, or a text
            grade = float(value)
        if not (grade.is_integer() and JUNK <= grade <= HIGHEST):
            raise DataError(
                f"{self.where(row)}: score {value} is no whole number of {JUNK} to {HIGHEST}; 1 or more is relevant, 0 "
                f"is not, {JUNK} is neither right nor wrong",
                code="bad-grade",
            )
        return int(grade)


def _ids(table: Table) -> list[str]:
    """Return the ids of a corpus or of queries; `DataError` for a null, or for one that is there twice."""
    column = next((name for name in ("id", "_id") if name in table.columns), None)
    if column is None:
        raise DataError(f"{table.files[0]}: no column id; its columns are {table.listed}", code="missing-column")
    found = table.values(column)
    if None in found:
        raise DataError(f"{table.where(found.index(None))}: no {column}", code="empty-value")
    names = list(map(str, found))
    if len(set(names)) < len(names):
        name = next(name for name, count in Counter(names).items() if count > 1)
        second = names.index(name, names.index(name) + 1)
        raise DataError(
            f"{table.where(second)}: {column} '{as_text(name)}' is there a second time; each image has its own",
            code="duplicate-image",
        )
    return names


def _labels(named: str, tables: Sequence[Table]) -> tuple[NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
    """Return the label of each row of all tables, the name of each label, and remarks on where they are from.

    The numbers of a ClassLabel mean what the names in their own file say.
    """
    first = tables[0]
    column = _label_column(named, first)
    parts = [part for table in tables for part in table.parts]
    values, names = _values(parts, column), [_class_names(part, column) for part in parts]
    if len({one is None for one in names}) > 1:
        odd = parts[[one is None for one in names].index(True)]
        raise DataError(
            f"{odd.files[0]}: column {as_text(column)} has numbers without names, and in other files they have names; "
            "write all files with the same features",
            code="bad-label",
        )
    said = () if column == "label" else (f"labels are those of column {as_text(column)}",)
    flat = [value for of_part in values for value in of_part]
    if names[0] is not None:
        order = dict.fromkeys(name for one in names if one is not None for name in one)
        place = {name: number for number, name in enumerate(order)}
        labels = [place[known[value]] for of_part, known in zip(values, names, strict=True) if known is not None
                  for value in of_part]  # fmt: skip
        return np.array(labels, np.int64), tuple(order), said
    kinds = {type(value) for value in flat}
    if kinds not in ({int}, {str}):
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise DataError(
            f"{first.files[0]}: column {as_text(column)} has values of type {found}; labels are whole numbers or texts",
            code="bad-column",
        )
    if kinds == {str}:
        return numbered(flat), tuple(sorted(set(flat))), said
    classes, dense = np.unique(np.array(flat, np.int64), return_inverse=True)
    return dense.astype(np.int64), tuple(map(str, classes.tolist())), said


def _class_names(part: Table, column: str) -> tuple[str, ...] | None:
    """Return the names of a ClassLabel's numbers; None for another type."""
    feature = part.features.get(column, {})
    return tuple(map(str, feature["names"])) if feature.get("_type") == "ClassLabel" and feature.get("names") else None


def _values(parts: Sequence[Table], column: str) -> list[list[Any]]:
    """Return the labels of each file as they are; `DataError` for one that is missing or has no name."""
    found = [part.values(column) for part in parts]
    for part, values in zip(parts, found, strict=True):
        names = _class_names(part, column)
        unknown = [row for row, value in enumerate(values) if value is None or (names and value == -1)]
        if unknown:
            raise DataError(
                f"{part.where(unknown[0])}: {len(unknown):,} rows have no {as_text(column)} (null, or -1 for a label "
                "that is not told); leave them out of the files, or the split that they are in",
                code="bad-label",
            )
        if names and any(not isinstance(value, int) or not 0 <= value < len(names) for value in values):
            raise DataError(
                f"{part.files[0]}: column {as_text(column)} has numbers outside of its {len(names)} names",
                code="bad-label",
            )
    return found


def _label_column(named: str, table: Table) -> str:
    """Return the column of labels: `label`, or the only one that `datasets` calls a class label."""
    if "label" in table.columns:
        return "label"
    found = [name for name, one in table.features.items() if one.get("_type") == "ClassLabel" and name in table.columns]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"{named}: {', '.join(map(as_text, found))} could all be the label; write the files with one named so",
            code="bad-column",
        )
    raise DataError(
        f"{table.files[0]}: no column label, and none of class labels; its columns are {table.listed}",
        code="missing-column",
    )


def _unpack(tables: Sequence[tuple[Table, Sequence[str]]], place: Path) -> Iterator[str]:
    """Write the images of tables below `place`, where their ids lead, and yield how many rows have none."""
    columns = [table.image_column for table, _ in tables]  # what is wrong with any is found before one is unpacked
    missing = 0
    for (table, ids), column in zip(tables, columns, strict=True):
        missing += table.unpack(column, [id_.partition("/")[2] for id_ in ids], place / table.name)
    if missing:
        count = sum(len(ids) for _, ids in tables)
        yield f"rows whose image is null: {missing:,} of {count:,}; --on-bad-image skip leaves them out"


def _file_names(ids: Sequence[str]) -> list[str]:
    """Return a name of a file for each id: the id itself, where every system takes it and no other one is alike.

    Some take two names that differ in capital letters or in the form of Unicode for one.
    """
    plain = [_UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", id_) for id_ in ids]
    alike = Counter(map(_folded, plain))
    return [
        name if name and alike[_folded(name)] == 1 and len(name.encode()) <= _LONGEST
        else f"{name.encode()[:_LONGEST].decode(errors='ignore')}~{hashlib.sha256(id_.encode()).hexdigest()[:16]}"
        for name, id_ in zip(plain, ids, strict=True)
    ]  # fmt: skip


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
