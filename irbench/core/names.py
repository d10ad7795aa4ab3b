"""Names that can be a part of a file's name on every system."""

import re
from typing import Any

from irbench.core.errors import UsageError

LONGEST = 80  # characters


def legal_name(text: str, otherwise: str) -> str:
    """Return the text with everything else than ASCII letters, digits and . _ - replaced, cut to `LONGEST` characters.

    It begins and ends with a letter or digit; where none is left it is `otherwise`.
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:LONGEST].strip("-._") or otherwise


def checked_name(name: Any, what: str) -> str:
    """Return a name that the user gave to `what`; one that `legal_name` would change is a `UsageError`."""
    if not isinstance(name, str) or not name or legal_name(name, "") != name:
        raise UsageError(
            f"{what} named {name!r:.100}: use at most {LONGEST} ASCII letters, digits and - _ . and begin and end "
            "with a letter or digit",
            code="bad-file-name",
        )
    return name
