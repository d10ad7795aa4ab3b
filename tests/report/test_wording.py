"""How lists are worded."""

import pytest

from irbench.report.wording import enumerated


@pytest.mark.parametrize(
    ("names", "text"),
    [("a", "a"), ("ab", "a and b"), ("abcde", "a, b, c, d and e"), ("abcdef", "a, b, c, d and 2 others")],
)
def test_the_first_names_are_listed_and_never_one_other(names, text):
    assert enumerated(list(names)) == text
