"""A result: what one cell of the grid (a method, a data set, a seed) measured, as a file that a person can read.

A file says which schema it follows. One from a newer irbench is refused by name, and never written over; one that is
damaged is named, and the others are read all the same. The rankings behind the numbers are kept beside the work
files, so that a metric invented later needs no new run; which answers were right is kept beside the result itself.
"""

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError
from safetensors.numpy import load, save

from irbench.collection import Benchmark
from irbench.errors import ContractError, StoreError, UsageError
from irbench.identifiers import Identifiers
from irbench.protocols import Backbone
from irbench.ranking import Ranking
from irbench.store import write_atomically

SCHEMA: Final = 1
Status = Literal["ok", "failed", "timeout", "out_of_memory", "skipped"]

# beside one other process on two cores the median time of an unchanged query varied by 4, beside three by 8.7
_OTHERS = 0.1  # share of the cores that others computed on
_LOAD = 1.5  # for each core, where no more is known; a cell that computes on all of them makes 1

# strict: no text where a number belongs; NaN and infinity are errors where the result is made, not where it is written
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_LEGAL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._=,-]*[A-Za-z0-9])?")


Facts = dict[str, JsonValue]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Dataset:
    """What was asked, and of how many images."""

    name: str
    protocol: str
    crop: str
    fingerprint: str  # Benchmark.fingerprint: only equal ones compare
    train: Count
    gallery: Count
    queries: Count
    classes: Count
    without_positives: Count = 0  # queries without a right answer in the gallery, left out of every mean
    bad_images: Count = 0  # unreadable images that were skipped, as asked
    fresh: Count = 0  # of the gallery, images that were not trained on and were added after the others were indexed

    @classmethod
    def of(cls, benchmark: Benchmark, *, bad_images: int = 0) -> Self:
        """Return what a result tells of the benchmark; `bad_images` were left out of it."""
        return cls(
            name=benchmark.name,
            protocol=benchmark.protocol,
            crop=benchmark.crop,
            fingerprint=benchmark.fingerprint,
            train=len(benchmark.train),
            gallery=len(benchmark.gallery),
            queries=len(benchmark.queries),
            classes=benchmark.classes,
            without_positives=int((benchmark.positives == 0).sum()),
            bad_images=bad_images,
            fresh=benchmark.fresh,
        )


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class RecipeUsed:
    """The recipe files behind the cell, one after the other, and the hash of that text."""

    text: str
    hash: str


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Estimate:
    """A metric's mean over the queries with its 95 % interval, or the reason why there is none."""

    mean: float | None
    ci95: tuple[float, float] | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) == (self.reason is None):
            raise ValueError("a metric has either a mean or a reason why it has none")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class StoredRanking:
    """Where the answers are kept: a file name within the folder of rankings, its hash, and the answers per query."""

    file: str
    sha256: Sha256
    k: Count


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class StoredHits:
    """Which answers were right: a file beside the result (irbench.hits), its hash, and the answers per query."""

    file: str
    sha256: Sha256
    k: Count


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class QueryTimes:
    """Milliseconds that a query takes, as the harness's clock saw them; of a batch, each query's share.

    A stage consists of its parts and of what stands between them; the parts are timed apart from the stages.
    """

    batch: Count  # queries asked together
    encode_p50: float | None = None
    search_p50: float | None = None
    read_p50: float | None = None  # of the encoding: the picture's file, to its pixels; None where there are no files
    decoder_p50: float | None = None  # of the search, where identifiers are written: the network …
    trie_p50: float | None = None  # … the choice among the identifiers that exist …
    lookup_p50: float | None = None  # … and the images that have them; an index answers with these at once
    total_p50: float | None = None
    total_p95: float | None = None
    total_p99: float | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Cost:
    """What the numbers cost; None where it was not, or could not be, measured."""

    train_s: float | None = None
    encode_gallery_s: float | None = None
    build_s: float | None = None
    add_s: float | None = None  # for all images that came after the others were indexed
    index_bytes: Count | None = None
    model_bytes: Count | None = None
    peak_host_bytes: Count | None = None
    peak_device_bytes: Count | None = None
    query_ms: QueryTimes | None = None  # one query at a time
    batched_ms: QueryTimes | None = None  # in batches: medians over rounds of all of them
    queries_per_s: float | None = None  # in batches


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Result:
    """One cell's result. `metrics` keeps the order in which they were asked for."""

    schema: Literal[1] = SCHEMA
    status: Status
    reason: str | None = None  # why the status is not "ok"
    dataset: Dataset
    method: str
    search: str | None = None
    identifier: str | None = None
    variant: str | None = None  # what an ablation changed
    scale: Literal["tiny", "small", "paper", "unknown"]  # unknown: of a ranking that was made elsewhere
    seed: Count
    inputs: str  # hash of recipe, data, scale, seed, options and code: an equal one answers the same question
    shortened: dict[str, int] = field(default_factory=dict)  # {"max_queries": 100, "epochs": 3}
    backbone: Backbone | None = None
    recipe: RecipeUsed
    retriever: Facts = field(default_factory=dict)  # what it reports of itself
    metrics: dict[str, Estimate] = field(default_factory=dict)
    ranking: StoredRanking | None = None
    hits: StoredHits | None = None
    cost: Cost = field(default_factory=Cost)
    environment: Facts = field(default_factory=dict)
    created: str  # ISO 8601, UTC

    def __post_init__(self) -> None:
        if (self.status == "ok") != (self.reason is None):
            raise ValueError(f"status '{self.status}' {'has no' if self.status == 'ok' else 'needs a'} reason")

    @property
    def cell(self) -> str:
        """The cell's name without its seed: "ft-clip+scann", "irgen@length=2"."""
        search = f"+{self.search}" if self.search else ""
        return f"{self.method}{search}" + (f"@{self.variant}" if self.variant else "")

    @property
    def beside_others(self) -> bool:
        """Were its times measured while others used the machine? Then they say little; results of old do not tell."""
        others, load, cores = (self.environment.get(key) for key in ("others", "load", "cores"))
        if not isinstance(cores, int):
            return False
        if isinstance(others, int | float):
            return others > _OTHERS * cores
        return isinstance(load, int | float) and load > _LOAD * cores

    def path(self, root: Path) -> Path:
        """Return where this result belongs below `root`."""
        for what in ("method", "search", "variant"):
            _check_name(what, getattr(self, what))
        _check_name("data set", self.dataset.name)
        return root / self.dataset.name / self.cell / f"seed{self.seed}.json"


