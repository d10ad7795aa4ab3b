"""Data sets: from files on disk to a benchmark, and from a benchmark to uint8 images."""
