"""The Python front door: what `import irbench` offers, and what the command line itself goes through."""
