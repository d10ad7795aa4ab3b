"""What tests expect of errors: the stable code, and the values that the message has to name."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from irbench.core.errors import IrbenchError


@contextmanager
def raises_code(code: str, *named: object) -> Iterator[None]:
    """Expect an error of irbench with this code, whose message names these values."""
    with pytest.raises(IrbenchError) as raised:
        yield
    assert raised.value.code == code, str(raised.value)
    for value in named:
        assert str(value) in str(raised.value)
