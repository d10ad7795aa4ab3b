"""What the results say: pure functions of a list of results, each returning a table, a picture or a page."""
