"""irbench compares ways to retrieve images: encoders with a search index, and models that generate identifiers."""

from irbench.core import version

__all__ = ["__version__"]

__version__ = version.VERSION
