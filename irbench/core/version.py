"""The installed version of irbench."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("irbench-retrieval")
except PackageNotFoundError:  # run from a checkout by `python cli.py` without an install
    VERSION = "0.2.0+checkout"
