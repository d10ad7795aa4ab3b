"""How good rankings and identifiers are, and how certain that is."""
