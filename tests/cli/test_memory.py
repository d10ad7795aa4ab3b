"""A command for which memory does not suffice says so in one line."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from irbench.core.errors import is_out_of_memory


def test_a_command_without_the_memory_for_its_libraries_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "irbench", "run", "-m", "pixels"],
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "[out_of_memory]" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("std::bad_alloc"), True),
        (ImportError("libx.so: failed to map segment from shared object"), True),
        (ImportError("libx.so: failed to map segment from shared object: Operation not permitted"), False),
        (ImportError("libx.so: cannot open shared object file: No such file or directory"), False),
        (OSError(28, "No space left on device"), False),
        (RuntimeError("shapes differ"), False),
    ],
    ids=str,
)
def test_what_tells_of_too_little_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected
