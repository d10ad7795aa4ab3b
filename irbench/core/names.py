"""Names that can be a part of a file's name on every system."""

import re

LONGEST = 80  # characters


def legal_name(text: str, otherwise: str) -> str:
    """Return the text with everything else than ASCII letters, digits and . _ - replaced, cut to `LONGEST` characters.

    It begins and ends with a letter or digit; where none is left it is `otherwise`.
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:LONGEST].strip("-._") or otherwise
