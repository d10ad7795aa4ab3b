"""Stored results: the schema, the files, the rankings and hits behind them, and what is done with them."""
