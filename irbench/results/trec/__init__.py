"""Rankings for everybody else: run and qrels files that other evaluators read, and run files that others wrote."""
