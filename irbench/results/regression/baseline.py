"""Updates a baseline with new results: all of them, or none.

The new baseline is written in full beside the old one and then replaces it. A crash leaves the old folder, or the new
one; between the two renames it leaves neither under its name, but the old one beside it, and the next check restores
it.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from irbench.core.errors import StoreError, writing
from irbench.results import files, hits
from irbench.results.artefacts import Artefacts
from irbench.results.schema import Result
from irbench.runtime import locks
from irbench.runtime.cache import flush


def update(made: Iterable[Result], artefacts: Artefacts, baseline: Path) -> int:
    """Store the successful results of whole runs in `baseline`, each with its hits; return how many.

    Where others may update it too, under `locked`.
    """
    baseline = baseline.resolve()
    stored = [result for result in made if result.status == "ok" and not result.shortened]
    with writing(f"the baseline {baseline}", "--baseline"):
        baseline.parent.mkdir(parents=True, exist_ok=True)
        recover(baseline)
        for left in baseline.parent.glob(f".{baseline.name}.new-*"):  # by an update that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{baseline.name}.new-", dir=baseline.parent) as beside:
            new = Path(beside) / baseline.name
            shutil.copytree(baseline, new) if baseline.exists() else new.mkdir()
            for result in stored:
                files.write(_with_hits(result, artefacts, new), new)
            for path in new.rglob("*"):
                flush(path)
            _exchange(new, baseline)
    return len(stored)


@contextmanager
def locked(baseline: Path) -> Iterator[None]:
    """Let one process at a time read or update the baseline, and finish an update that was interrupted.

    Processes of one user on one machine wait for each other, those with the same folder for temporary files. The lock
    is there, not beside the baseline, which is often under version control. The kernel frees it when its holder dies.
    """
    name = sha256(os.fsencode(baseline.resolve())).hexdigest()[:16]
    folder = Path(tempfile.gettempdir())
    with ExitStack() as stack:
        with writing(f"to {folder}", "TMPDIR"):
            stack.enter_context(locks.locked(folder / f"irbench-{os.getuid()}-{name}.lock"))
        recover(baseline)
        yield


def recover(baseline: Path) -> None:
    """Finish an update that was interrupted."""
    baseline = baseline.resolve()
    old = _aside(baseline)
    if old.exists() and not baseline.exists():
        old.rename(baseline)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(new: Path, baseline: Path) -> None:
    if baseline.exists():
        baseline.rename(_aside(baseline))
    os.rename(new, baseline)  # noqa: PTH104 -- not Path.replace, which would take a file for a folder's place
    flush(baseline.parent)
    shutil.rmtree(_aside(baseline), ignore_errors=True)


def _aside(baseline: Path) -> Path:
    return baseline.with_name(f".{baseline.name}.old")


def _with_hits(result: Result, artefacts: Artefacts, root: Path) -> Result:
    """Return the result with its hits stored below `root`, where they are available."""
    with suppress(StoreError):
        judged = artefacts.judged(result)
        return replace(result, hits=hits.save(judged, result.path(root).parent, seed=result.seed))
    return replace(result, hits=None)