_READER = TypeAdapter(Result)


def write(result: Result, root: Path) -> Path:
    """Write the result to its place below `root`, replacing an older one of the same cell and seed."""
    path = result.path(root)
    _spare_newer(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(document(result), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        for other in path.parent.glob(f"seed{result.seed}-*.safetensors"):  # of the result that stood here before
            if result.hits is None or other.name != result.hits.file:
                other.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}; see --results") from error
    return path


def read(path: Path) -> Result:
    """Read one result file, refusing what is damaged or from a newer irbench."""
    text = _read_text(path)
    try:
        _refuse_newer(path, _schema_of(text))
        return _READER.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "result"
        what = f"{key}: {first['msg']}"
    except (ValueError, RecursionError) as error:
        what = str(error)
    raise StoreError(f"{path}: not a result: {what}; delete the file or run the cell again")


def find(path: Path) -> Result | None:
    """Return the result at `path`; None where there is none or it is damaged. One from a newer irbench is refused."""
    if not path.is_file():
        return None
    _spare_newer(path)
    with suppress(StoreError):
        return read(path)
    return None


def usual_folder() -> Path:
    """Return where results are looked for when no folder is named: in what was run here, else in what is stored."""
    usual = (Path("runs/results"), Path("results"))
    return next((folder for folder in usual if any(folder.glob("*/*/seed*.json"))), usual[0])


def read_all(root: Path) -> tuple[list[Result], list[str]]:
    """Read every result below `root`; what cannot be read is named in the second list and does not hide the rest."""
    found, problems = [], []
    for path in sorted(root.glob("*/*/seed*.json")):
        try:
            result = read(path)
            belongs = result.path(root)
        except (StoreError, UsageError) as error:
            problems.append(str(error))
            continue
        if belongs == path:
            found.append(result)
        else:
            problems.append(f"{path}: holds the result that belongs in {belongs}; move or delete it")
    return found, problems


def save_ranking(ranking: Ranking, folder: Path, identifiers: Identifiers | None = None) -> StoredRanking:
    """Keep a ranking in `folder` under a name made of its content, so that no other result's ranking is replaced.

    With it the gallery's identifiers, where the answers were found by writing these.
    """
    arrays = {"rows": ranking.rows.astype(np.int32), "scores": np.ascontiguousarray(ranking.scores)}
    if identifiers is not None:
        arrays["codes"] = identifiers.codes.astype(np.min_scalar_type(identifiers.codebook_size - 1))
    content = save(arrays)
    digest = hashlib.sha256(content).hexdigest()
    stored = StoredRanking(file=f"{digest[:32]}.safetensors", sha256=digest, k=ranking.depth)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / stored.file, content)
    except OSError as error:
        raise StoreError(f"cannot keep the ranking in {folder}: {error.strerror}; see --work") from error
    return stored


