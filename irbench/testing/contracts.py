"""A contract: a named check of one encoder, searcher, identifier or retriever."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from irbench.core.description import Description
from irbench.core.errors import Unavailable
from irbench.testing.subjects import Subject

T = TypeVar("T")
Check = Callable[[Subject[T]], None]


@dataclass(frozen=True)
class Contract(Generic[T]):
    """One check of one subject; calling it raises an AssertionError where the subject does not pass it."""

    check: Check[T]
    subject: Subject[T]

    @property
    def name(self) -> str:
        """What is demanded."""
        return self.check.__name__.strip("_").replace("_", " ")

    def __call__(self) -> None:
        """Check it. A library or weights that are missing here are no broken contract: `Unavailable` is passed on."""
        broken = f"{self.subject.name} breaks the contract '{self.name}'"
        try:
            with _one_thread():
                self.check(self.subject)
        except Unavailable:
            raise
        except AssertionError as error:
            raise AssertionError(f"{broken}: {error}") from error
        except Exception as error:
            raise AssertionError(f"{broken}: {type(error).__name__}: {error}") from error

    def __str__(self) -> str:
        """Return subject and contract in a line, as the name of a test."""
        return f"{self.subject.name}: {self.name}"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute with one thread: networks as small as these lose by a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def contracts(checks: Sequence[Check[T]], subject: Subject[T]) -> Iterator[Contract[T]]:
    """Yield a contract for each of `checks`."""
    return (Contract(check, subject) for check in checks)


def demand(held: object, *, due: str, came: object) -> None:
    """Raise an AssertionError that says what was due and what came, unless it is `held`."""
    if not held:
        raise AssertionError(f"due: {due}; came: {came}")


def demand_refusal(call: Callable[[], object], error: type[Exception], *, what: str) -> None:
    """Demand that `call` raises `error`."""
    try:
        result = call()
    except error:
        return
    raise AssertionError(f"due: {error.__name__} where {what}; came: a result, {type(result).__name__}")


def demand_description(described: Any) -> None:
    """Demand a `Description` whose details can be stored as JSON."""
    demand(isinstance(described, Description), due="a Description", came=type(described).__name__)
    json.dumps(dict(described.details), allow_nan=False, default=lambda value: value.item())
