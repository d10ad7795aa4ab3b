"""Tables in Matlab files: read by scipy in a process of its own, since damaged files can crash it.

That process may take 4 GiB and a minute, and answers with JSON: nothing is unpickled. As a program it takes a file and
the name of a struct array, `python -m irbench.data.loaders.matlab annos.mat annotations`.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError

_MEMORY = 4 << 30  # bytes of addresses
_SECONDS = 60
_CELLS = "cells"  # the field of what has no fields, a cell array
Table = Mapping[str, list[Any]]  # of each field a number, a list of numbers or a text in each row, None for all else


def matlab(path: Path, variable: str) -> Table:
    """Return the fields of a struct array of a Matlab file.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is damaged, or has no such variable.
    """
    path.stat()
    line = [sys.executable, "-P", "-m", __name__, str(path), variable]
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # whose buffers count as memory
    done = subprocess.run(line, capture_output=True, check=False, env=one_thread)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] if done.returncode > 0 else []
        why = last[0] if last else "its reader crashed"
        raise DataError(f"{path}: not a whole Matlab file ({why}); get it again", code="damaged-file")
    table = json.loads(done.stdout)
    if table is None:
        raise DataError(
            f"{path}: no struct or cell array '{variable}' in it; is it another file of the same name?",
            code="missing-column",
        )
    return {str(name): list(values) for name, values in table.items()}


def texts(table: Table, name: str, path: Path) -> list[str]:
    """Return a column of texts of a table."""
    if name not in table:
        raise DataError(f"{path}: no field '{name}' in it; is it the file without labels?", code="missing-column")
    if not all(isinstance(value, str) for value in table[name]):
        raise DataError(
            f"{path}: field '{name}' has a value that is no text; get the file again", code="bad-annotation"
        )
    return table[name]


def cells(path: Path, variable: str) -> list[str]:
    """Return the texts of a cell array of a Matlab file; raises what `matlab` does."""
    return texts(matlab(path, variable), _CELLS, path)


def column(table: Table, name: str, path: Path) -> NDArray[np.int64]:
    """Return an integer column of a table."""
    if name not in table:
        raise DataError(f"{path}: no field '{name}' in it; is it the file without labels?", code="missing-column")
    try:
        return np.array([int(value) for value in table[name]], dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        raise DataError(
            f"{path}: field '{name}' has a value that is not a number; get the file again", code="bad-annotation"
        ) from None


def _main(path: str, variable: str) -> None:
    """Write a struct or cell array as JSON to standard output; null where there is none of that name."""
    from scipy.io import loadmat

    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    found = loadmat(path, appendmat=False, squeeze_me=True, variable_names=[variable]).get(variable)
    names = getattr(getattr(found, "dtype", None), "names", None)
    rows = np.atleast_1d(found) if names else ()
    if names is None and getattr(found, "dtype", None) == np.dtype(object):  # a cell array: a table of one column
        json.dump({_CELLS: [_plain(value) for value in np.ravel(found)]}, sys.stdout)
        return
    json.dump({name: [_plain(row[name]) for row in rows] for name in names} if names else None, sys.stdout)


def _plain(value: Any) -> float | str | list[float] | None:
    if getattr(value, "ndim", None) == 1 and value.dtype.kind in "iuf":
        return list(value.tolist())
    number = value.item() if isinstance(value, np.generic) or getattr(value, "ndim", None) == 0 else value
    return number if isinstance(number, int | float | str) else None


if __name__ == "__main__":
    _main(*sys.argv[1:])
