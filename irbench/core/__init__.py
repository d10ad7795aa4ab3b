"""The nouns of irbench: frozen, self-checking values of numpy arrays, and the errors."""
