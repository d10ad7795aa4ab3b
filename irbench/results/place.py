"""Where results are looked for; apart from what reads them, which imports more."""

from pathlib import Path


def default_folder() -> Path:
    """Return where results are looked for when no folder is named: in what was run here, else in what is stored."""
    usual = (Path("runs/results"), Path("results"))
    return next((folder for folder in usual if any(folder.glob("*/*/seed*.json"))), usual[0])
