"""irbench compares ways to retrieve images: encoders with a search index, and models that write an identifier."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("irbench")
except PackageNotFoundError:  # run from a checkout by `python cli.py`, never installed
    __version__ = "0.1.0+checkout"
