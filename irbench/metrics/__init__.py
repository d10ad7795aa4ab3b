"""The quality of rankings and identifiers, and its statistical uncertainty."""
