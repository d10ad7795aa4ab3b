"""Every error that irbench raises on purpose.

IrbenchError                 the request cannot be carried out as given: one message, exit status 2
├── UsageError               an option or a name that does not exist, or options that do not go together
├── RecipeError              a recipe file that cannot be understood
├── DataError                images or annotations that are missing, broken or empty
├── StoreError               a folder that cannot be written, a stored file from a newer irbench
├── ContractError            a plug-in returned something that its protocol does not allow
└── Unavailable              this cell cannot be run here; in a grid it is skipped and the reason is stored
    ├── NotApplicable        by design: there is nothing to run at this scale
    ├── MissingLibrary       an optional library is not installed, or broken
    └── MissingWeights       pretrained weights are neither on disk nor to be had

A message says what is wrong, where (file, key, row), and what to do. Its sentence may be improved at any time; programs
and tests look at `code`, which is stable. Anything else that is raised is a bug of irbench, and keeps its traceback.
"""

import errno
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

from irbench.core.text import as_message

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_NO_MEMORY = ("can't allocate memory", "annot allocate memory", "std::bad_alloc")  # in messages of libraries


class IrbenchError(Exception):
    """The request cannot be carried out as given; `str(error)` is the whole message for the user.

    `code` tells the kind of error in a word that does not change: that of the class, or a narrower one.
    """

    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(as_message(message))
        self.code = code or self.default_code


class UsageError(IrbenchError):
    """An option or a name that does not exist, or options that do not go together."""

    default_code = "usage"


class RecipeError(IrbenchError):
    """A recipe file that cannot be understood."""

    default_code = "recipe"


class FileRaisedError(RecipeError):
    """A Python file of the user's raised something when it was run: the fault of one method, not of a request."""


class DataError(IrbenchError):
    """Images or annotations that are missing, broken or empty."""

    default_code = "data"


class StoreError(IrbenchError):
    """A folder that cannot be written, or a stored file that cannot be read."""

    default_code = "store"


class ContractError(IrbenchError):
    """A plug-in returned something that its protocol does not allow."""

    default_code = "contract"


class Unavailable(IrbenchError):  # noqa: N818 -- reads as the state of the cell that it ends
    """This cell cannot be run here; in a grid it is skipped and the reason is stored."""

    default_code = "unavailable"


class NotApplicable(Unavailable):
    """By design there is nothing to run, such as an off-the-shelf encoder at a scale without weights."""

    default_code = "not-applicable"


class MissingLibrary(Unavailable):
    """An optional library is not installed, or is installed and broken."""

    default_code = "missing-library"


class MissingWeights(Unavailable):
    """Pretrained weights are neither on disk nor to be had."""

    default_code = "missing-weights"


@contextmanager
def writing(what: object, option: str, *, only: "Collection[int]" = ()) -> "Iterator[None]":
    """Turn an `OSError` of writing `what` into a `StoreError` that names the option which chooses the place.

    `only` for these error numbers, where some are given: for code that may raise an `OSError` for other reasons.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in DISK_FULL or _is_short_write(error)
        if only and error.errno not in only and not full:
            raise
        message = f"cannot write {what}: {error.strerror or error}; see {option}"
        if full:
            raise StoreError(message, code="disk-full") from error
        raise StoreError(message, code="not-writable") from error


def _is_short_write(error: OSError) -> bool:
    """Is it what NumPy raises, without a number, where a disk took a part of an array?"""
    said = str(error)
    return error.errno is None and (("requested and" in said and "written" in said) or "problem writing" in said)


def is_out_of_memory(error: BaseException) -> bool:
    """Does an error tell that the memory of the host or of the device does not suffice, for data or for a library?"""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    said = str(error)
    # a folder whose files may not be executed has the first sentence too, and goes on with the reason
    return said.endswith("failed to map segment from shared object") or any(sign in said for sign in _NO_MEMORY)


def nearest(name: str, known: "Iterable[str]") -> str:
    """Return "; did you mean 'x'?" for the known name closest to `name`, or an empty string when none is close."""
    matches = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def check_choice(what: str, value: str, known: "Collection[str]") -> None:
    """Raise a `UsageError` unless `value` is one of `known`; `what` names the option or the thing that is chosen."""
    if value not in known:
        raise UsageError(
            f"unknown {what} '{value}'{nearest(value, known)} (one of {', '.join(known)})", code="unknown-choice"
        )
