"""Assertions about errors: their class, their code, and the values that they name; never their sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from irbench.core.errors import IrbenchError
from irbench.core.text import as_message


@contextmanager
def raises(error: type[IrbenchError], code: str, *named: object) -> Iterator[pytest.ExceptionInfo[IrbenchError]]:
    """Expect an error of this class and code, whose message names each of these files, keys, rows or numbers."""
    with pytest.raises(error) as raised:
        yield raised
    assert raised.value.code == code, str(raised.value)
    for value in named:
        assert as_message(str(value)) in str(raised.value)
