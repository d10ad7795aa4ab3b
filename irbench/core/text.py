"""Text that a person may see: names of files and messages of libraries may hold commands to a terminal."""


def as_text(name: str) -> str:
    """Return a name as text that can be stored and printed in a line, whatever its bytes are."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)


def as_message(text: str) -> str:
    """Return lines of text that can be stored and printed."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else ascii(sign)[1:-1] for sign in text)
