"""The command line: one module per group of commands. It parses, calls one use case and prints."""
