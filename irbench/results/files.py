"""Result files: written whole, read strictly, found again.

A file says which schema it follows. One from a newer irbench is refused by name, and never written over; one that is
damaged is named, and the others are read all the same. Its last line, "sha256", is the hash of the text without that
line: a digit that was changed by hand, by a merge or by a disk is no longer a result. The text is hashed and validated
as it stands, and not written anew to do so, which counts where there are thousands of files.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from irbench.core.errors import StoreError, UsageError, writing
from irbench.core.filestate import size_of
from irbench.results.schema import SCHEMA, Result
from irbench.runtime.cache import make_folder, write_atomically

_READER = TypeAdapter(Result)
_FORGOTTEN = 3600.0  # seconds after which hits without a result will not get one any more
_END = "\n}"  # of a document
_SEALED = re.compile(r'(.*)(,\n "variant": [^\n]*),\n "sha256": "([0-9a-f]{64})"\n}\n', re.DOTALL)
_LARGEST = 1 << 24  # bytes of a file; results have some 10 kB


def write(result: Result, root: Path) -> Path:
    """Write the result to its place below `root`, replacing an older one of the same cell and seed."""
    path = result.path(root)
    _spare_newer(path)
    before = find(path)
    with writing(path, "--results"):
        make_folder(path.parent)
        write_atomically(path, sealed(document(result)))
        for other in path.parent.glob(f"seed{result.seed}-*.safetensors"):
            replaced = before is not None and before.hits is not None and other.name == before.hits.file
            # another process may have stored hits just now, and be about to write the result that they belong to
            if (result.hits is None or other.name != result.hits.file) and (replaced or _age(other, path) > _FORGOTTEN):
                other.unlink(missing_ok=True)
    return path


def read(path: Path) -> Result:
    """Read one result file, refusing what is damaged or from a newer irbench."""
    text = _read_text(path)
    try:
        return _READER.validate_json(_proved(text))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "result"
        what = f"{key}: {first['msg']}"
    except ValueError as error:
        what = str(error)
    try:
        schema = _parsed(text)["schema"]  # only now: it parses the text again
        _refuse_newer(path, schema)
        _refuse_older(path, schema)
    except (ValueError, RecursionError) as error:
        what = str(error)
    raise StoreError(f"{path}: not a result: {what}; delete the file or run the cell again", code="damaged-file")


def find(path: Path) -> Result | None:
    """Return the result at `path`; None where there is none or it is damaged. One from a newer irbench is refused."""
    if not path.is_file():
        return None
    _spare_newer(path)
    with suppress(StoreError):
        return read(path)
    return None


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


def document(result: Result) -> dict[str, Any]:
    """Return the result as the JSON value that its file holds."""
    value = asdict(result)
    if result.invariance is None:
        del value["invariance"]
    for estimate in value["metrics"].values():
        for absent in [key for key in ("reason", "short") if estimate[key] is None]:
            del estimate[absent]
    value["variant"] = result.variant  # derived, for people and scripts that read the file
    return value


def sealed(document: Mapping[str, Any]) -> str:
    """Return a document as the text of a file: what is derived, and its own hash, last."""
    ordered = {key: value for key, value in document.items() if key != "variant"} | {"variant": document["variant"]}
    text = json.dumps(ordered, indent=1, ensure_ascii=False, allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{text.removesuffix(_END)},\n "sha256": "{digest}"{_END}\n'


def _proved(text: str) -> str:
    """Return a file's text without what is derived from the rest; ValueError where its hash is that of another text."""
    written = _SEALED.fullmatch(text)
    if written is None or hashlib.sha256(f"{written[1]}{written[2]}{_END}".encode()).hexdigest() != written[3]:
        raise ValueError("it was changed after irbench wrote it: its sha256 is that of another content")
    return f"{written[1]}{_END}"


def _read_text(path: Path) -> str:
    try:
        if (size := size_of(path)) > _LARGEST:
            raise StoreError(f"{path}: {size >> 20} MiB are no result", code="damaged-file")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be read: {error}", code="unreadable-file") from error


def _parsed(text: str) -> dict[str, Any]:
    """Return a result file as JSON values; ValueError where it is none, or names no schema."""
    document = json.loads(text)
    if not isinstance(document, dict) or type(document.get("schema")) is not int:
        raise ValueError("it names no schema")
    return document


def _age(path: Path, newest: Path) -> float:
    """Return by how many seconds a file is older than one that was just written, by the clock of their disk alone."""
    with suppress(FileNotFoundError):
        return newest.stat().st_mtime - path.stat().st_mtime
    return 0.0


def _refuse_newer(path: Path, schema: int) -> None:
    if schema > SCHEMA:
        raise StoreError(
            f"{path}: written by a newer irbench (schema {schema}, this one knows up to {SCHEMA}); upgrade irbench, "
            "or choose another folder with --results",
            code="newer-schema",
        )


def _refuse_older(path: Path, schema: int) -> None:
    if schema < SCHEMA:
        raise StoreError(
            f"{path}: written by an older irbench (schema {schema}, this one reads {SCHEMA}); run the cell again",
            code="older-schema",
        )


def _spare_newer(path: Path) -> None:
    """Refuse to write over a file from a newer irbench; a damaged one may be replaced."""
    if path.exists():
        with suppress(ValueError, RecursionError):
            _refuse_newer(path, _parsed(_read_text(path))["schema"])
