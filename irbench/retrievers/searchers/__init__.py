"""Searchers: exact and approximate nearest neighbours, one file for each algorithm."""
