"""The tables of the docs are those of the stored results."""

from pathlib import Path

import pytest

from irbench.core import pyfile

SCRIPT = pyfile.load(Path(__file__).parents[1] / "scripts" / "stored_tables.py")
PAGE = """Before.

<!-- stored
heading = "Method"
seeds = [0, 1]
columns = { "@1" = "digits precision@1", "ms" = "digits query_ms" }
[rows]
"IRGen" = "irgen"
-->

| anything |
| at all |

After.
"""


def test_every_page_shows_what_is_stored() -> None:
    values = SCRIPT.stored(SCRIPT.ROOT / "results")
    pages = {str(path.relative_to(SCRIPT.ROOT)): path.read_text() for path in SCRIPT.pages()}
    assert "<!-- stored" in pages["docs/findings/photographs.md"]  # pages in folders are among them
    assert {name for name, text in pages.items() if SCRIPT.filled(text, values) != text} == set()


def test_a_table_is_the_mean_over_its_seeds_and_nothing_else_changes() -> None:
    values = {
        ("digits", "irgen", 0): {"precision@1": 0.5, "query_ms": 1.0},
        ("digits", "irgen", 1): {"precision@1": 0.6, "query_ms": 2.0},
    }
    filled = SCRIPT.filled(PAGE, values)
    assert filled.replace("| Method | @1 | ms |\n| --- | --- | --- |\n| IRGen | 55.0 | 1.50 |\n", "") == PAGE.replace(
        "| anything |\n| at all |\n", ""
    )
    assert SCRIPT.filled(filled, values) == filled
    with pytest.raises(SystemExit, match="irgen"):
        SCRIPT.filled(PAGE, {})
