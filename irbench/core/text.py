"""Text that people see or write: names of files that may hold commands to a terminal, and tables of any separator."""

from collections.abc import Collection

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}  # of the columns of a table


def as_text(name: str) -> str:
    """Return a name as text that can be stored and printed in a line, whatever its bytes are."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)


def as_message(text: str) -> str:
    """Return lines of text that can be stored and printed."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else ascii(sign)[1:-1] for sign in text)


def separator(header: str, needed: Collection[str]) -> str:
    """Return what separates the columns of a table: the first of , ; and tab that leaves the needed names."""

    def names(one: str) -> set[str]:
        return {name.strip(' "\r\n\ufeff').lower() for name in header.split(one)}

    return next((one for one in SEPARATORS if names(one) >= set(needed)), ",")
