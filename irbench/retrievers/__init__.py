"""Retrievers: what the harness runs."""