def load_ranking(stored: StoredRanking, folder: Path) -> Ranking:
    """Read a ranking that `save_ranking` kept, refusing a file that is not the one of that hash."""
    arrays = _load_arrays(stored, folder)
    try:
        return Ranking(arrays["rows"].astype(np.int64), arrays["scores"])
    except (KeyError, ContractError) as error:
        raise StoreError(f"{folder / Path(stored.file).name}: not a ranking: {error}") from error


def load_codes(stored: StoredRanking, folder: Path) -> NDArray[np.int64] | None:
    """Read the identifiers codes[N,M] of the gallery behind a ranking; None where none were written."""
    codes = _load_arrays(stored, folder).get("codes")
    return None if codes is None else codes.astype(np.int64)


def _load_arrays(stored: StoredRanking, folder: Path) -> dict[str, NDArray[Any]]:
    path = folder / Path(stored.file).name
    content = read_stored(path, stored.sha256, "the ranking of a result is kept in the work folder")
    try:
        return load(content)
    except SafetensorError as error:
        raise StoreError(f"{path}: not a ranking: {error}") from error


def read_stored(path: Path, sha256: str, place: str) -> bytes:
    """Read a file that was stored with a result, refusing one that is not of that hash; `place` says where it is."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; {place}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StoreError(f"{path}: not what was stored with the result: its hash differs; run the cell again")
    return content


def document(result: Result) -> dict[str, Any]:
    """Return the result as the JSON value that its file holds."""
    value = asdict(result)
    for estimate in value["metrics"].values():
        if estimate["reason"] is None:
            del estimate["reason"]
    return value


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error


def _schema_of(text: str) -> int:
    """Return the schema that a result file declares; ValueError where it declares none."""
    document = json.loads(text)
    schema = document.get("schema") if isinstance(document, dict) else None
    if type(schema) is not int:
        raise ValueError("it names no schema")
    return schema


def _refuse_newer(path: Path, schema: int) -> None:
    if schema > SCHEMA:
        raise StoreError(
            f"{path}: written by a newer irbench (schema {schema}, this one knows up to {SCHEMA}); upgrade irbench, "
            "or choose another folder with --results"
        )


def _spare_newer(path: Path) -> None:
    """Refuse to write over a file from a newer irbench; a damaged one may be replaced."""
    if path.exists():
        with suppress(ValueError, RecursionError):
            _refuse_newer(path, _schema_of(_read_text(path)))


def _check_name(what: str, name: str | None) -> None:
    if name is not None and not _LEGAL.fullmatch(name):
        raise UsageError(
            f"{what} '{name}' cannot be part of a file name: use letters, digits and - _ . = , and begin and end with "
            "a letter or digit"
        )
