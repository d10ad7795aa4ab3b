"""What a command printed about a folder of results, for as long as nothing has changed that it depends on.

Most of the time of `irbench table` goes into importing libraries and into tests between rows. A second call hashes the
files of results, as the first one did, and prints the same text. An answer's key has all that a table is made from:
the content of each file, the options, irbench's own files and the user's recipes, the libraries that compute and
print, the environment and the terminal. Answers lie in the user's cache ($XDG_CACHE_HOME/irbench, or
~/.cache/irbench), which may be deleted at any time.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from irbench.config import recipes
from irbench.core.filestate import size_of, state_of

_LIBRARIES = ("numpy", "scipy", "pydantic", "rich", "typer", "safetensors")
_PASSING = ("_", "OLDPWD")  # variables that shells set for each command
_KEPT = 64  # answers
_LARGEST = 1 << 26  # bytes that are hashed
_PACKAGE = Path(__file__).parents[1]


def key(folder: Path, *asked: object) -> str | None:
    """Return what the answer to `asked` about a folder of results depends on, as 64 hexadecimal digits.

    None where it depends on more than can be seen in files, on code of the user's own, or where these cannot be seen.
    """
    if any((place / "metrics").exists() for place in recipes.own_folders()):
        return None
    try:
        parts = [repr(asked), *_surroundings(), *_contents(folder)]
    except (OSError, PackageNotFoundError):
        return None
    return _digest("\0".join(parts))


def _surroundings() -> Iterator[str]:
    """Yield what every answer depends on: where it is asked for, irbench itself, and what computes and prints."""
    yield str(Path.cwd())
    yield repr(sorted((name, value) for name, value in os.environ.items() if name not in _PASSING))
    yield platform.python_version()
    yield from (f"{name} {version(name)}" for name in _LIBRARIES)
    yield from _states(
        [_PACKAGE, *(place / family for place in recipes.folders() for family in ("methods", "datasets"))]
    )


def recall(key: str | None) -> str | None:
    """Return the answer that was remembered; None where there is none, or not the one that was written."""
    if key is None:
        return None
    with suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
        stored = json.loads((_cache() / f"{key}.json").read_text(encoding="utf-8"))
        if stored["sha256"] == _digest(stored["text"]):
            return str(stored["text"])
    return None


def remember(key: str | None, text: str) -> None:
    """Keep an answer, in place of the oldest; where nothing can be written, nothing is kept."""
    if key is None:
        return
    from irbench.runtime.cache import write_atomically

    with suppress(OSError, RuntimeError):
        folder = _cache()
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{key}.json", json.dumps({"text": text, "sha256": _digest(text)}))
        kept = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for old in kept[:-_KEPT]:
            old.unlink(missing_ok=True)


def _cache() -> Path:
    """Return where answers lie; `RuntimeError` where there is no home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "irbench" / "answers"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _states(folders: list[Path]) -> Iterator[str]:
    """Yield the state of every file below these folders; those that Python makes itself left out."""
    for folder in folders:
        for at, below, names in os.walk(folder):
            below[:] = sorted(name for name in below if name != "__pycache__")
            for name in sorted(names):
                with suppress(FileNotFoundError):
                    yield f"{at}/{name} {state_of(f'{at}/{name}')}"


def _contents(folder: Path) -> Iterator[str]:
    """Yield the hash of every file of results below a folder, the state of a huge one, the name of what is no file."""
    for path in sorted(folder.glob("*/*/seed*")):
        digest = ""
        with suppress(OSError):
            huge = size_of(path) > _LARGEST
            digest = state_of(path) if huge else hashlib.sha256(path.read_bytes()).hexdigest()
        yield f"{path} {digest}"
