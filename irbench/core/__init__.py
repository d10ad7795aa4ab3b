"""The data types of irbench: frozen, validated values of numpy arrays, and the errors."""
