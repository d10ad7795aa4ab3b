"""Use cases: from a request to cells, from a cell to its components, from components to a result."""
