"""Every code of an error is listed with its meaning, and every listed code is used."""

import ast
from pathlib import Path

import pytest

import irbench
from irbench.core import errors
from irbench.core.codes import CODES
from irbench.core.errors import IrbenchError

ROOT = Path(irbench.__file__).parent
CLASSES = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, IrbenchError)]
STATUSES = {"failed", "timeout", "out_of_memory", "skipped"}  # of cells, which become codes in irbench.evaluate


def raised() -> set[str]:
    """Return every code that is written down where an error is made."""
    calls = [node for path in ROOT.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    keywords = [keyword for node in calls if isinstance(node, ast.Call) for keyword in node.keywords]
    return {str(one.value.value) for one in keywords if one.arg == "code" and isinstance(one.value, ast.Constant)}


def test_the_list_of_codes_is_complete_and_holds_no_more() -> None:
    assert raised() | STATUSES | {one.default_code for one in CLASSES} == set(CODES)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_has_the_code_of_its_class_or_a_narrower_one(cls: type[IrbenchError]) -> None:
    assert cls("what, where, what to do").code == cls.default_code
    assert cls("what, where, what to do", code="bad-value").code == "bad-value"
    assert str(cls("what", code="bad-value")) == "what"
