"""A submission: who vouches for which files."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from irbench.core.errors import StoreError, UsageError
from irbench.core.version import VERSION
from irbench.results.schema import Sha256

FILE, RESULTS, RUNS, TASKS = "submission.json", "results", "runs", "tasks"
SCHEMA: Final = 1
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_LARGEST = 1 << 26  # bytes of the list of files

Line = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
# a path within the folder: names that begin with a letter or digit, none of which is ".."
Place = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=,+@-]*(/[A-Za-z0-9][A-Za-z0-9._=,+@-]*)*$")]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Submission:
    """What `submission.json` holds."""

    schema: Literal[1] = SCHEMA
    who: Annotated[Line, Field(min_length=1)]
    license: Annotated[Line, Field(min_length=1)]  # of the results, as an SPDX identifier or a name
    page: Line = ""  # of the paper or the code
    irbench: str  # version
    created: str  # ISO 8601, UTC
    files: dict[Place, Sha256]


_READER = TypeAdapter(Submission)


def made(who: str, terms: str, page: str, files: Mapping[str, str]) -> Submission:
    """Return a submission of today; `UsageError` where who, licence or page is no line of text."""
    try:
        return Submission(
            who=who,
            license=terms,
            page=page,
            irbench=VERSION,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            files=dict(files),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"--{first['loc'][0]}: one line of 1 to 200 characters is needed ({first['msg']})", code="bad-value"
        ) from None


def document(submission: Submission) -> str:
    """Return the text of the file."""
    return json.dumps(asdict(submission), indent=1) + "\n"


def read(folder: Path) -> Submission:
    """Read the file in `folder`; `StoreError` where it is no submission."""
    path = folder / FILE
    try:
        if not path.is_file():
            raise StoreError(f"{path}: no such file; irbench submit writes one", code="bad-submission")
        if path.stat().st_size > _LARGEST:
            raise StoreError(f"{path}: too large for a list of files", code="bad-submission")
        return _READER.validate_json(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; irbench submit writes one", code="bad-submission") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "file"
        raise StoreError(f"{path}: not a submission: {key}: {first['msg']}", code="bad-submission") from None
