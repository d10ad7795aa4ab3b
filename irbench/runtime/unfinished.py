"""Names for what is being written, by which leavings of a killed process are told from work in progress."""

import os
import re
import secrets
from collections.abc import Iterator
from glob import escape
from hashlib import sha256
from pathlib import Path
from platform import node

_HOST = sha256(node().encode()).hexdigest()[:6]  # a folder may be shared by several machines
_NAMED = re.compile(r"\.(?P<host>[0-9a-f]{6})-(?P<process>[0-9]+)-[0-9a-f]{8}$")


def unfinished(path: Path) -> Path:
    """Return where this process may write what is to stand at `path`: a name beside it that nobody else has."""
    return path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{secrets.token_hex(4)}")


def leftovers(path: Path) -> Iterator[Path]:
    """Yield what processes of this machine that are gone have left of writing `path`."""
    for left in path.parent.glob(f".{escape(path.name)}.*"):
        named = _NAMED.search(left.name)
        if named and named["host"] == _HOST and not _lives(int(named["process"])):
            yield left


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
