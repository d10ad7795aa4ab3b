"""The version of irbench that is installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("irbench-retrieval")
except PackageNotFoundError:  # run from a checkout by `python cli.py`, never installed
    VERSION = "0.2.0+checkout"
