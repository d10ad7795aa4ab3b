"""`irbench bench …`: what the parts cost on this machine, with random weights or vectors."""

from irbench.cli.bench import growth, indexes, metrics, networks
from irbench.cli.bench.app import bench_app

__all__ = ["bench_app", "growth", "indexes", "metrics", "networks"]
