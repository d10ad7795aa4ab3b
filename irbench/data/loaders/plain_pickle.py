"""Pickles of plain values, read without unpickling: containers, texts, bytes and numbers, and nothing that has a class.

The standard library's parser (`pickletools.genops`) splits a file into opcodes and executes nothing; the opcodes that
build plain values are carried out here, and all others are refused, above all those that import a name or call it.
Files of Python 2 hold texts as bytes, which are read as Latin-1.
"""

import pickletools
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from irbench.core.errors import DataError

LARGEST = 1 << 26  # bytes of a file
DEEPEST = 32  # containers within each other
_MOST = 1 << 24  # values in all, those that are in several places counted in each
_KEYS = (str, bytes, int, float, bool, type(None))  # of dicts: what cannot be nested, since the hash of that recurses

_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8",
}  # fmt: skip
_MADE: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list, "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}  # fmt: skip
_GATHERED: Mapping[str, Callable[[list[Any]], Any]] = {
    "LIST": list, "TUPLE": tuple, "DICT": lambda items: _set({}, items),
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_ADDED = {"APPEND": (list, 1), "APPENDS": (list, None), "SETITEM": (dict, 2), "SETITEMS": (dict, None)}
_REMEMBERED = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_RECALLED = {"GET", "BINGET", "LONG_BINGET"}
_IGNORED = {"PROTO", "FRAME", "STOP"}


class _RefusedError(ValueError):
    """An opcode that builds no plain value."""


def load(path: Path) -> Any:
    """Return the plain value in a pickle of protocol 0 to 4.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is no pickle, is larger or deeper than the limits, or holds anything but dicts, lists, tuples,
            texts, bytes, numbers, booleans and None.
    """
    if path.stat().st_size > LARGEST:
        raise DataError(f"{path}: more than {LARGEST >> 20} MiB; is it another file?", code="damaged-file")
    return loads(path.read_bytes(), str(path))


def loads(content: bytes, where: str) -> Any:
    """Return the plain value that is pickled in `content`; `DataError` as `load` raises it, with `where` it is from."""
    built = _Built()
    try:
        for opcode, argument, _ in pickletools.genops(content):
            built.carry_out(opcode.name, argument)
        value = built.result()
        _check_extent(value)
    except _RefusedError as error:
        raise DataError(
            f"{where}: {error}, and only plain containers, texts and numbers are read; get the file again",
            code="unsafe-pickle",
        ) from None
    except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
        raise DataError(f"{where}: not a whole pickle ({error}); get the file again", code="damaged-file") from None
    return value


class _Built:
    """The stack on which the opcodes of one pickle build its value, as the standard library's pickletools has it."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}

    def carry_out(self, name: str, argument: Any) -> None:
        """Apply an opcode; `_RefusedError` for one that builds anything but a plain value."""
        if name == "MARK":
            self._below.append(self._stack)
            self._stack = []
        elif name in _ADDED:
            kind, count = _ADDED[name]
            items = self._since_mark() if count is None else self._last(count)
            _add(self._stack[-1], kind, items)
        elif name in _REMEMBERED:
            self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]
        elif name not in _IGNORED:
            value = self._value(name, argument)  # which takes from the stack first
            self._stack.append(value)

    def result(self) -> Any:
        """Return the one value that is left."""
        if len(self._stack) != 1 or self._below:
            raise ValueError(f"{len(self._stack)} values in the place of one")
        return self._stack[0]

    def _value(self, name: str, argument: Any) -> Any:
        if name in _VALUES:
            return argument
        if name in _MADE:
            return _MADE[name]()
        if name in _GATHERED:
            return _GATHERED[name](self._since_mark())
        if name in _TUPLES:
            return tuple(self._last(_TUPLES[name]))
        if name in _RECALLED:
            return self._memo[argument]
        raise _RefusedError(f"it asks for more than a value ({name})")

    def _last(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError("too few values")
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _since_mark(self) -> list[Any]:
        taken, self._stack = self._stack, self._below.pop()
        return taken


def _add(target: Any, kind: type[Any], items: list[Any]) -> None:
    """Append items to a list, or set those of a dict."""
    if type(target) is not kind:
        raise TypeError(f"items of a {kind.__name__} for a {type(target).__name__}")
    if isinstance(target, dict):
        _set(target, items)
    else:
        target.extend(items)


def _set(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    """Set the items of a dict, keys and values in turn."""
    if not all(isinstance(key, _KEYS) for key in items[::2]):
        raise TypeError("a key that is a container")
    target.update(zip(items[::2], items[1::2], strict=True))
    return target


def _check_extent(value: Any) -> None:
    """Raise `ValueError` for containers that are too deep, hold themselves, or unfold to too many values."""
    level, count = deque([value]), 0
    for depth in range(DEEPEST + 1):
        count += len(level)
        if count > _MOST:
            raise ValueError(f"more than {_MOST:,} values")
        inner: deque[Any] = deque()
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())
            elif isinstance(one, list | tuple):
                inner.extend(one)
            if len(inner) > _MOST:
                raise ValueError(f"more than {_MOST:,} values")
        if not inner:
            return
        if depth == DEEPEST:
            break
        level = inner
    raise ValueError(f"more than {DEEPEST} containers within each other")
